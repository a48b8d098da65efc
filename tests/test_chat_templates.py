"""The chat templates of models that people train, from prompt to evaluation, with a byte-level BPE made on the spot.

The templates are those that TRL ships for its own tests; models and tokenizers of these families are not needed.
"""

import re
from pathlib import Path

import pytest
import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from training import SpokenCorridor, config_for, untrained
from trl_3spo import ThreeSPOTrainer
from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.base import Turn
from trl_3spo.evaluation.chat import Chat
from trl_3spo.evaluation.model_checks import check_prompt
from trl_3spo.evaluation.policies import evaluate_checkpoint, load_policy

FILES = {file.stem: file for file in sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))}
NEED_PARTS = ("idefics3", "llava_next", "smolvlm")
"""Templates of vision models that read contents as lists of parts."""
# SmolLM2's form: ChatML with a system message of its own where there is none.
CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n"
    "{% endif %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES = {name: file.read_text() for name, file in FILES.items() if not name.endswith("_training")}
TEMPLATES = {name: text for name, text in TEMPLATES.items() if name not in NEED_PARTS} | {"smollm2": CHATML}
CASES = [(name, None) for name in TEMPLATES]
CASES += [(name, on) for name, text in TEMPLATES.items() if "enable_thinking" in text for on in (False, True)]
TRAINED = [
    *[("smollm2", None), ("qwen3", False), ("qwen3_5_think", None), ("llama3_2", None)],
    *[("gemma3", None), ("glm4moe", False), ("gptoss", None)],
]
MARKS = re.compile(r"<[|｜][^<>{}'\"\s]+[|｜]>|</?s>|<(?:start|end)_of_turn>|<turn\|>|<\|turn>|<sop>|\[gMASK\]")
ANSWER = "<think>The desk is near.</think><action>go to desk 1</action>"
HARMONY = "<|channel|>analysis<|message|>Near.<|end|><|start|>assistant<|channel|>final<|message|>{}"


@pytest.fixture(scope="module")
def bpe():
    """Return a byte-level BPE with the marks of all templates, whose merges go across blanks and line feeds."""
    marks = sorted({mark for text in TEMPLATES.values() for mark in MARKS.findall(text)} | {"<pad>", "<bos>", "<eos>"})
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320 + len(marks), initial_alphabet=alphabet, special_tokens=marks)
    tokenizer.train_from_iterator(["\n\n\n\n to the to the place place open", "assistant\n\nto"] * 9, trainer)
    tokenizer.add_tokens(["<think>", "</think>"])  # no special ones, as in Qwen3
    return tokenizer


def tokenizer_with(bpe, template, **changes):
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "padding_side": "left"} | changes
    return PreTrainedTokenizerFast(tokenizer_object=bpe, chat_template=template, **names)


def thinking(is_on):
    return {} if is_on is None else {"enable_thinking": is_on}


def written(tokenizer, messages, **kwargs):
    return tokenizer.apply_chat_template(messages, tokenize=False, **kwargs)


def ending(tokenizer, prompt):
    """Return the marks a template puts behind an answer."""
    text = written(tokenizer, [*prompt, {"role": "assistant", "content": "A9A"}])
    return "".join(MARKS.findall(text.rpartition("A9A")[2]))


@pytest.fixture(scope="module")
def asked():
    """Return an environment that asks for thoughts, and a prompt of it that shows two past turns."""
    env = AlfworldEnv(generated=1, num_receptacles=(4, 8), num_objects=(4, 10))
    (task,) = env.tasks()
    observation, turns = env.reset(task), []
    for _ in range(2):
        turns.append(Turn(observation.text, observation.admissible_actions[0]))
        observation = env.step(turns[-1].action).observation
    return env, env.prompt(task, observation, turns)


@pytest.mark.parametrize(("name", "thinks"), CASES)
def test_a_prompt_is_said_whole_and_its_answer_is_read(bpe, asked, name, thinks):
    env, prompt = asked
    tokenizer = tokenizer_with(bpe, TEMPLATES[name])
    check_prompt(tokenizer, prompt, name, thinking(thinks))
    ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False, **thinking(thinks))
    before, content, after = tokenizer.decode(ids).partition(prompt[0]["content"])
    assert content
    assert prompt[0]["content"] not in after
    assert len(MARKS.findall(before + after)) >= 1

    answer = HARMONY.format(ANSWER) if name == "gptoss" else ANSWER
    end = ending(tokenizer, prompt)
    completion = tokenizer.encode(answer + end, add_special_tokens=False)
    assert env.parse_action(Chat(tokenizer).text_of(completion)) == "go to desk 1"
    closed = answer.removeprefix("<think>")  # where the template has begun the thought
    completion = tokenizer.encode(closed + end, add_special_tokens=False)
    assert env.parse_action(Chat(tokenizer).text_of(completion)) == "go to desk 1"


@pytest.mark.parametrize(("name", "thinks"), TRAINED)
def test_training_and_evaluation_ask_in_the_same_words(bpe, tmp_path, name, thinks):
    env = SpokenCorridor(max_steps=3)
    tokenizer = tokenizer_with(bpe, TEMPLATES[name])
    marks = MARKS.findall(ending(tokenizer, [{"role": "user", "content": "Q"}]))
    end = marks[0] if marks else "<|user|>"
    tokenizer = tokenizer_with(bpe, TEMPLATES[name], eos_token=end, pad_token=end if name == "smollm2" else "<pad>")
    options = {"max_completion_length": 2, "num_generations": 2, "chat_template_kwargs": thinking(thinks)}
    trainer = ThreeSPOTrainer(untrained(tokenizer), env, config_for(tmp_path, **options), processing_class=tokenizer)
    trainer.train()
    sample = trainer.sampler.latest
    assert sample.prompt_ids == tokenizer.apply_chat_template(
        sample.prompt, add_generation_prompt=True, return_dict=False, **thinking(thinks)
    )
    trainer.evaluate()
    trainer.save_model()
    alone = evaluate_checkpoint(
        str(tmp_path), env, max_completion_length=2, chat_template_kwargs=thinking(thinks), batch_size=8
    )
    assert alone == trainer.evaluation


