"""The collecting phase of the baselines: groups of whole episodes, one group a task."""

from collections.abc import Sequence
from typing import Any

from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.records import Episode, Visit, first_visit, next_visits
from trl_3spo.algorithm.task_order import Collector
from trl_3spo.environments.base import Environment, Task


class EpisodeRollout(Collector):
    """Whole episodes of several tasks over one environment, advanced together, several of each task.

    Passive, like the search: `begin` starts tasks, `waiting` names the visits to sample one action at, `record` takes
    these actions, and when nothing waits any more, `groups` has the episodes. Everything begins and ends within one
    generation batch, so its state is only what every collector keeps, and the history.

    A caller whose credit comes from a `history` of completed episodes sets it and writes it; it is kept with the
    rollout's state.

    Args:
        env: Must end its episodes itself; it is put back with `restore` for every action.
        tasks: To be trained on, at least one.
        group_size: Episodes of each task, at least 2.
        seed, rank, num_ranks: As in [`~trl_3spo.algorithm.task_order.Collector`].
    """

    def __init__(
        self,
        env: Environment,
        tasks: Sequence[Task],
        *,
        group_size: int,
        seed: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        super().__init__(env, tasks, seed=seed, rank=rank, num_ranks=num_ranks)
        self.history: StateHistory | None = None
        self._group_size = group_size
        self._heads: list[Visit] = []

    def begin(self, num_tasks: int) -> None:
        """Start `group_size` episodes of each of the next tasks, in place of the episodes before."""
        roots = [first_visit(self._env, task) for task in self.next_tasks(num_tasks)]
        self._heads = [root for root in roots for _ in range(self._group_size)]

    def waiting(self) -> dict[int, Visit]:
        """Return where the episodes that go on are, by their number."""
        return {i: head for i, head in enumerate(self._heads) if not head.result.is_final}

    def record(self, actions: Sequence[str]) -> None:
        """Take one action in every waiting episode, in the order of `waiting`."""
        waiting = self.waiting()
        reached = next_visits(self._env, list(zip(waiting.values(), actions, strict=True)))
        self._count_reached(reached)
        for i, visit in zip(waiting, reached, strict=True):
            self._heads[i] = visit

    def groups(self) -> list[list[Episode]]:
        """Return the episodes of each task, all of which have ended, in the order of their numbers."""
        episodes = [Episode(head) for head in self._heads]
        return [episodes[i : i + self._group_size] for i in range(0, len(episodes), self._group_size)]

    def state_dict(self) -> dict[str, Any]:
        """Return history, states reached and place in the order of tasks as plain data and arrays."""
        return super().state_dict() | ({} if self.history is None else {"history": self.history.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a `state_dict` left off; where that had no history, the history is left as it is."""
        super().load_state_dict(state)
        if self.history is not None and state.get("history"):
            self.history.load_state_dict(state["history"])
