"""How an answer of a policy is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_3spo.algorithm.records import Visit
from trl_3spo.environments.answers import Malformed, action_in, one_line
from trl_3spo.environments.base import Observation, StepResult, Task
from trl_3spo.environments.corridor import CorridorEnv


@pytest.mark.parametrize(
    ("completion", "action"),
    [
        ("go north", "go north"),
        ("<think>Hm.</think><action>go north</action>", "go north"),
        ("<think>Hm.</think> go north", "go north"),
        ("Hm.</think><action>go north</action>", "go north"),  # the template has opened the thought
        ("<think>It goes between <action> tags.</think><action>go north</action>", "go north"),
        ("<think>not <action>go south</action></think><action>go north</action>", "go north"),
        ("<action>go north</action>\nYou see a troll.\n<action>fight</action>", "go north"),
        ("<ACTION>go north</Action>", "go north"),
        ("<Think>Hm.</THINK> go north", "go north"),
        ("<action>go north</action><think>What will come?", "go north"),
        ("so <action> or <action>go north</action>", "go north"),
        ("  go north \n", "go north"),
    ],
)
def test_the_first_closed_action_after_the_thought_is_taken(completion, action):
    assert action_in(completion) == action


@pytest.mark.parametrize(
    "completion",
    [
        "<think>I could <action>go north</action>",  # an unfinished thought
        "<think>Hm.",
        "<action>go north",
        "<action></action>",
        "<think>Hm.</think>",
        "",
        " \n ",
    ],
)
def test_an_answer_that_names_no_action_is_malformed(completion):
    action = action_in(completion)
    assert isinstance(action, Malformed)
    assert action == ""


def test_line_breaks_and_length_are_kept():
    code = "def f(x):\n    return x + 1\n\nprint(f(1))"
    assert action_in(f"<think>so</think>\n<action>\n{code}\n</action>") == code
    assert action_in("<action>    indented:\n        more\n</action>") == "    indented:\n        more"
    statement = "select " + ", ".join(f"column_{i}" for i in range(300))
    assert len(statement) > 3000
    assert CorridorEnv().parse_action(f"<action>{statement}</action>") == statement


def test_a_limit_is_the_environments_to_set():
    env = CorridorEnv()
    env.max_action_characters = 4
    assert env.parse_action("<action>left</action>") == "left"
    assert isinstance(env.parse_action("<action>right</action>"), Malformed)


def test_a_line_can_be_asked_for():
    assert action_in("\n go north\nYou see a troll.", is_line=True) == "go north"
    assert action_in("<think>Hm.\nHm.</think>\n go north\nYou see", is_line=True) == "go north"
    assert action_in("<action>\ngo north\n</action>", is_line=True) == "go north"
    assert one_line("go\n\t north\x00 ") == "go north"
    assert isinstance(one_line(Malformed()), Malformed)


@given(st.text() | st.lists(st.sampled_from(["<think>", "</think>", "<action>", "</action>", "a", "\n"])).map("".join))
def test_reading_is_total(completion):
    action = action_in(completion)
    assert isinstance(action, Malformed) == (action == "")
    assert "<action>" not in action or "<action>" not in completion.lower() or "</action>" not in completion.lower()


def test_malformed_answers_are_counted_and_penalized_even_where_any_text_is_admissible():
    parent = Visit(Task("t"), StepResult(Observation("", 0)), None)
    reached = [Visit(Task("t"), StepResult(Observation("", 0)), None, parent, x, 1) for x in ("look", Malformed())]
    assert [visit.is_malformed for visit in reached] == [False, True]
    assert [visit.is_inadmissible for visit in reached] == [False, True]
