import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.prompting import action_prompt, parse_action, think_prompt
from trl_3spo.environments.base import Turn
from trl_3spo.environments.demonstrations import Advice, write_answer
from trl_3spo.environments.prompting import PROMPT_FORMATS

TURNS = [Turn("You see a cup 1.", "take cup 1"), Turn("You pick up the cup 1.", "look")]


def test_think_prompt_has_every_part_once() -> None:
    prompt = think_prompt("cool a cup.", 7, TURNS, "You look.", ["go to fridge 1", "look"])
    for part in ("cool a cup.", ": 7.", "You see a cup 1.\nYou did: take cup 1\n", "go to fridge 1\nlook\n"):
        assert prompt.count(part) == 1, part
    assert prompt.index("take cup 1") < prompt.index("You pick up") < prompt.index("You look.") < prompt.index("fridge")
    assert prompt.endswith("<think>your thoughts</think><action>your action</action>")


def test_action_prompt_is_short() -> None:
    assert action_prompt("cool a cup.", 2, TURNS, "You look.", ["go to fridge 1", "look"]) == (
        "Task: cool a cup.\nStep: 2\nYou see a cup 1.\n> take cup 1\nYou pick up the cup 1.\n> look\nYou look.\n"
        "Actions: go to fridge 1 | look\nAnswer with one action."
    )


def test_prompts_without_turns_and_actions() -> None:
    assert action_prompt("t.", 0, [], "o", None) == "Task: t.\nStep: 0\no\nAnswer with one action."
    prompt = think_prompt("t.", 0, [], "o", None)
    assert "You did" not in prompt
    assert "heat (object) with (receptacle)" in prompt


@pytest.mark.parametrize("prompt_format", PROMPT_FORMATS)
def test_environment_prompts_without_banner_repeated_task_and_help(prompt_format: str) -> None:
    env = AlfworldEnv(generated=1, prompt_format=prompt_format, history_length=1)
    task = env.tasks()[0]
    first = env.reset(task)
    second = env.step("look").observation
    for observation, turns in ((first, []), (second, [Turn(first.text, "look")])):
        (message,) = env.prompt(task, observation, turns)
        assert message["role"] == "user"
        assert "Welcome" not in message["content"]
        assert message["content"].count(env.game(task.id).task) == 1
        assert "You are in the middle of a room." in message["content"]
        listed = [line for action in observation.admissible_actions for line in [action] if line in message["content"]]
        assert set(observation.admissible_actions) - set(listed) == {"help"}


@pytest.mark.parametrize(("history_length", "shown"), [(0, []), (1, ["c"]), (2, ["b", "c"]), (9, ["a", "b", "c"])])
def test_environment_shows_the_last_turns(history_length: int, shown: list[str]) -> None:
    env = AlfworldEnv(
        generated=1, prompt_format="action", history_length=history_length, shows_admissible_actions=False
    )
    task = env.tasks()[0]
    turns = [Turn(f"saw {name}", name) for name in "abc"]
    lines = env.prompt(task, env.reset(task), turns)[0]["content"].splitlines()
    assert [line[2:] for line in lines if line.startswith("> ")] == shown
    assert "Step: 3" in lines
    assert not any(line.startswith("Actions:") for line in lines)


@pytest.mark.parametrize(
    ("completion", "action"),
    [
        ("<think>hm</think><action>go to fridge 1</action>", "go to fridge 1"),
        ("<think>hm</think>\n<action> Go to  Fridge 1. </action> and more", "go to fridge 1"),
        ("<action>'take cup 1 from desk 2'</action><action>look</action>", "take cup 1 from desk 2"),
        ("<think>hm</think> **inventory**", "inventory"),
        ("<action>go to fridge 1", ""),
        ("", ""),
    ],
)
def test_parser_of_thoughts(completion: str, action: str) -> None:
    assert parse_action(completion, "think") == action


@pytest.mark.parametrize(
    ("completion", "action"),
    [
        ("go to fridge 1", "go to fridge 1"),
        ("\n > Open Drawer 2.\nYou open the drawer 2.\n", "open drawer 2"),
        ("<action>\nlook\n</action>", "look"),
        (" \n ", ""),
    ],
)
def test_parser_of_actions_takes_the_first_line(completion: str, action: str) -> None:
    assert parse_action(completion, "action") == action


PIECES = st.sampled_from(
    ["<think>", "</think>", "<action>", "</action>", "\n", "Go to fridge 1.", "\x00", "\ud800", "İ"]
)


@given(st.lists(PIECES | st.text(), max_size=12).map("".join), st.sampled_from(PROMPT_FORMATS))
def test_parser_is_total_and_stable(completion: str, prompt_format: str) -> None:
    action = parse_action(completion, prompt_format)
    assert action == action.strip()
    assert "\n" not in action
    assert len(action) <= 2000
    if "<" not in action:
        assert parse_action(action, prompt_format) == action


@given(st.sampled_from(PROMPT_FORMATS), st.data())
def test_parser_gives_back_what_the_prompt_lists(prompt_format: str, data: st.DataObject) -> None:
    observation = ENV.reset(data.draw(st.sampled_from(ENV.tasks())))
    action = data.draw(st.sampled_from(observation.admissible_actions))
    form = "<think>{}</think><action>{}</action>" if prompt_format == "think" else "{1}"
    assert parse_action(form.format("so", action.upper()), prompt_format) == action


ENV = AlfworldEnv(generated=6, seed=3, num_receptacles=(4, 8))


@given(st.sampled_from(PROMPT_FORMATS), st.from_regex(r"[a-z]+( [a-z]+)* [1-9]", fullmatch=True), st.text(max_size=30))
def test_demonstrated_answers_are_read_back(prompt_format: str, action: str, thought: str) -> None:
    assert parse_action(write_answer(Advice(action, thought)), prompt_format) == action
