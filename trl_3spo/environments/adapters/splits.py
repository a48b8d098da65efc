"""The tasks of an adapter, by split."""

from collections.abc import Mapping, Sequence

from trl_3spo.environments.base import Task


class Splits:
    """Tasks by the name of their split.

    Args:
        splits: Tasks by split; the first split is the default.
    """

    def __init__(self, splits: Mapping[str, Sequence[Task]]) -> None:
        self._splits = {name: tuple(tasks) for name, tasks in splits.items()}
        self._known = {task: task for tasks in self._splits.values() for task in tasks}

    def tasks(self, split: str | None) -> Sequence[Task]:
        """Return the tasks of a split.

        Raises:
            ValueError: There is no such split.
        """
        name = next(iter(self._splits)) if split is None else split
        if name not in self._splits:
            raise ValueError(f"There is no split {split!r}: choose one of {', '.join(self._splits)}.")
        return self._splits[name]

    def find(self, task: Task) -> Task:
        """Return the task with the same identity, with the data it has here.

        Raises:
            ValueError: There is none.
        """
        if task not in self._known:
            raise ValueError(f"Task {task.id!r} is not one of this environment: choose one of tasks().")
        return self._known[task]
