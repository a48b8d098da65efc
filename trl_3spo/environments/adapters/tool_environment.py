"""Classes written for TRL's `environment_factory`, as environments that can be rewound.

Such a class has a `reset` that takes a dataset row, public methods that the model calls as tools, and perhaps a
`get_reward`. One step here is one call.
"""

import ast
import inspect
import json
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from trl_3spo.environments.adapters.copying import CopyingEnvironment
from trl_3spo.environments.base import Key, Message, Observation, StepResult, Task, Turn, parse_action
from trl_3spo.environments.limited import Snapshot

FINISH = "finish"
"""The call that ends an episode. TRL ends it with the first completion that calls nothing; here that is a no-op."""

_TAGGED = re.compile(r"<tool_call>(.*?)(?:</tool_call>|$)", re.DOTALL)
_MAX_CALL_CHARACTERS = 20_000
_MAX_DEPTH = 20
_MAX_BITS = 1024
"""Of a whole number: larger ones have no text in Python."""


class Call(NamedTuple):
    """A method's name and its arguments."""

    name: str
    positional: tuple[Any, ...]
    named: dict[str, Any]


class ToolEnvironment(CopyingEnvironment):
    """An object of a class written for TRL's `environment_factory`.

    An action is a call, as JSON (`{"name": "guess", "arguments": {"word": "crane"}}`, in `<tool_call>` tags or not) or
    as Python (`guess(word="crane")`). Its result, as text, is the next observation. What is not a call of one of the
    methods with arguments that fit never reaches the object. The call `finish()` ends the episode, as does the object
    itself by an attribute `done`; `get_reward` is then asked, once.

    Limits: methods must not be asynchronous. Without `state_key` the key is made of the object's attributes, which must
    then consist of plain values, containers and dataclasses.

    Args:
        factory: Makes the object, without arguments; usually its class.
        splits: Dataset rows by split, passed to `reset` as keyword arguments. A row's `prompt`, a string or a list of
            messages, is what the policy is shown first; `kind` is taken for the type of the task.
        success_reward: An episode that was ended, not truncated, with at least this reward is a success.
        is_done: Whether the object has ended the episode.
        state_key: Gives the exact key of the object's state, without the task.
        max_steps: Calls after which an episode is truncated.

    Raises:
        ValueError: The class has no `reset`, no methods, or asynchronous ones; a prompt is not text.
    """

    def __init__(
        self,
        factory: Callable[[], Any],
        splits: Mapping[str, Sequence[Mapping[str, Any]]],
        *,
        success_reward: float = 1.0,
        is_done: Callable[[Any], bool] = lambda world: bool(getattr(world, "done", False)),
        state_key: Callable[[Any], Key] | None = None,
        max_steps: int = 20,
    ) -> None:
        tasks = {split: [_task(split, index, row) for index, row in enumerate(rows)] for split, rows in splits.items()}
        super().__init__(factory(), tasks, max_steps)
        self._tools = _tools(type(self._world))
        self._success_reward = success_reward
        self._is_done = is_done
        self._state_key = state_key

    def prompt(self, task: Task, observation: Observation, turns: Sequence[Turn]) -> list[Message]:
        """Return the row's prompt, continued by the tools, the last four turns and the observation."""
        *before, last = _messages(task.data)
        lines = [last["content"], self._instructions()]
        lines += [f"{turn.observation}\n> {turn.action}" for turn in turns[-4:]]
        content = "\n".join(line for line in [*lines, observation.text] if line)
        return [*before, {"role": last["role"], "content": content}]

    def parse_action(self, completion: str) -> str:
        """Return the last `<tool_call>`, whole: an argument may have line breaks that matter."""
        tagged = _TAGGED.findall(completion)
        return tagged[-1][:_MAX_CALL_CHARACTERS].strip() if tagged else parse_action(completion)

    def close(self) -> None:
        """Leave the object alone, as TRL does: a method of this name is a tool."""

    def _start(self, task: Task) -> Observation:
        text = self._world.reset(**task.data)
        return self._observation("" if text is None else str(text), task)

    def _play(self, now: Snapshot[Any], action: str) -> StepResult:
        task, call = now.task, parse_call(action)
        if call is None:
            return StepResult.going_on(self._observation("Error: this is not a call.", task))
        if call.name == FINISH and FINISH not in self._tools:
            return self._end(self._observation("Finished.", task))
        observation = self._observation(self._answer(call), task)
        return self._end(observation) if self._is_done(self._world) else StepResult.going_on(observation)

    def _answer(self, call: Call) -> str:
        """Call a method and return its result, or what was wrong, as text: TRL shows errors to the model, too."""
        if call.name not in self._tools:
            return f"Error: there is no tool {call.name[:100]!r}."
        method = getattr(self._world, call.name)
        try:
            inspect.signature(method).bind(*call.positional, **call.named)
            return str(method(*call.positional, **call.named))
        except Exception as error:
            return f"Error: {error}"

    def _end(self, observation: Observation) -> StepResult:
        reward = float(self._world.get_reward() or 0.0) if hasattr(self._world, "get_reward") else 0.0
        return StepResult.ended(observation, success=reward >= self._success_reward, reward=reward)

    def _observation(self, text: str, task: Task) -> Observation:
        state = plain_key(vars(self._world)) if self._state_key is None else self._state_key(self._world)
        return Observation(text, (task.id, state))

    def _instructions(self) -> str:
        tools = [f"{name}{signature}: {description}" for name, (signature, description) in self._tools.items()]
        if FINISH not in self._tools:
            tools.append(f"{FINISH}(): End the episode.")
        return "Tools, of which to call one:\n" + "\n".join(tools)