def test_how_thoughts_are_switched_changes_what_a_checkpoint_is_asked(bpe, tmp_path):
    tokenizer = tokenizer_with(bpe, TEMPLATES["qwen3"])
    untrained(tokenizer).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    prompts = [[{"role": "user", "content": f"Where to, {i}?"}] for i in range(8)]
    answers = [
        load_policy(str(tmp_path), max_completion_length=4, chat_template_kwargs=kwargs)(prompts)
        for kwargs in (None, {"enable_thinking": True}, {"enable_thinking": False})
    ]
    assert answers[0] == answers[1] != answers[2]


SYSTEM = [{"role": "system", "content": "You walk."}, {"role": "user", "content": "Where to?"}]


class SystemCorridor(SpokenCorridor):
    """A corridor that says its rules in a system message."""

    def prompt(self, task, observation, turns):
        return [SYSTEM[0], *super().prompt(task, observation, turns)]


def test_a_template_without_a_system_role_gets_its_message_with_the_first_one(bpe, tmp_path, caplog):
    tokenizer = tokenizer_with(bpe, TEMPLATES["gemma"])
    trainer = ThreeSPOTrainer(untrained(tokenizer), SystemCorridor(), config_for(tmp_path), processing_class=tokenizer)
    trainer.train()
    assert caplog.text.count("The chat template has no messages of the system") == 1
    shown = tokenizer.decode(trainer.sampler.latest.prompt_ids)
    assert "You walk.\n\n" + trainer.sampler.latest.prompt[1]["content"] in shown
    trainer.save_model()
    assert evaluate_checkpoint(str(tmp_path), SystemCorridor(), max_completion_length=1).success.num_episodes == 2


@pytest.mark.parametrize("name", NEED_PARTS)
def test_a_template_that_would_drop_the_prompt_is_refused(bpe, name):
    with pytest.raises(ValueError, match=r"(refuses|leaves out).*another model"):
        check_prompt(tokenizer_with(bpe, FILES[name].read_text()), SYSTEM[1:], name)


def test_a_template_that_drops_the_system_message_is_refused(bpe):
    template = "{% for m in messages if m['role'] == 'user' %}<bos>{{ m['content'] }}{% endfor %}"
    with pytest.raises(ValueError, match=r"of m leaves out the system message .*'You walk.'"):
        check_prompt(tokenizer_with(bpe, template), SYSTEM, "m")


def test_an_open_thought_is_told(bpe, caplog):
    tokenizer = tokenizer_with(bpe, TEMPLATES["qwen3_5_think"])
    check_prompt(tokenizer, SYSTEM, "m", {"enable_thinking": False})
    assert not caplog.messages
    check_prompt(tokenizer, SYSTEM, "m")
    assert "begins every answer with an open thought" in caplog.text


@pytest.fixture
def trainer(bpe, tmp_path):
    """Return the trainer of a model with two end tokens, whose answers often hold them and merge with the prompt."""
    tokenizer = tokenizer_with(bpe, CHATML, eos_token="<|im_end|>", pad_token="<|im_end|>")
    model = untrained(tokenizer)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|eot_id|>"])
    options = {"max_completion_length": 12, "num_generations": 2, "per_device_train_batch_size": 64}
    return ThreeSPOTrainer(model, SpokenCorridor(), config_for(tmp_path, **options), processing_class=tokenizer)


def test_any_of_several_end_tokens_ends_an_answer(trainer):
    ends = set(trainer.processing_class.convert_tokens_to_ids(["<|im_end|>", "<|eot_id|>"]))
    assert set(trainer.eos_token_ids) == ends
    prompts = [[{"role": "user", "content": f"Where to, {i}?"}] for i in range(400)]
    completions, _ = trainer.sampler._generate(trainer.sampler.chat.prompt_ids(prompts))
    ended = [ids for ids in completions if ends & set(ids)]
    assert {ids[-1] for ids in ended} == ends
    assert not any(ends & set(ids[:-1]) for ids in completions)
    assert all(len(ids) == 12 for ids in completions if not ends & set(ids))


def test_what_was_sampled_is_trained_on_also_where_its_text_has_other_tokens(trainer):
    trainer.train()
    tokenizer = trainer.processing_class
    rows = [row.sample for row in trainer._rows if not row.is_padding]
    text_ids = [
        tokenizer.encode(tokenizer.decode(x.prompt_ids + x.completion_ids), add_special_tokens=False) for x in rows
    ]
    assert sum(ids != x.prompt_ids + x.completion_ids for ids, x in zip(text_ids, rows, strict=True)) > len(rows) / 4
    trained = []
    for batch in trainer._buffered_inputs:
        for kind in ("prompt", "completion"):
            batch[kind] = [
                ids[mask.bool()].tolist() for ids, mask in zip(batch[f"{kind}_ids"], batch[f"{kind}_mask"], strict=True)
            ]
        trained += zip(batch["prompt"], batch["completion"], strict=True)
    assert sorted(x for x in trained if x[1]) == sorted((x.prompt_ids, x.completion_ids) for x in rows)
