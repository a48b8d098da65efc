"""Snapshots for worlds that cannot take any: start over and repeat the actions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trl_3spo.environments.base import Environment, Message, Observation, StepResult, Task, Tool, Turn
from trl_3spo.environments.limited import NO_EPISODE


class Resettable(Protocol):
    """What `ReplayEnvironment` needs of a world: the part of `Environment` that only goes forward."""

    def tasks(self, split: str | None = None) -> Sequence[Task]: ...  # noqa: D102

    def reset(self, task: Task) -> Observation: ...  # noqa: D102

    def step(self, action: str) -> StepResult: ...  # noqa: D102


class ReplayDriftError(RuntimeError):
    """The same actions led elsewhere than the first time."""


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    """A state by the way that led there. Nodes share their past, so a snapshot costs nothing."""

    task: Task
    observation: Observation
    parent: "_Node | None" = None
    action: str = ""
    is_final: bool = False
    num_steps: int = 0


class ReplayEnvironment(Environment):
    """An environment made of a world that can only be reset and stepped.

    `restore` resets the world and repeats the actions that led to the snapshot, or goes on from where the world is if
    that lies on the way. It costs as many steps as the episode is long, so take real snapshots where a world has them.
    The state key is verified after every repeated action.

    Args:
        env: The world, or a callable without arguments that makes it. Its `prompt`, `parse_action` and `close` are used
            where it has them.

    Raises:
        ReplayDriftError: From `restore`, when the world does not repeat itself. Nothing is lost but the present state.
    """

    def __init__(self, env: Resettable | Callable[[], Resettable]) -> None:
        self._env: Resettable = env() if callable(env) else env
        self._node: _Node | None = None  # None as long as it is not known where the world is

    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the world's tasks."""
        return self._env.tasks(split)

    def reset(self, task: Task) -> Observation:
        """Start a task in the world."""
        self._node = None
        self._node = _Node(task, self._env.reset(task))
        return self._node.observation

    def step(self, action: str) -> StepResult:
        """Take one action in the world and note it."""
        node = self._node
        if node is None or node.is_final:
            raise RuntimeError(NO_EPISODE)
        self._node = None
        result = self._env.step(action)
        self._node = _Node(node.task, result.observation, node, action, result.is_final, node.num_steps + 1)
        return result

    def snapshot(self) -> Any:
        """Return the way to the present state."""
        return self._node

    def restore(self, snapshot: Any) -> Observation:
        """Go the way of the snapshot again, from the start or from where the world is if that lies on it."""
        way = [snapshot]
        while way[-1] is not self._node and way[-1].parent is not None:
            way.append(way[-1].parent)
        start = way.pop()
        if start is not self._node:
            self._node = None
            _verify(start, self._env.reset(start.task), is_final=False)
        self._node = None
        for node in reversed(way):
            result = self._env.step(node.action)
            _verify(node, result.observation, result.is_final)
        self._node = snapshot
        return self._node.observation

    def close(self) -> None:
        """Close the world."""
        getattr(self._env, "close", super().close)()

    def prompt(self, task: Task, observation: Observation, turns: Sequence[Turn]) -> list[Message]:
        """Return the world's own prompt where it has one."""
        messages: list[Message] = getattr(self._env, "prompt", super().prompt)(task, observation, turns)
        return messages

    def tools(self, task: Task) -> Sequence[Tool]:
        """Return the world's tools where it has any."""
        tools: Sequence[Tool] = getattr(self._env, "tools", super().tools)(task)
        return tools

    @property
    def reward_range(self) -> tuple[float, float]:  # type: ignore[override]
        """The world's reward range where it has one."""
        return getattr(self._env, "reward_range", Environment.reward_range)

    def parse_action(self, completion: str) -> str:
        """Parse as the world does where it does."""
        action: str = getattr(self._env, "parse_action", super().parse_action)(completion)
        return action


def _verify(node: _Node, observation: Observation, is_final: bool) -> None:
    if observation.state_key == node.observation.state_key and is_final == node.is_final:
        return
    when = f"step {node.num_steps} ({node.action!r})" if node.parent else "the reset"
    raise ReplayDriftError(
        f"The replay of task {node.task.id!r} drifted at {when}: expected the state key "
        f"{node.observation.state_key!r}{_ended(node.is_final)}, found {observation.state_key!r}{_ended(is_final)}. "
        "The same actions have to lead to the same states after every reset: seed the world from the task, keep "
        "counters and times out of its state key, or give it real snapshots."
    )


def _ended(is_final: bool) -> str:
    return " at the end of the episode" if is_final else ""
