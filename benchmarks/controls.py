"""3SPO with one part switched off: what each of the parts earns. A control is other options, other parts, or both."""

import random
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from trl_3spo.algorithm import scoring
from trl_3spo.algorithm.branching import Walk
from trl_3spo.algorithm.history import Estimate, StateHistory
from trl_3spo.algorithm.objective import SUCCESS, Objective
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.algorithm.records import Visit
from trl_3spo.algorithm.scorer import StateScorer
from trl_3spo.algorithm.search import TreeSearch

FRONTIER: dict[str, Any] = {"search": "frontier", "max_episodes_per_tree": 2, "novelty_weight": 0.05}
"""3SPO as it was before branching became the default. The controls are of this."""


class RandomScorer(StateScorer):
    """Answers with random scores: if 3SPO does as well with these, it is not the score that helps.

    Args:
        options, history, min_group_size, objective: As in `StateScorer`.
        seed: Of the scores.
        in_budget_only: Whether rewards keep the real scores.
    """

    def __init__(
        self,
        options: ThreeSPOOptions,
        history: StateHistory,
        *,
        seed: int,
        in_budget_only: bool = False,
        min_group_size: int = 1,
        objective: Objective = SUCCESS,
    ) -> None:
        super().__init__(options, history, min_group_size=min_group_size, objective=objective)
        self._random = random.Random(seed)
        self._in_budget_only = in_budget_only

    def value(self, visit: Visit) -> float:
        """Return any number in [0, 1); ended states keep 0."""
        if self._in_budget_only or visit.result.terminated:
            return super().value(visit)
        return self._random.random()

    def group_size(self, visit: Visit) -> int:
        """Return the size that belongs to a random score."""
        return scoring.group_size(self._random.random(), self._options.num_generations, self._min_group_size)


class EqualScores(StateScorer):
    """Gives every state the same score, so that rewards are novelty and success. Sizes follow the real scores."""

    def score(self, visit: Visit) -> float:
        """Return 0."""
        return 0.0

    def next_score(self, visit: Visit, outcome: float | None = None) -> float:
        """Return 0."""
        return 0.0


class PartialScorer(StateScorer):
    """Judges states by some of their score keys alone.

    Args:
        options, history, objective: As in `StateScorer`.
        keys: Which of them, finest first.
    """

    def __init__(
        self, options: ThreeSPOOptions, history: StateHistory, *, keys: slice, objective: Objective = SUCCESS
    ) -> None:
        super().__init__(options, history, objective=objective)
        self._keys = keys

    def estimate(self, visit: Visit) -> Estimate:
        """Return what the history knows by these keys."""
        return self._history.estimate(visit.keys[self._keys])


class SingleScorer(StateScorer):
    """Gives every state one sample: nothing is tried beside the walk, and nothing is left to come back to."""

    def group_size(self, visit: Visit) -> int:
        """Return 1."""
        return 1


def one_walk(options: ThreeSPOOptions, root: Visit) -> TreeSearch:
    """Return a search without a frontier: it never comes back to what its groups reached beside the walk."""
    return TreeSearch(
        root,
        max_episodes=options.max_episodes_per_tree,
        has_backtracking=False,
        follows_best=options.search == "best_first",
    )


class BranchInTurn(TreeSearch):
    """Walks that wait for one another: each starts in a state of any walk before it, and not all on the first.

    Args:
        root: First visit of the task.
        max_episodes: Number of walks, at least 1.
        rng: Random numbers for the branch points.
    """

    def __init__(self, root: Visit, *, max_episodes: int, rng: random.Random) -> None:
        super().__init__(root, max_episodes=max_episodes, has_backtracking=False, follows_best=False)
        self._num_left = max_episodes
        self._passed: list[Visit] = []
        self._rng = rng

    def _backtrack(self) -> None:
        assert self.head is not None
        self._num_left -= 1
        if self.head.result.is_final:  # and was not given up
            self._passed += self.head.path()[:-1]
        self.head = self._rng.choice(self._passed or [self.root]) if self._num_left else None


@dataclass(frozen=True)
class Control:
    """What a control changes.

    Args:
        options: Of ThreeSPOOptions.
        parts: Keyword arguments of ThreeSPO.
    """

    options: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)


def controls(options: ThreeSPOOptions, *, seed: int, min_group_size: int = 1) -> dict[str, Control]:
    """Return all controls by their names.

    Args:
        options: 3SPO's, before the control's own.
        seed: Of random scores.
        min_group_size: Floor on n(s).
    """
    floor = {"min_group_size": min_group_size}
    scored = {
        "no_scores": partial(RandomScorer, seed=seed, **floor),
        "no_budget_scores": partial(RandomScorer, seed=seed, in_budget_only=True, **floor),
        "no_adaptive_group_size": partial(StateScorer, min_group_size=options.num_generations),
        "no_coarse_keys": partial(PartialScorer, keys=slice(1)),  # the exact state
        "no_fine_keys": partial(PartialScorer, keys=slice(-1, None)),  # in ALFWorld and WebShop the time
        "no_side_samples": SingleScorer,
    }
    return {name: Control(parts={"make_scorer": scorer}) for name, scorer in scored.items()} | {
        # Without score differences success has to be rewarded, or nothing is.
        "no_score_difference": Control({"success_weight": 1.0}, {"make_scorer": partial(EqualScores, **floor)}),
        "no_backtracking": Control(parts={"make_tree": partial(one_walk, options)}),
        "no_novelty": Control({"novelty_weight": 0.0}),
        "no_fading": Control({"history_half_life": None}),
        "no_outcomes": Control({"outcome_weight": 0.0, "update_after": "step"}),
        "no_discount": Control({"discount": 1.0}),
        "no_state_baseline": Control({"baseline": "group"}),
    }


NAMES = tuple(controls(ThreeSPOOptions(**FRONTIER), seed=0))


def undecided(walk: Walk, scorer: StateScorer, rng: random.Random) -> Visit:
    """Choose a state in proportion to p(1 − p), so mostly where the history cannot tell success from failure."""
    visits = walk[:-1]
    shares = [scorer.objective.share(scorer.value(visit)) for visit in visits]
    weights = [p * (1.0 - p) for p in shares]
    return rng.choices(visits, weights)[0] if any(weights) else rng.choice(visits)
