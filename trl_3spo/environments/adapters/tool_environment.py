"""Classes written for TRL's `environment_factory`, unchanged, as environments that can go back.

Such a class has a `reset` that takes a dataset row, public methods that the model calls as tools, and perhaps a
`get_reward`. One step here is one answer, with all calls in it.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trl_3spo.environments.adapters.awaiting import results_of
from trl_3spo.environments.adapters.copying import CopyingEnvironment
from trl_3spo.environments.adapters.episode_rewards import EpisodeRewards, RewardFunction
from trl_3spo.environments.adapters.plain_keys import plain_key, told
from trl_3spo.environments.adapters.tool_calls import Call, as_text, calls_in, fitted
from trl_3spo.environments.answers import action_in
from trl_3spo.environments.base import Key, Message, Observation, StepResult, Task, Tool, Turn
from trl_3spo.environments.conversation import conversation
from trl_3spo.environments.limited import Snapshot

MALFORMED_ROW = "The prompt is {!r}: a string is required, or a list of messages with text."


@dataclass
class Episode:
    """The parts that a snapshot copies.

    Args:
        world: Object of the class.
        said: Messages of answers and tools since the first prompt.
        known: Digests of the texts that the policy has read.
    """

    world: Any
    said: tuple[Message, ...] = ()
    known: tuple[int, ...] = ()


class ToolEnvironment(CopyingEnvironment):
    """An object of a class written for TRL's `environment_factory`.

    Prompts, calls and the end of an episode work as in GRPOTrainer. The text of `reset` is added to the last message of
    the row's prompt. The methods are tools in the chat template. Every call gives one message of role `tool`, and an
    error gives `{'error': …}`. The first answer without a call ends the episode. The tokenizer's response template
    reads the calls. Without one, all forms of `tool_calls.calls_in` are read.

    All texts that the policy has read are part of the state, because a search that changes nothing still adds
    information. A repeated text changes nothing.

    Limits: without `state_key`, the key is made of the object's attributes. They must then be plain values, containers
    and dataclasses. Only text is supported.

    Args:
        factory: Callable without arguments that makes the object; usually its class.
        splits: Dataset rows by split, passed to `reset` as keyword arguments. A row's `prompt`, a string or a list of
            messages, is the first prompt. Its `kind` is the task type.
        reward_funcs: Reward functions with GRPOTrainer's signature, called once at the end of an episode with lists of
            length one: `prompts`, `completions`, `environments` and the row's columns. They add to `get_reward`.
        reward_weights: Weight of each function; by default 1.
        reward_range: Lowest and highest return of an episode.
        success_reward: Least reward of a success. The episode must also have ended without truncation.
        is_done: Function that says whether the object has ended the episode, such as `lambda world: world.done`.
            Answers without a call end it too.
        state_key: Function that gives the exact key of the object's state, without the task and the revealed texts.
        max_steps: Answers after which an episode is truncated. Its rewards until then count.

    Raises:
        ValueError: The class has no `reset` or no methods, there is no reward, or a prompt is not text.
    """

    def __init__(
        self,
        factory: Callable[[], Any],
        splits: Mapping[str, Sequence[Mapping[str, Any]]],
        *,
        reward_funcs: Sequence[RewardFunction] = (),
        reward_weights: Sequence[float] | None = None,
        reward_range: tuple[float, float] = (0.0, 1.0),
        success_reward: float = 1.0,
        is_done: Callable[[Any], bool] = lambda world: False,
        state_key: Callable[[Any], Key] | None = None,
        max_steps: int = 20,
    ) -> None:
        tasks = {split: [_task(split, index, row) for index, row in enumerate(rows)] for split, rows in splits.items()}
        world = factory()
        super().__init__(Episode(world), tasks, max_steps)
        self._names = _tool_names(type(world))
        self._parameters = {name: _parameters(getattr(type(world), name)) for name in self._names}
        self._rewards = EpisodeRewards(type(world), reward_funcs, reward_weights)
        self.reward_range = reward_range
        self._success_reward = success_reward
        self._is_done = is_done
        self._state_key = state_key
        # Bound to an object that is never played with, so that schemas leave out `self`.
        self._tools: tuple[Tool, ...] = tuple(getattr(factory(), name) for name in self._names)

    def tools(self, task: Task) -> Sequence[Tool]:
        """Return the object's methods."""
        return self._tools

    def prompt(self, task: Task, observation: Observation, turns: Sequence[Turn]) -> list[Message]:
        """Return the conversation so far."""
        messages = conversation([], observation, turns)
        if messages[0]["role"] != "tool":
            return messages
        # The oldest turns are left out. No template writes results without calls, so they are told with the prompt.
        num_results = next((i for i, x in enumerate(messages) if x["role"] != "tool"), len(messages))
        results = "".join(f"\n{message['content']}" for message in messages[:num_results])
        return [*_told_with(_messages(task.data), results), *messages[num_results:]]

    def parse_action(self, completion: str) -> str:
        """Return the calls of an answer as JSON, or the answer without its thought if there are none."""
        answer = action_in(completion)
        calls = calls_in(answer, self._parameters)
        return as_text(calls) if calls else answer

    def close(self) -> None:
        """Leave the object alone, as TRL does, because a method of this name is a tool."""

    def _start(self, task: Task) -> Observation:
        episode = self._world
        text = episode.world.reset(**task.data)
        episode.said = episode.known = ()
        shown = "" if text is None else str(text)
        return self._observed(task, shown, _told_with(_messages(task.data), shown), 0)

    def _play(self, now: Snapshot[Any], action: str) -> StepResult:
        task, num_steps, episode = now.task, now.num_steps + 1, self._world
        calls = calls_in(action, self._parameters)
        results = self._results(calls)
        text = "\n".join(message["content"] for message in results)
        episode.said += ({"role": "assistant", "content": action}, *results)
        if calls:
            episode.known = told(episode.known, as_text(calls), text)
        shown = self._observed(task, text, results, num_steps)
        has_ended = not calls or self._is_done(episode.world)
        if not has_ended and num_steps < self.max_steps:
            return StepResult.going_on(shown)
        parts = self._rewards.parts(episode.world, task.data, _messages(task.data), episode.said)
        reward, info = sum(parts.values()), {"reward_parts": parts}
        if has_ended:
            return StepResult.ended(shown, success=reward >= self._success_reward, reward=reward, info=info)
        return StepResult.cut_off(shown, reward=reward, info=info)

    def _results(self, calls: Sequence[Call]) -> list[Message]:
        """Make the calls and return a message for each. Calls that have to be awaited come last, as in GRPOTrainer."""
        results: list[tuple[str, Any]] = []
        awaited: list[tuple[str, Any]] = []
        for name, arguments in calls:
            try:
                value = self._call(name, arguments)
            except Exception as error:
                value = {"error": str(error)}
            (awaited if inspect.isawaitable(value) else results).append((name, value))
        for (name, _), value in zip(awaited, results_of([value for _, value in awaited]), strict=True):
            results.append((name, {"error": str(value)} if isinstance(value, Exception) else value))
        return [{"role": "tool", "name": name, "content": str(value)} for name, value in results]

    def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        if name not in self._names:
            raise ValueError(f"Tool {name} not found.")
        method = getattr(self._world.world, name)
        return method(**fitted(arguments, method))

    def _observed(self, task: Task, text: str, messages: Sequence[Message], num_steps: int) -> Observation:
        world, known = self._world.world, self._world.known
        state = plain_key(vars(world)) if self._state_key is None else self._state_key(world)
        times = (len(known), num_steps)
        keys = ((task.id, state, known, num_steps), (task.id, *times), (task.kind, *times), (num_steps,))
        return Observation(text, (task.id, state, known), score_keys=keys, messages=tuple(messages))


def _tool_names(world: type) -> list[str]:
    """Return the methods that TRL would take for tools."""
    methods = [name for name, _ in inspect.getmembers(world, inspect.isfunction)]
    names = [name for name in methods if not name.startswith("_") and name not in ("reset", "get_reward")]
    if "reset" not in methods or not names:
        raise ValueError(f"{world.__name__} has the methods {sorted(methods)}: reset and one to call are required.")
    return names


def _parameters(method: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(method).parameters)[1:]


def _task(split: str, index: int, row: Mapping[str, Any]) -> Task:
    _messages(row)
    return Task(f"{split} {index}", str(row.get("kind", "")), dict(row))


def _messages(row: Mapping[str, Any]) -> list[Message]:
    prompt = row.get("prompt", "")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if not messages or not all(isinstance(message["content"], str) for message in messages):
        raise ValueError(MALFORMED_ROW.format(prompt))
    return messages


def _told_with(messages: Sequence[Message], text: str) -> list[Message]:
    """Return messages with a text added to the last one, as GRPOTrainer adds the text of a reset."""
    *before, last = messages
    return [*before, last | {"content": last["content"] + text}]
