"""A chat template as an agent needs it: what is text stays text, tags survive, tokens of answers are kept."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byte_tokenizer import PLAIN, TEMPLATES, byte_tokenizer
from trl_3spo.environments.answers import Malformed
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.evaluation.chat import Chat, described

CONTROL = ["<|pad|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN


def user(text):
    return [{"role": "user", "content": text}]


def multiply(a: int, b: int) -> int:
    """
    Multiply two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a * b


@given(st.lists(st.sampled_from([*CONTROL, "<|", "|>", "im_end", " ", "a\n"]), max_size=8).map("".join))
def test_control_tokens_in_a_text_stay_text(text):
    tokenizer = byte_tokenizer()
    (ids,) = Chat(tokenizer).prompt_ids([user(text)])
    control = set(tokenizer.all_special_ids)
    (bare,) = Chat(tokenizer).prompt_ids([user("")])
    assert [token for token in ids if token in control] == [token for token in bare if token in control]
    shown = tokenizer.decode(ids).removeprefix("<|im_start|>user\n").removesuffix("<|im_end|>\n<|im_start|>assistant\n")
    assert shown.replace(" ", "") == text.replace(" ", "")


def test_other_texts_are_written_as_they_are():
    tokenizer = byte_tokenizer()
    prompts = [user("a <b> c"), user("</think> | < |im|")]
    expected = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, tokenize=True, return_dict=True)
    assert Chat(tokenizer).prompt_ids(prompts) == expected["input_ids"]


@pytest.mark.parametrize("tag", ["<action>", "</action>", "</think>", "[TOOL_CALLS]"])
def test_tags_survive_where_they_are_special_tokens(tag):
    tokenizer = byte_tokenizer(special=[tag])
    ids = tokenizer.encode(f"a {tag} b<|im_end|><|pad|><|pad|>")
    assert len([token for token in ids if token in tokenizer.all_special_ids]) == 4
    assert Chat(tokenizer).text_of(ids) == f"a {tag} b"


def test_an_answer_begins_with_the_thought_that_its_prompt_has_opened():
    tokenizer = byte_tokenizer(PLAIN.removesuffix("{% endif %}") + "<think>\n{% endif %}")
    chat = Chat(tokenizer)
    (ids,) = chat.prompt_ids([user("go")])
    env = CorridorEnv()
    unfinished = chat.text_of(tokenizer.encode("I could <action>left</action>"), ids)
    assert isinstance(env.parse_action(unfinished), Malformed)
    finished = chat.text_of(tokenizer.encode("Hm.</think><action>left</action>"), ids)
    assert env.parse_action(finished) == "left"


def test_a_template_without_a_system_gets_its_message_with_the_first_one():
    chat = Chat(byte_tokenizer(NO_SYSTEM))
    prompt = [{"role": "system", "content": "Be brief."}, *user("go")]
    assert chat.prompt_ids([prompt]) == chat.prompt_ids([user("Be brief.\n\ngo")])


def test_a_template_without_tools_is_told_them_in_words(caplog):
    with caplog.at_level(logging.WARNING):
        chat = Chat(byte_tokenizer(), has_tools=True)
    assert "cannot show tool calls" in caplog.text
    prompt = [
        *user("How much?"),
        {"role": "assistant", "content": "?"},
        {"role": "tool", "name": "multiply", "content": "6"},
    ]
    told = [*user(f"How much?\n\n{described([multiply])}"), prompt[1], *user("multiply: 6")]
    assert chat.prompt_ids([prompt], [[multiply]]) == chat.prompt_ids([told])
    assert "multiply(a: integer, b: integer): Multiply two numbers." in described([multiply])
    assert "  a: The first." in described([multiply])


def test_prompts_with_different_tools_are_told_their_own():
    chat = Chat(byte_tokenizer(), has_tools=True)
    both = chat.prompt_ids([user("a"), user("b"), user("a")], [[multiply], [], [multiply]])
    assert both[0] == both[2] == chat.prompt_ids([user("a")], [[multiply]])[0]
    assert both[1] == chat.prompt_ids([user("b")])[0]


REPLIES = {
    "user": user("You see a door."),
    "tool": [{"role": "tool", "name": "multiply", "content": "6"}],
    "tools": [{"role": "tool", "name": "multiply", "content": x} for x in "68"],
}


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("template", ["qwen2_5", "qwen3", "qwen3_instruct_2507", "llama3_1", "glm4moe"])
def test_what_follows_an_answer_is_what_the_template_writes_after_it(template, reply):
    """Kept tokens and the whole conversation written anew are the same where an answer's text has one tokenization."""
    tokenizer = byte_tokenizer((TEMPLATES / f"{template}.jinja").read_text(), special=["<|eot_id|>", "<|user|>"])
    if template == "llama3_1":
        tokenizer.eos_token = "<|eot_id|>"
    if template == "glm4moe":
        tokenizer.eos_token = "<|user|>"
    chat = Chat(tokenizer, has_tools=True)
    text = (
        '<tool_call>\n{"name": "multiply", "arguments": {"a": 2, "b": 3}}\n</tool_call>' if reply != "user" else "left"
    )
    ended = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    after = chat.ids_after(ended, REPLIES[reply])
    assert after is not None
    shown = tokenizer.decode(after)
    for message in REPLIES[reply]:
        assert message["content"] in shown
    (opening,) = chat.prompt_ids([user("x")])
    assert after[-3:] == opening[-3:]
    # An answer that was cut off is closed as the template closes it.
    cut = chat.ids_after(ended[:-1], REPLIES[reply])
    assert cut[-len(after) :] == after
    assert cut[: len(cut) - len(after)] in ([], [tokenizer.eos_token_id])


def test_whole_conversations_keep_the_tokens_of_answers():
    tokenizer = byte_tokenizer()
    chat = Chat(tokenizer)
    (ids,) = chat.prompt_ids([user("go")])
    answer = [*tokenizer.encode("left"), tokenizer.eos_token_id]
    whole = chat.prompt_ids([[*user("go"), {"role": "assistant", "content": "left"}, *user("on")]])
    assert [ids + answer + chat.ids_after(answer, user("on"))] == whole


def test_calls_are_read_by_trls_parser():
    tokenizer = byte_tokenizer((TEMPLATES / "qwen3.jinja").read_text())
    chat = Chat(tokenizer, has_tools=True)
    (ids,) = chat.prompt_ids([user("How much?")], [[multiply]])
    call = {"name": "multiply", "arguments": {"a": 2, "b": 3}}
    answer = tokenizer.encode(f"<tool_call>\n{json.dumps(call)}\n</tool_call><|im_end|>")
    assert chat.calls_in(answer, ids, [multiply]) == [call]
    assert chat.calls_in(tokenizer.encode("<tool_call>{</tool_call><|im_end|>"), ids, [multiply]) == []
