"""What every rollout keeps, whichever way it samples: its place in the order of tasks, and the states reached."""

import random
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from trl_3spo.algorithm.records import Visit
from trl_3spo.environments.base import Environment, Task


class Collector:
    """The part of a rollout that does not depend on the algorithm.

    Args:
        env: Serves all episodes; it is put back with `restore` for every action.
        tasks: To be trained on, at least one.
        seed: Of the order of tasks, which is reshuffled on every pass.
        rank: This process among `num_ranks`, which share the tasks out between them.

    Raises:
        ValueError: There are no tasks.
    """

    def __init__(
        self, env: Environment, tasks: Sequence[Task], *, seed: int = 0, rank: int = 0, num_ranks: int = 1
    ) -> None:
        if not tasks:
            raise ValueError("There are no tasks to train on; the environment's tasks() must return at least one.")
        self.counts: Counter[str] = Counter()
        self._env = env
        self._tasks = tasks
        self._seed = seed
        self._next_task = rank
        self._num_ranks = num_ranks
        self._states: set[int] = set()

    def next_tasks(self, count: int) -> list[Task]:
        """Take this rank's next tasks off the order."""
        tasks = []
        for _ in range(count):
            tasks.append(self._task(self._next_task))
            self._next_task += self._num_ranks
        return tasks

    def _task(self, position: int) -> Task:
        """Return the task at a position of the endless sequence of reshuffled passes."""
        num_pass, index = divmod(position, len(self._tasks))
        return self._tasks[_order(self._seed, num_pass, len(self._tasks))[index]]

    def _count_reached(self, visits: Iterable[Visit]) -> None:
        """Count what sampled actions led to, one visit for each of them."""
        reached = [visit.state_digest for visit in visits]
        self.counts["sampled_actions"] += len(reached)
        self.counts["revisits"] += sum(state in self._states for state in reached)
        self._states.update(reached)

    @property
    def num_states(self) -> int:
        """Distinct exact states reached so far."""
        return len(self._states)

    def state_dict(self) -> dict[str, Any]:
        """Return states reached and place in the order of tasks as plain data and arrays."""
        return {"next_task": self._next_task, "states": array("Q", sorted(self._states))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a `state_dict` left off."""
        self._next_task = state["next_task"]
        self._states = {int(x) for x in state["states"]}


@lru_cache(maxsize=2)
def _order(seed: int, num_pass: int, num_tasks: int) -> list[int]:
    order = list(range(num_tasks))
    random.Random(f"{seed}/{num_pass}").shuffle(order)
    return order
