"""Reading an action out of a completion."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_3spo.environments.base import MAX_ACTION_CHARACTERS, parse_action


@pytest.mark.parametrize(
    ("completion", "action"),
    [
        ("go north", "go north"),
        ("<think>Hm.</think><action>go north</action>", "go north"),
        ("<think>Hm.</think> go north", "go north"),
        ("<action>go south</action><action>go north</action> done", "go north"),
        ("<action>go north", "go north"),
        ("<think>It goes between <action> tags.</think><action>go north</action>", "go north"),
        ("  go\n\tnorth\x00 ", "go north"),
        ("", ""),
        ("<action></action>", ""),
    ],
)
def test_forms(completion, action):
    assert parse_action(completion) == action


@given(st.text())
def test_any_text_gives_a_short_printable_line(completion):
    action = parse_action(completion)
    assert len(action) <= MAX_ACTION_CHARACTERS
    assert "\n" not in action
    assert parse_action(action) == action or "<" in action
