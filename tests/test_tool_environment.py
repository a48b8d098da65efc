import dataclasses
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_3spo.environments.adapters.tool_environment import Call, ToolEnvironment, parse_call, plain_key
from trl_3spo.environments.base import Turn
from trl_3spo.testing import check_environment

CALLS = (
    "guess(number=1)",
    "guess(3)",
    "hint()",
    '{"name": "guess", "arguments": {"number": 5}}',
    "guess()",
    "finish()",
)


class GuessNumber:
    """As one would write it for TRL."""

    def reset(self, number: int, **kwargs) -> str:
        self.number, self.guesses, self.done = number, [], False
        return "I am thinking of a number."

    def guess(self, number: int) -> str:
        """
        Guess the number.

        Args:
            number: Your guess.
        """
        self.guesses.append(number)
        self.done = number == self.number
        if number > 100:
            raise ValueError("Too large.")
        return "Right!" if self.done else "Higher." if number < self.number else "Lower."

    def hint(self) -> str:
        """Ask for a hint."""
        return "It is even." if self.number % 2 == 0 else "It is odd."

    def get_reward(self) -> float:
        return float(self.done)

    def _private(self) -> None:
        raise AssertionError


ROWS = [{"prompt": f"Guess {index}.", "number": number, "kind": "odd"} for index, number in enumerate([1, 3, 5])]


@pytest.fixture
def env():
    return ToolEnvironment(GuessNumber, {"train": ROWS, "test": ROWS[:1]})


def test_keeps_the_contract(env):
    report = check_environment(env, actions=CALLS)
    assert report.num_ends > 0
    for seed in range(5):
        check_environment(env, actions=CALLS, seed=seed)
    env.close()


def test_tools_are_those_that_trl_would_take():
    """The rule of GRPOTrainer, restated: public functions of the class apart from reset and get_reward."""
    functions = inspect.getmembers(GuessNumber, predicate=inspect.isfunction)
    names = [name for name, _ in functions if name not in ("reset", "get_reward") and not name.startswith("_")]
    assert list(ToolEnvironment(GuessNumber, {"train": ROWS})._tools) == names == ["guess", "hint"]


def test_calls_lead_to_the_reward(env):
    assert env.reset(env.tasks()[1]).text == "I am thinking of a number."
    start = env.snapshot()
    assert env.step("guess(1)").observation.text == "Higher."
    won = env.step('<tool_call>{"name": "guess", "arguments": {"number": 3}}</tool_call>')
    assert (won.observation.text, won.reward, won.terminated, won.success) == ("Right!", 1.0, True, True)
    env.restore(start)
    lost = env.step("finish()")
    assert (lost.reward, lost.terminated, lost.success) == (0.0, True, False)


def test_a_state_is_what_the_object_remembers(env):
    task = env.tasks()[0]
    start = env.reset(task)
    assert env.step("hint()").observation.state_key == start.state_key
    assert env.step("guess(7)").observation.state_key != start.state_key
    assert env.reset(env.tasks()[1]).state_key != start.state_key


@pytest.mark.parametrize(
    ("action", "answer"),
    [
        ("I think it is 3.", "Error: this is not a call."),
        ("fly()", "Error: there is no tool 'fly'."),
        ("_private()", "Error: there is no tool '_private'."),
        ("reset(number=1)", "Error: there is no tool 'reset'."),
        ("guess(digit=1)", "Error: missing a required argument: 'number'"),
        ("guess(number=open('x'))", "Error: this is not a call."),
        ('{"name": "guess", "arguments": [1]}', "Error: this is not a call."),
    ],
)
def test_what_does_not_fit_never_reaches_the_object(env, action, answer):
    start = env.reset(env.tasks()[0])
    result = env.step(action)
    assert result.observation.text == answer
    assert result.observation.state_key == start.state_key
    assert not result.is_final


def test_an_error_of_a_tool_is_shown(env):
    env.reset(env.tasks()[0])
    assert env.step("guess(101)").observation.text == "Error: Too large."


