"""Tool calls in an answer, in the forms that models write."""

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

MAX_CHARACTERS = 20_000
_MAX_DEPTH = 20
_MAX_BITS = 1024
"""Digits of a whole number; Python cannot write larger ones."""

_TAGGED = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_FUNCTION = re.compile(r"<function=([^>\s]+)>(.*?)</function>", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\s]+)>(.*?)</parameter>", re.DOTALL)
_FENCED = re.compile(r"```[\w-]*\n(.*?)```", re.DOTALL)
_MISTRAL = "[TOOL_CALLS]"
_NAMED = re.compile(r"\s*([\w.-]+)\s*(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?\s*(?=\{)")


class Call(NamedTuple):
    """A tool's name and its arguments by name."""

    name: str
    arguments: dict[str, Any]


class NotACallError(ValueError):
    """A text that should be a call is none."""


Parameters = Mapping[str, Sequence[str]]
"""Parameter names of every tool, for calls with positional arguments."""


def calls_in(text: str, parameters: Parameters | None = None) -> list[Call]:
    """Return the calls in an answer, in their order. Total: it never raises.

    It reads JSON with one call or a list (OpenAI, Hermes, Qwen, Llama). The arguments may be an object or JSON text.
    The JSON may stand alone, in `<tool_call>` tags or in a fenced block. It also reads `<function=…>` (Qwen3-Coder,
    Qwen3.5), `[TOOL_CALLS]` (Mistral), and a call in Python.

    Args:
        text: The answer, without its thought.
        parameters: Parameters of the known tools.

    Returns:
        The calls. The list is empty if any of them cannot be read, because half of an answer is not acted on.
    """
    text = text[:MAX_CHARACTERS].strip()
    try:
        calls = list(_found(text, parameters or {}))
    except (NotACallError, ValueError, SyntaxError, TypeError, AttributeError, RecursionError, MemoryError):
        return []
    return calls if all(_is_plain(call.arguments) for call in calls) else []


def _found(text: str, parameters: Parameters) -> Iterator[Call]:
    if tagged := _TAGGED.findall(text):
        for body in tagged:
            yield from _in_body(body.strip(), parameters)
    elif _FUNCTION.search(text):
        yield from _with_parameters(text)
    elif _MISTRAL in text:
        for body in text.split(_MISTRAL)[1:]:
            yield from _after_mark(body.strip())
    elif fenced := _FENCED.findall(text):
        for body in fenced:
            yield from _in_body(body.strip(), parameters)
    else:
        yield from _in_body(text, parameters)


def _in_body(body: str, parameters: Parameters) -> Iterator[Call]:
    if _FUNCTION.search(body):
        yield from _with_parameters(body)
    elif body.startswith(("{", "[")):
        yield from _from_json(json.loads(body))
    else:
        yield _from_python(body, parameters)


def _with_parameters(text: str) -> Iterator[Call]:
    for name, body in _FUNCTION.findall(text):
        yield Call(name, {key: _value(value.strip("\n")) for key, value in _PARAMETER.findall(body)})


def _value(text: str) -> Any:
    """Return the value of a parameter without quotes: JSON if it is valid, otherwise the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _after_mark(body: str) -> Iterator[Call]:
    """Read what follows Mistral's mark: a list of calls, or a name with its arguments."""
    named = _NAMED.match(body)
    if named is None:
        content, _ = json.JSONDecoder().raw_decode(body)
        yield from _from_json(content)
        return
    arguments, _ = json.JSONDecoder().raw_decode(body, named.end())
    yield Call(named[1], arguments)


def _from_json(content: Any) -> Iterator[Call]:
    for call in content if isinstance(content, list) else [content]:
        function = call.get("function", call)
        function = call if isinstance(function, str) else function
        name = function.get("name", function.get("function"))
        arguments = function.get("arguments", function.get("parameters")) or {}
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        if not (isinstance(name, str) and isinstance(arguments, dict)):
            raise NotACallError
        yield Call(name, arguments)


def _from_python(text: str, parameters: Parameters) -> Call:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the model's text, which they would print
        call = ast.parse(text, mode="eval").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise NotACallError
    named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    positional = [ast.literal_eval(value) for value in call.args]
    names = parameters.get(call.func.id, ())
    if len(positional) > len(names):
        raise NotACallError
    return Call(call.func.id, dict(zip(names, positional, strict=False)) | named)


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether JSON can hold a value, so that a state key can be made of it."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        return depth < _MAX_DEPTH and all(_is_plain(item, depth + 1) for item in value)
    if type(value) is int:
        return value.bit_length() <= _MAX_BITS
    return value is None or type(value) in (bool, float, str)


def as_text(calls: Sequence[Call]) -> str:
    """Return calls as one text, which is the same for the same calls."""
    return json.dumps([call._asdict() for call in calls], ensure_ascii=False)


def fitted(arguments: dict[str, Any], function: Callable[..., Any]) -> dict[str, Any]:
    """Return arguments with texts made numbers or booleans where the function's type hints say so."""
    hints = {
        name: hint for name, hint in getattr(function, "__annotations__", {}).items() if hint in (int, float, bool)
    }
    return {name: _value(x) if name in hints and isinstance(x, str) else x for name, x in arguments.items()}
