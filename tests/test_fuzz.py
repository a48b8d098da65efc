"""No completion ends anything: every reader and every step takes any text. `benchmarks/fuzz.py` does it for hours."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[1]
CORPUS = sorted((ROOT / "tests" / "corpus").glob("*.txt"))


def load(path):
    return path.read_bytes().decode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def targets():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("fuzz_targets")


@pytest.fixture(scope="module")
def players(targets):
    return targets.make_players()


TAGS = ["<action>", "</action>", "<think>", "</think>", "<tool_call>", "</tool_call>"]
BRACKETS = ["search[", "click[", "]", "[", "(", ")", "{", "}", "}}", "write(", "read(", "finish()", "note=", "place="]
VALUES = ['"', "'", "\\ud800", "-1", "1", "1j", "...", "NaN", "1e999", "b'x'", "*[1]"]
ACTIONS = ["go to ", "open", "left", "look", "take mug 1 from desk 1", "buy now", "back to search", "next >"]
LONG = ["0x" + "f" * 4000, "9" * 5000, "[" * 60, "lambda: 0", "{1: 2}", '{"name": "write", "arguments": {"note": ']
CHARACTERS = ["\ud800", "\x00", "\x1b[2J", "\n", "\r", "\u2028", *"ßİﬁ😀"]
PIECES = st.sampled_from([*TAGS, *BRACKETS, *VALUES, *ACTIONS, *LONG, *CHARACTERS])
ANYTHING = st.recursive(
    st.none()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.just(...),
    lambda values: st.lists(values) | st.tuples(values) | st.dictionaries(st.integers() | st.text(max_size=3), values),
    max_leaves=6,
)
CALLS = st.builds("write({!r})".format, ANYTHING) | st.builds("write(note={!r}, place={!r})".format, ANYTHING, ANYTHING)
WORDS = st.lists(PIECES | st.text(st.characters(), max_size=8), max_size=12).map("".join)
TEXTS = WORDS | CALLS
UNHURRIED = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@settings(UNHURRIED, max_examples=400)
@given(TEXTS)
def test_any_completion_can_be_read(targets, text):
    targets.read(text)


@settings(UNHURRIED, max_examples=150)
@given(st.lists(TEXTS, max_size=10))
def test_any_text_is_an_action_anywhere(targets, players, texts):
    for text in texts:
        targets.play(players, text)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_corpus_raises_nothing(targets, players, path):
    targets.read(load(path))
    targets.play(players, load(path))


def test_there_is_a_corpus():
    assert len(CORPUS) >= 20


@pytest.mark.parametrize(
    "value",
    ["1j", "...", "0x" + "f" * 5000, "[" * 90 + "]" * 90, "1+2j", "{1j}", "{(1j,): 2}", "[...]"],
)
def test_what_no_tool_can_be_asked_for_is_no_call(targets, players, value):
    assert targets.calls_in(f"write(note={value})") == []
    targets.play(players, f"write({value})")
    targets.play(players, f"write(note=1, place={value})")


def test_json_that_is_nested_too_deeply_is_no_call(targets, players):
    for depth in (90, 900, 9000):
        text = '{"name": "write", "arguments": {"note": ' + "[" * depth + "]" * depth + "}}"
        assert targets.calls_in(text) == []
        targets.play(players, text)
    text = '{"name": "write", "arguments": {"note": ' + "[" * 9 + "]" * 9 + "}}"
    assert targets.calls_in(text)[0].name == "write"


def test_the_committed_run_raised_nothing():
    result = json.loads((ROOT / "benchmarks" / "results" / "fuzz.json").read_text())
    assert result["raised"] == 0
    assert result["inputs"] >= 10_000
    assert result["steps"] >= 100_000


def test_the_script_says_what_it_needs():
    script = [sys.executable, str(ROOT / "benchmarks" / "fuzz.py"), "--json", "x.json"]
    done = subprocess.run(
        script, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), "PATH": ""}, check=False
    )
    if done.returncode:
        assert "pip install atheris" in done.stderr