def test_the_prompt_goes_on_from_the_rows(env):
    task = env.tasks()[0]
    turns = [Turn("I am thinking of a number.", "guess(5)")]
    env.reset(task)
    [message] = env.prompt(task, env.step("guess(5)").observation, turns)
    assert message == {
        "role": "user",
        "content": "Guess 0.\nTools, of which to call one:\n"
        "guess(number: int) -> str: Guess the number.\nhint() -> str: Ask for a hint.\nfinish(): End the episode.\n"
        "I am thinking of a number.\n> guess(5)\nLower.",
    }
    assert task.kind == "odd"


def test_messages_before_the_last_one_are_kept():
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Guess."}]
    env = ToolEnvironment(GuessNumber, {"train": [{"prompt": prompt, "number": 2}]})
    messages = env.prompt(env.tasks()[0], env.reset(env.tasks()[0]), [])
    assert messages[0] == prompt[0]
    assert messages[1]["content"].startswith("Guess.\nTools")


def test_a_tool_call_is_read_whole(env):
    body = '{"name": "write",\n "arguments": {"text": "' + "a\\n" * 1000 + '"}}'
    action = env.parse_action(f"<think>so</think> <tool_call>{body}</tool_call>")
    assert parse_call(action) == Call("write", (), {"text": "a\n" * 1000})
    assert env.parse_action("<action>hint()</action>") == "hint()"


@given(st.text())
def test_parsing_never_raises(text):
    parse_call(text)
    parse_call("{" + text)
    parse_call(f"guess({text})")


@pytest.mark.parametrize("text", ["[" * 10_000, '{"a":' * 10_000, "f(" * 10_000, "f(" + "-" * 10_000 + "1)", "\x00"])
def test_deep_nesting_is_not_a_call(text):
    assert parse_call(text) is None


def test_plain_values_become_keys():
    @dataclasses.dataclass
    class Point:
        x: float
        names: set[str]

    key = plain_key({"b": [1, None, b"c"], "a": Point(float("inf"), {"z", "y"})})
    assert key == (("a", (("x", "inf"), ("names", ("y", "z")))), ("b", (1, None, b"c")))
    with pytest.raises(TypeError, match="made of a object: pass state_key"):
        plain_key([object()])


def test_a_key_can_be_given_where_the_attributes_do_not_do():
    class Opaque(GuessNumber):
        def reset(self, **row):
            self.thing = object
            return super().reset(**row)

    env = ToolEnvironment(Opaque, {"train": ROWS})
    with pytest.raises(TypeError, match="pass state_key"):
        env.reset(env.tasks()[0])
    env = ToolEnvironment(Opaque, {"train": ROWS}, state_key=lambda world: (world.number, tuple(world.guesses)))
    check_environment(env, actions=CALLS)


def test_a_tool_named_like_ours_takes_precedence():
    class Finisher(GuessNumber):
        def finish(self) -> str:
            """Not yet."""
            return "Not yet."

        def close(self, door: str) -> str:
            """Close a door."""
            return door

    env = ToolEnvironment(Finisher, {"train": ROWS})
    env.reset(env.tasks()[0])
    assert env.step("finish()").observation.text == "Not yet."
    assert env.step("close('left')").observation.text == "left"
    env.close()


@pytest.mark.parametrize(
    ("members", "row", "sentence"),
    [
        ({"reset": lambda self: ""}, {}, "reset and one to call are required"),
        ({"guess": lambda self: ""}, {}, "reset and one to call are required"),
        ({"reset": lambda self: "", "guess": lambda self: ""}, {"prompt": [{"content": [{}]}]}, "a list of messages"),
    ],
)
def test_bad_input_is_named(members, row, sentence):
    with pytest.raises(ValueError, match=sentence):
        ToolEnvironment(type("World", (), members), {"train": [row]})


def test_asynchronous_tools_are_refused():
    class Slow(GuessNumber):
        async def wait(self):
            """Wait."""

    with pytest.raises(ValueError, match=r"asynchronous methods, \['wait'\]"):
        ToolEnvironment(Slow, {"train": ROWS})
