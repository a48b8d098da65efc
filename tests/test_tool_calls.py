"""Calls of tools in the forms that models write them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_3spo.environments.adapters.tool_calls import Call, as_text, calls_in, fitted

GUESS = Call("guess", {"number": 3})
PARAMETERS = {"guess": ["number"], "hint": []}


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "guess", "arguments": {"number": 3}}',
        '{"name": "guess", "parameters": {"number": 3}}',  # Llama 3.1
        '{"name": "guess", "arguments": "{\\"number\\": 3}"}',  # OpenAI: arguments as JSON text
        '{"type": "function", "function": {"name": "guess", "arguments": {"number": 3}}}',
        '[{"name": "guess", "arguments": {"number": 3}}]',
        'I say so.\n<tool_call>\n{"name": "guess", "arguments": {"number": 3}}\n</tool_call>',
        '```json\n{"name": "guess", "arguments": {"number": 3}}\n```',
        'Well:\n```\n{"name": "guess", "arguments": {"number": 3}}\n```\nSo it is.',
        "```python\nguess(number=3)\n```",
        "<tool_call>\n<function=guess>\n<parameter=number>\n3\n</parameter>\n</function>\n</tool_call>",  # Qwen3.5
        "<function=guess>\n<parameter=number>\n3\n</parameter>\n</function>",
        '[TOOL_CALLS][{"name": "guess", "arguments": {"number": 3}}]',  # Mistral
        '[TOOL_CALLS] [{"name": "guess", "arguments": {"number": 3}, "id": "abc"}] ',
        '[TOOL_CALLS]guess[ARGS]{"number": 3}',
        '[TOOL_CALLS]guess[CALL_ID]abc123[ARGS]{"number": 3}',
        '[TOOL_CALLS]guess{"number": 3}',
        "guess(number=3)",
        "guess(3)",
    ],
)
def test_forms(text):
    assert calls_in(text, PARAMETERS) == [GUESS]


def test_several_calls_keep_their_order():
    hint = Call("hint", {})
    assert calls_in(as_text([GUESS, hint])) == [GUESS, hint]
    tagged = "".join(f"<tool_call>{json.dumps(call._asdict())}</tool_call>" for call in (GUESS, hint))
    assert calls_in(tagged) == [GUESS, hint]
    assert calls_in('[TOOL_CALLS]guess{"number": 3}[TOOL_CALLS]hint{}') == [GUESS, hint]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I think it is 3.",
        '<tool_call>{"name": "guess", "arguments": {"number": 3}}',  # cut off
        '<tool_call>{"name": "guess"</tool_call>',
        '<tool_call>{"name": "guess", "arguments": {"number": 3}}</tool_call><tool_call>{</tool_call>',
        '{"name": "guess", "arguments": [1]}',
        '{"name": 3, "arguments": {}}',
        "guess(number=open('x'))",
        "guess(1, 2)",
        "a.guess(1)",
        "guess(number={1})",
        '{"name": "guess", "arguments": {"number": ' + "1" * 400 + "}}",
        "[" * 10_000,
        '{"a":' * 10_000,
        "f(" * 10_000,
        "f(" + "-" * 10_000 + "1)",
        "\x00",
        "[1, 2]",
        "null",
    ],
)
def test_what_is_no_call(text):
    assert calls_in(text, PARAMETERS) == []


PIECES = ["<tool_call>", "</tool_call>", "<function=f>", "</function>", "<parameter=a>", "[TOOL_CALLS]", "[ARGS]"]
PIECES += ["```", "```\n", "{", "}", '"name": "f"', "f(", ")", "1", "\n"]


@given(st.text() | st.lists(st.sampled_from(PIECES)).map("".join))
def test_reading_is_total(text):
    calls = calls_in(text)
    assert calls_in(as_text(calls)) == calls


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(min_size=1, max_size=10), st.dictionaries(st.text(max_size=8), VALUES, max_size=4))
def test_any_call_is_read_back(name, arguments):
    assert calls_in(as_text([Call(name, arguments)])) == [Call(name, arguments)]


def test_long_texts_with_line_breaks_are_read_whole():
    text = "select *\nfrom orders\n" * 200
    assert calls_in(as_text([Call("query", {"sql": text})])) == [Call("query", {"sql": text})]


def test_texts_become_what_the_type_hints_say():
    def tool(number: int, share: float, flag: bool, word: str, other):
        """Do nothing."""

    given = {"number": "3", "share": "0.5", "flag": "true", "word": "3", "other": "3"}
    assert fitted(given, tool) == {"number": 3, "share": 0.5, "flag": True, "word": "3", "other": "3"}
    assert fitted({"number": "three"}, tool) == {"number": "three"}