def parse_call(action: str) -> Call | None:
    """Read a call as JSON or as Python.

    Arguments are plain values, such as an object can keep and a state key be made of: None, booleans, floats, strings,
    bytes, whole numbers of up to 1,024 bits, and containers of these, nested at most 20 deep.

    Returns:
        `None` if it is neither, or has other arguments.
    """
    tagged = _TAGGED.findall(action)
    text = (tagged[-1] if tagged else action)[:_MAX_CALL_CHARACTERS].strip()
    try:
        call = _parse_json(text) if text.startswith("{") else _parse_python(text)
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, MemoryError):
        return None
    return call if call and all(map(_is_plain, (*call.positional, *call.named.values()))) else None


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, Mapping):
        value = (*value, *value.values())
    if isinstance(value, list | tuple | set):
        return depth < _MAX_DEPTH and all(_is_plain(item, depth + 1) for item in value)
    if type(value) is int:
        return value.bit_length() <= _MAX_BITS
    return value is None or type(value) in (bool, float, str, bytes)


def _parse_json(text: str) -> Call | None:
    content = json.loads(text)
    name, arguments = content["name"], content.get("arguments", {})
    return Call(name, (), arguments) if isinstance(name, str) and isinstance(arguments, dict) else None


def _parse_python(text: str) -> Call | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the model's text, which they would print
        call = ast.parse(text, mode="eval").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return None
    named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    return Call(call.func.id, tuple(ast.literal_eval(value) for value in call.args), named)


def plain_key(value: Any) -> Key:
    """Return a value of plain types, containers and dataclasses as a key.

    Raises:
        TypeError: The value holds something else.
    """
    if value is None or type(value) in (bool, int, str, bytes):
        key: Key = value
        return key
    if type(value) is float:
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, list | tuple):
        return tuple(plain_key(item) for item in value)
    if isinstance(value, set | frozenset):
        return tuple(sorted((plain_key(item) for item in value), key=repr))
    if isinstance(value, Mapping):
        return tuple(sorted(((plain_key(name), plain_key(item)) for name, item in value.items()), key=repr))
    if is_dataclass(value) and not isinstance(value, type):
        return tuple((field.name, plain_key(getattr(value, field.name))) for field in fields(value))
    raise TypeError(f"No state key can be made of a {type(value).__name__}: pass state_key to ToolEnvironment.")


def _tools(world: type) -> dict[str, tuple[str, str]]:
    """Return signature and description of each method that TRL would take for a tool."""
    methods = dict(inspect.getmembers(world, inspect.isfunction))
    names = [name for name in methods if not name.startswith("_") and name not in ("reset", "get_reward")]
    asynchronous = [name for name in methods if inspect.iscoroutinefunction(methods[name])]
    if "reset" not in methods or not names:
        raise ValueError(f"{world.__name__} has the methods {sorted(methods)}: reset and one to call are required.")
    if asynchronous:
        raise ValueError(f"{world.__name__} has asynchronous methods, {asynchronous}: only plain ones can be called.")
    return {name: (_signature(methods[name]), (inspect.getdoc(methods[name]) or "").split("\n")[0]) for name in names}


def _signature(method: Callable[..., Any]) -> str:
    signature = inspect.signature(method)
    return str(signature.replace(parameters=list(signature.parameters.values())[1:]))


def _task(split: str, index: int, row: Mapping[str, Any]) -> Task:
    _messages(row)
    return Task(f"{split} {index}", str(row.get("kind", "")), dict(row))


def _messages(row: Mapping[str, Any]) -> list[Message]:
    prompt = row.get("prompt", "")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if not messages or not all(isinstance(message["content"], str) for message in messages):
        raise ValueError(f"The prompt is {prompt!r}: a string is required, or a list of messages with text.")
    return messages
