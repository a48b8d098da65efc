"""The paper's loop: one step of many trees, credited by the history alone, then an update."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from trl_3spo.algorithm.after_walks import Loop, fitting
from trl_3spo.algorithm.base import Row, Sampler
from trl_3spo.algorithm.credit import with_signal

MIN_BATCH_FILL = 0.9
"""Share of the batch that groups with signal must fill before the policy is updated: the paper's update follows a
single group, which leaves a device idle."""
MAX_FILL_ROUNDS = 4
"""Rounds after which a batch with any signal is trained on though it is not that full: where tasks are solved, hardly
any group has signal, and a full batch would cost more than it teaches."""


@dataclass(eq=False)
class AfterStep(Loop):
    """Samples state groups until those with signal fill the batch far enough, the same rounds on every rank.

    Args:
        max_group_size: G_max.
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
        """Advance the trees by at most `capacity` actions; return how many, and the rows of the groups with signal."""
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
        # Where one rank has no room for another group, none goes on.
        is_full = sum(sizes) >= wanted or max(sizes) > capacity - self.max_group_size
        is_done = is_full or (num_rounds >= MAX_FILL_ROUNDS and sum(sizes) > 0)
        if sum(sizes) == 0:
            self.tally.idle(num_rounds, self.max_rounds)
        if is_done or num_rounds == self.max_rounds:
            self.tally.log("batch_fill", sum(sizes) / (capacity * len(sizes)))
        return is_done


def num_to_sample(capacity: int, num_rows: int, num_sampled: int) -> int:
    """Return how many actions it takes to fill a batch up if as many of them have signal as so far."""
    share = num_rows / num_sampled if num_rows else 1.0
    return min(round((capacity - num_rows) / share), capacity)


def num_rows(groups: Sequence[Sequence[object]]) -> int:
    """Return how many rows the groups have together."""
    return sum(map(len, groups))
