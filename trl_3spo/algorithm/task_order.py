"""Order of the training tasks."""

import random
from collections.abc import Sequence
from functools import lru_cache

from trl_3spo.environments.base import Task


class TaskOrder:
    """An endless sequence of the tasks, reshuffled on every pass and shared among the ranks.

    Args:
        tasks: Tasks to train on, at least one.
        seed: Seed for the task order.
        rank: Number of this process among `num_ranks`.

    Raises:
        ValueError: There are no tasks.
    """

    def __init__(self, tasks: Sequence[Task], *, seed: int = 0, rank: int = 0, num_ranks: int = 1) -> None:
        if not tasks:
            raise ValueError("There are no tasks to train on; the environment's tasks() must return at least one.")
        self.tasks = tasks
        self.position = rank
        self._seed = seed
        self._rank = rank
        self._num_ranks = num_ranks

    def take(self, count: int) -> list[Task]:
        """Return this rank's next tasks, and move on."""
        tasks = []
        for _ in range(count):
            tasks.append(self.at(self.position))
            self.position += self._num_ranks
        return tasks

    def at(self, position: int) -> Task:
        """Return the task at a position of the endless sequence."""
        num_pass, index = divmod(position, len(self.tasks))
        return self.tasks[_order(self._seed, num_pass, len(self.tasks))[index]]

    def resume(self, position: int, *, saved_by: int) -> None:
        """Continue from the position that this or another rank saved."""
        self.position = position + self._rank - saved_by


@lru_cache(maxsize=2)
def _order(seed: int, num_pass: int, num_tasks: int) -> list[int]:
    order = list(range(num_tasks))
    random.Random(f"{seed}/{num_pass}").shuffle(order)
    return order
