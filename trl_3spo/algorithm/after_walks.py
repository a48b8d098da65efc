"""3SPO's default loop: search the trees of some tasks to their ends, then compute all advantages at once."""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

from trl_3spo.algorithm.base import Ranks, Row, Sampler
from trl_3spo.algorithm.credit import Credit, with_signal
from trl_3spo.algorithm.forest import Forest
from trl_3spo.algorithm.records import Episode, Group, Sample
from trl_3spo.algorithm.tally import Tally
from trl_3spo.algorithm.walk_credit import WalkCredit

logger = logging.getLogger(__name__)

Observe = Callable[[Sequence[Episode]], None]
"""Writes ended episodes to the history of all ranks; a collective."""

Show = Callable[[list[Group], list[list[Sample]], list[list[Row]], list[Episode]], None]
"""Shows a round to the recorder."""


@dataclass(eq=False)
class Loop:
    """Parts that both loops of 3SPO use.

    Args:
        forest: Search trees.
        credit: Computes rewards and advantages of the samples.
        observe: Function that writes ended episodes to the history.
        tally: Counts and values to log.
        ranks: Processes of the training.
        max_rounds: Number of rounds without signal after which nothing is returned.
        show: Function that gets every round before it is observed.
    """

    forest: Forest
    credit: Credit | WalkCredit
    observe: Observe
    tally: Tally
    ranks: Ranks
    max_rounds: int
    show: Show


class AfterWalks(Loop):
    """Searches trees to their ends, about as many as fill the batch, until any group of any rank has signal."""

    has_warned = False

    def collect(self, sampler: Sampler, capacity: int) -> list[Row]:
        """Return the rows of the groups with signal; if not all fit, of a random choice."""
        rows: list[Row] = []
        num_rows = num_rounds = 0
        while num_rows == 0 and num_rounds < self.max_rounds:
            rows = self._round(sampler, capacity)
            num_rows = sum(self.ranks.gather(len(rows)))
            num_rounds += 1
            if num_rows == 0:
                self.tally.idle(num_rounds, self.max_rounds)
        self.tally.log("batch_fill", num_rows / (capacity * self.ranks.num_ranks))
        return rows

    def _round(self, sampler: Sampler, capacity: int) -> list[Row]:
        with sampler.phase():
            num_trees = self.forest.start(self.forest.num_trees_for(capacity))
            samples, groups = self._walk(sampler)
        episodes = self.forest.take_ended()
        every = self.credit.rows(samples, groups, episodes)
        credited = with_signal(every)
        self.show(groups, samples, every, episodes)
        self.tally.counts["groups_without_signal"] += len(groups) - len(credited)
        if num_trees > 0:
            self.forest.expect(sum(map(len, samples)) / num_trees)
        self.observe(episodes)
        rows = drawn(credited, capacity)
        num_with_signal = sum(map(len, credited))
        sums = self.ranks.gather((num_trees, num_with_signal - len(rows)))
        for name, values in zip(("trees", "rows_left_out"), zip(*sums, strict=True), strict=True):
            self.tally.log(name, sum(values))
        if num_trees == 1 and self.forest.num_trees_for(capacity) == 1:
            self._warn_of_one_tree(num_with_signal, capacity)
        return rows

    def _walk(self, sampler: Sampler) -> tuple[list[list[Sample]], list[Group]]:
        """Search the unfinished trees to their ends; return the samples of each group, and the groups."""
        samples: list[list[Sample]] = []
        groups: list[Group] = []
        while plan := self.forest.plan_living():
            sampled = sampler.sample([x.visit for x in plan], [x.num_samples for x in plan])
            groups += self.forest.record(plan, sampled)
            samples += sampled
        return samples, groups

    def _warn_of_one_tree(self, num_with_signal: int, capacity: int) -> None:
        is_enough = self.ranks.num_ranks > 1 and num_with_signal <= capacity
        if not (is_enough or self.has_warned):
            self.has_warned = True
            logger.warning(
                "A batch of %d actions has room for a single tree, which has %d with signal. An update then sees one "
                "task of each process, and what is over is sampled in vain. Raise gradient_accumulation_steps or "
                "per_device_train_batch_size, or lower num_generations or max_episodes_per_tree.",
                capacity,
                num_with_signal,
            )


def drawn(groups: list[list[Row]], capacity: int) -> list[Row]:
    """Return the rows of all groups, or, if they do not fit, of groups drawn without looking at their advantages."""
    if sum(map(len, groups)) > capacity:
        # The seed is a function of the batch, so a resumed training draws the same without saved state.
        groups = random.Random(len(groups)).sample(groups, len(groups))
    return list(chain.from_iterable(fitting(groups, capacity)))


def fitting(groups: list[list[Row]], capacity: int) -> list[list[Row]]:
    """Return the groups that fit, in order. The others only served the search."""
    ends = accumulate(map(len, groups))
    return [group for group, end in zip(groups, ends, strict=True) if end <= capacity]
