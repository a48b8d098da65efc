"""3SPO with one part switched off: what each of the parts earns."""

import random
from typing import Any

from trl_3spo.algorithm import scoring
from trl_3spo.algorithm.forest import Rollout
from trl_3spo.algorithm.history import Estimate, StateHistory
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.algorithm.records import Visit
from trl_3spo.algorithm.scorer import StateScorer

CONTROLS: dict[str, dict[str, Any]] = {
    "no_scores": {},
    "no_budget_scores": {},
    "no_score_difference": {"score_difference_weight": 0.0, "success_weight": 1.0},
    "no_adaptive_group_size": {"has_adaptive_group_size": False},
    "no_novelty": {"novelty_weight": 0.0},
    "no_backtracking": {"has_backtracking": False},
    "no_fading": {"history_half_life": None},
}
"""Options that differ from 3SPO's, beside what `switch_off` does. Without score differences success has to be rewarded,
or nothing is."""

KEPT_KEYS = {"no_coarse_keys": slice(1), "no_fine_keys": slice(-1, None)}
"""The exact state; the coarsest key, which in ALFWorld and WebShop is the time."""


class RandomScorer(StateScorer):
    """Answers with random scores: if 3SPO does as well with these, it is not the score that helps.

    Args:
        options, history, max_group_size: As in `StateScorer`.
        seed: Of the scores.
        in_budget_only: Whether rewards keep the real scores.
    """

    def __init__(
        self, options: ThreeSPOOptions, history: StateHistory, max_group_size: int, *, seed: int, in_budget_only: bool
    ) -> None:
        super().__init__(options, history, max_group_size)
        self._random = random.Random(seed)
        self._in_budget_only = in_budget_only

    def value(self, visit: Visit) -> float:
        """Return any number in [0, 1); ended states keep theirs."""
        if self._in_budget_only or visit.result.terminated:
            return super().value(visit)
        return self._random.random()

    def group_size(self, visit: Visit) -> int:
        """Return the size that belongs to a random score."""
        size = scoring.group_size(self._random.random(), self._max_group_size, self._options.min_group_size)
        return max(size, 1)


class PartialScorer(StateScorer):
    """Judges states by some of their score keys alone.

    Args:
        options, history, max_group_size: As in `StateScorer`.
        keys: Which of them, finest first.
    """

    def __init__(self, options: ThreeSPOOptions, history: StateHistory, max_group_size: int, *, keys: slice) -> None:
        super().__init__(options, history, max_group_size)
        self._keys = keys

    def estimate(self, visit: Visit) -> Estimate:
        """Return what the history knows by these keys."""
        return self._history.estimate(visit.keys[self._keys])


class SingleScorer(StateScorer):
    """Gives every state one sample: nothing is tried beside the walk, and nothing is left to come back to."""

    def group_size(self, visit: Visit) -> int:
        """Return 1."""
        return 1


def switch_off(control: str, rollout: Rollout, options: ThreeSPOOptions, max_group_size: int, seed: int) -> None:
    """Put another scorer in place of a rollout's own, where a control needs one."""
    if control in KEPT_KEYS:
        rollout.scorer = PartialScorer(options, rollout.history, max_group_size, keys=KEPT_KEYS[control])
    if control == "no_side_samples":
        rollout.scorer = SingleScorer(options, rollout.history, max_group_size)
    if control in ("no_scores", "no_budget_scores"):
        in_budget_only = control == "no_budget_scores"
        rollout.scorer = RandomScorer(
            options, rollout.history, max_group_size, seed=seed, in_budget_only=in_budget_only
        )
