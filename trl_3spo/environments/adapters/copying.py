"""Base of the adapters for Python objects: snapshots by deep copy, and splits."""

import abc
import copy
from collections.abc import Mapping, Sequence
from typing import Any

from trl_3spo.environments.adapters.splits import Splits
from trl_3spo.environments.base import Observation, StepResult, Task
from trl_3spo.environments.limited import LimitedEnvironment, Snapshot


class CopyingEnvironment(LimitedEnvironment[Any]):
    """An environment around one Python object, which is copied as a whole.

    Adapters start the object in `_start` and act on it in `_play`. A snapshot and a restore are one deep copy each. If
    the object cannot be copied, put the adapter into a `ReplayEnvironment`.

    Args:
        world: Object to wrap.
        splits: Tasks by the name of their split; the first split is the default.
        max_steps: Steps after which an episode is truncated. Meaningless actions count, although the object's own limit
            never sees them.

    Raises:
        ValueError: There is no task, or `max_steps` is below 1.
    """

    def __init__(self, world: Any, splits: Mapping[str, Sequence[Task]], max_steps: int) -> None:
        if not any(splits.values()):
            raise ValueError("There are no tasks: give at least one.")
        super().__init__(max_steps)
        self._world = world
        self._splits = Splits(splits)

    @abc.abstractmethod
    def _start(self, task: Task) -> Observation:
        """Reset the object to a task."""

    @abc.abstractmethod
    def _play(self, now: Snapshot[Any], action: str) -> StepResult:
        """Act on the object. A meaningless action shows `now.observation` again."""

    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the tasks of a split."""
        return self._splits.tasks(split)

    def reset(self, task: Task) -> Observation:
        """Start a task.

        Raises:
            ValueError: The task is not one of this environment's.
        """
        task = self._splits.find(task)
        self._now = None  # A reset that fails leaves the world anywhere.
        return super().reset(task)

    def _begin(self, task: Task) -> tuple[Any, Observation]:
        return self._world, self._start(task)

    def _act(self, now: Snapshot[Any], action: str) -> tuple[Any, StepResult]:
        return self._world, self._play(now, action)

    def snapshot(self) -> Snapshot[Any]:
        """Return the current moment with a copy of the object.

        Raises:
            RuntimeError: No episode has begun.
            TypeError: The object cannot be copied.
        """
        return super().snapshot()._replace(state=self._copy(self._world))

    def restore(self, snapshot: Snapshot[Any]) -> Observation:
        """Continue with a copy of the snapshot's object, so that the snapshot can be restored again.

        Raises:
            TypeError: The object cannot be copied.
        """
        self._world = self._copy(snapshot.state)
        return super().restore(snapshot._replace(state=self._world))

    def close(self) -> None:
        """Close the object if it can be closed."""
        getattr(self._world, "close", super().close)()

    def _copy(self, world: Any) -> Any:
        try:
            return copy.deepcopy(world)
        except Exception as error:
            # An adapter may keep something beside the world, and copies both.
            kind = type(getattr(world, "world", world)).__name__
            raise TypeError(
                f"A world of type {kind} cannot be copied ({error}): wrap this environment in "
                "ReplayEnvironment, which repeats the actions instead, or give the class a __deepcopy__."
            ) from error
