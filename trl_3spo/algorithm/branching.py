"""Branch and finish: walks that start on the walks before them, each to its end."""

import random
from collections.abc import Callable, Sequence

from trl_3spo.algorithm.records import Visit
from trl_3spo.algorithm.scorer import StateScorer
from trl_3spo.algorithm.search import TreeSearch

Walk = list[Visit]
"""All visits of an ended walk, from the tree's root to the end."""

Choose = Callable[[Sequence[Walk], StateScorer, random.Random], Visit]
"""Chooses a state that is not final on one of the walks, where the next walk starts. The scorer judges states."""


class BranchSearch(TreeSearch):
    """A tree of whole walks. The first starts at the root, each other one in a state on the walks so far.

    A walk goes on from the state that its one sampled action reached, so walks are the policy's own. The choice of a
    branch point may ask the history, but does not look at how these walks ended. The return of a branch is then a fair
    sample for every state before it as well. A tree is searched within one batch, so nothing of it is saved.

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
        super().__init__(root, max_episodes=max_episodes, has_backtracking=False, follows_best=False)
        self._num_left = max_episodes
        self._walks: list[Walk] = []
        self._choose = choose
        self._scorer = scorer
        self._rng = rng

    def _backtrack(self) -> None:
        assert self.head is not None
        self._num_left -= 1
        if self.head.result.is_final:  # and was not given up
            self._walks.append(self.head.path())
        if self._num_left == 0:
            self.head = None
        else:
            self.head = self._choose(self._walks, self._scorer, self._rng) if self._walks else self.root


def anywhere(walks: Sequence[Walk], scorer: StateScorer, rng: random.Random) -> Visit:
    """Choose any state, all alike. A state that several walks passed counts as often."""
    return rng.choice([visit for walk in walks for visit in walk[:-1]])


def at_the_root(walks: Sequence[Walk], scorer: StateScorer, rng: random.Random) -> Visit:
    """Choose the first state: independent walks, the control of branching."""
    return walks[0][0]
