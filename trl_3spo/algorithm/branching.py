"""Branch and finish: walks that start on the first walk of their tree, each to its end."""

import random
from collections.abc import Callable
from functools import partial

from trl_3spo.algorithm.records import Visit
from trl_3spo.algorithm.scorer import StateScorer
from trl_3spo.algorithm.search import TreeSearch

Walk = list[Visit]
"""All visits of an ended walk, from the tree's root to the end."""

Choose = Callable[[Walk, StateScorer, random.Random], Visit]
"""Chooses a state of the first walk that is not final, where another walk starts. The scorer judges states."""


class BranchSearch(TreeSearch):
    """The first walk of a tree, from the root to its end. The other walks are its branches.

    A walk goes on from the state that its one sampled action reached, so walks are the policy's own. Branches start on
    the first walk, all at once, so their actions are sampled together. The choice of a branch point may ask the
    history, but does not look at how the walk ended. The return of a branch is then a fair sample for every state
    before it as well. A tree is searched within one batch, so nothing of it is saved.

    Args:
        root: First visit of the task.
        max_episodes: Number of walks, at least 1.
        choose: Function that chooses the branch points.
        scorer: Scorer of states, for that choice.
        rng: Random numbers for that choice.
    """

    def __init__(
        self, root: Visit, *, max_episodes: int, choose: Choose, scorer: StateScorer, rng: random.Random
    ) -> None:
        super().__init__(root, max_episodes=1, has_backtracking=False, follows_best=False)
        self._num_branches = max_episodes - 1
        self._choose = choose
        self._scorer = scorer
        self._rng = rng

    def _backtrack(self) -> None:
        assert self.head is not None
        if self.head.result.is_final:
            walk = self.head.path()
            starts = [self._choose(walk, self._scorer, self._rng) for _ in range(self._num_branches)]
            self.branches = [_walk_from(start) for start in starts]
        elif self._num_branches > 0:  # given up: the next walk is the first
            again = partial(BranchSearch, choose=self._choose, scorer=self._scorer, rng=self._rng)
            self.branches = [again(self.root, max_episodes=self._num_branches)]
        self.head = None


def _walk_from(start: Visit) -> TreeSearch:
    """Return the search of a single walk that goes on from a state."""
    search = TreeSearch(start.root, max_episodes=1, has_backtracking=False, follows_best=False)
    search.head = start
    return search


def anywhere(walk: Walk, scorer: StateScorer, rng: random.Random) -> Visit:
    """Choose any state, all alike."""
    return rng.choice(walk[:-1])


def at_the_root(walk: Walk, scorer: StateScorer, rng: random.Random) -> Visit:
    """Choose the first state: independent walks, the control of branching."""
    return walk[0]
