"""The paper's loop: one step of many trees, rewards from the history alone, then an update."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from trl_3spo.algorithm.after_walks import Loop, fitting
from trl_3spo.algorithm.base import Row, Sampler
from trl_3spo.algorithm.credit import with_signal

MIN_BATCH_FILL = 0.9
"""Share of the batch that groups with signal must fill before an update. The paper updates after a single group, which
leaves a device idle."""
MAX_FILL_ROUNDS = 4
"""Number of rounds after which a batch with any signal is trained on. On solved tasks hardly any group has signal, and
filling the batch would cost more than it teaches."""


@dataclass(eq=False)
class AfterStep(Loop):
    """Samples state groups until groups with signal fill enough of the batch; all ranks make the same rounds.

    Args:
        max_group_size: Largest group size G_max.
    """

    max_group_size: int

    def collect(self, sampler: Sampler, capacity: int) -> list[Row]:
        """Return the rows of whole groups with signal, as many as fit."""
        groups: list[list[Row]] = []
        num_sampled = 0
        for num_rounds in range(1, self.max_rounds + 1):
            size, found = self._round(sampler, num_to_sample(capacity, num_rows(groups), num_sampled))
            num_sampled += size
            groups = fitting(groups + found, capacity)
            if self._is_done(num_rows(groups), capacity, num_rounds):
                break
        return list(chain.from_iterable(groups))

    def _round(self, sampler: Sampler, capacity: int) -> tuple[int, list[list[Row]]]:
        """Advance the trees by at most `capacity` actions; return their number, and the rows of groups with signal."""
        with sampler.phase():
            plan = self.forest.plan(capacity)
            samples = sampler.sample([x.visit for x in plan], [x.num_samples for x in plan])
            groups = self.forest.record(plan, samples)
        every = self.credit.rows(samples, groups)
        credited = with_signal(every)
        self.tally.counts["groups_without_signal"] += len(groups) - len(credited)
        episodes = self.forest.take_ended()
        self.show(groups, samples, every, episodes)
        self.observe(episodes)
        return num_rows(samples), credited

    def _is_done(self, size: int, capacity: int, num_rounds: int) -> bool:
        sizes = self.ranks.gather(size)
        wanted = MIN_BATCH_FILL * capacity * len(sizes)
        # If one rank has no room for another group, all stop.
        is_full = sum(sizes) >= wanted or max(sizes) > capacity - self.max_group_size
        is_done = is_full or (num_rounds >= MAX_FILL_ROUNDS and sum(sizes) > 0)
        if sum(sizes) == 0:
            self.tally.idle(num_rounds, self.max_rounds)
        if is_done or num_rounds == self.max_rounds:
            self.tally.log("batch_fill", sum(sizes) / (capacity * len(sizes)))
        return is_done


def num_to_sample(capacity: int, num_rows: int, num_sampled: int) -> int:
    """Return the number of actions that fills the batch if the share with signal stays the same."""
    share = num_rows / num_sampled if num_rows else 1.0
    return min(round((capacity - num_rows) / share), capacity)


def num_rows(groups: Sequence[Sequence[object]]) -> int:
    """Return the number of rows in all groups."""
    return sum(map(len, groups))
