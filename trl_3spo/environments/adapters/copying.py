"""What adapters have in common whose world is a Python object: snapshots by deep copy, splits, a limit on steps."""

import abc
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trl_3spo.environments.base import Environment, Observation, StepResult, Task


@dataclass(frozen=True, slots=True, eq=False)
class _Position:
    """Where an episode is, apart from the world itself."""

    task: Task
    observation: Observation
    num_steps: int = 0
    is_final: bool = False


class CopyingEnvironment(Environment):
    """An environment around one Python object, the world, that is copied whole.

    Adapters say in `_begin` and `_act` how the world is started and acted on. A snapshot and a restore are one deep
    copy each; where the world cannot be copied, put the adapter into a `ReplayEnvironment`.

    Args:
        world: The object.
        splits: Tasks by the name of their split; the first split is the default.
        max_steps: Steps after which an episode is truncated. Actions that mean nothing count, which a limit of the
            world's own never sees.

    Raises:
        ValueError: There is no task, or `max_steps` is below 1.
    """

    def __init__(self, world: Any, splits: Mapping[str, Sequence[Task]], max_steps: int) -> None:
        if not any(splits.values()):
            raise ValueError("There are no tasks: give at least one.")
        if max_steps < 1:
            raise ValueError(f"max_steps={max_steps}: at least 1 is required.")
        self._world = world
        self._splits = {name: tuple(tasks) for name, tasks in splits.items()}
        self._known = {task: task for tasks in self._splits.values() for task in tasks}
        self._max_steps = max_steps
        self._position: _Position | None = None

    @abc.abstractmethod
    def _begin(self, task: Task) -> Observation:
        """Reset the world to a task."""

    @abc.abstractmethod
    def _act(self, action: str, task: Task, observation: Observation) -> StepResult | None:
        """Act on the world, or return None if the action means nothing to it."""

    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the tasks of a split."""
        name = next(iter(self._splits)) if split is None else split
        if name not in self._splits:
            raise ValueError(f"There is no split {split!r}: choose one of {', '.join(self._splits)}.")
        return self._splits[name]

    def reset(self, task: Task) -> Observation:
        """Start a task."""
        if task not in self._known:
            raise ValueError(f"Task {task.id!r} is not one of this environment: choose one of tasks().")
        self._position = None
        self._position = _Position(task, self._begin(self._known[task]))
        return self._position.observation

    def step(self, action: str) -> StepResult:
        """Take one action, within the limit on steps."""
        position = self._position
        if position is None or position.is_final:
            raise RuntimeError("The episode has ended or never began: call reset() or restore() first.")
        result = self._act(action, position.task, position.observation) or StepResult.going_on(position.observation)
        num_steps = position.num_steps + 1
        if num_steps >= self._max_steps and not result.is_final:
            result = replace(result, truncated=True)
        self._position = _Position(position.task, result.observation, num_steps, result.is_final)
        return result

    def snapshot(self) -> Any:
        """Copy the world."""
        return self._copy(self._world), self._position

    def restore(self, snapshot: Any) -> Observation:
        """Put a copy of the snapshot's world in place, so that the snapshot can be restored again."""
        world, position = snapshot
        self._world, self._position = self._copy(world), position
        observation: Observation = position.observation
        return observation

    def close(self) -> None:
        """Close the world if it can be closed."""
        getattr(self._world, "close", super().close)()

    def _copy(self, world: Any) -> Any:
        try:
            return copy.deepcopy(world)
        except Exception as error:
            raise TypeError(
                f"A world of type {type(world).__name__} cannot be copied ({error}): wrap this environment in "
                "ReplayEnvironment, which repeats the actions instead, or give the class a __deepcopy__."
            ) from error
