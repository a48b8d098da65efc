"""Credit by walks: what a step led to, compared with what other walks made of the state it was taken in.

    A = γ · (r + G(s')) + ω · R_novel − V(s)           less invalid_action_penalty for an action that is not admissible
    V(s) = (p(s) + Σ G_i(s)) / (1 + n)        over the n other walks of the tree that passed the exact state s

r is what the step paid: 1 for the step that solves the task. G is the λ-return of a visit (see
`credit.lambda_returns`), averaged over the walks through it; p(s) is what the history expects, which counts as much as
one walk. Walks through s' itself are left out of V(s): no action is compared with its own outcome.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

from trl_3spo.algorithm.base import Row
from trl_3spo.algorithm.credit import is_sound, lambda_returns, text_part
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.algorithm.records import Episode, Group, Sample, Visit
from trl_3spo.algorithm.scorer import StateScorer

PRIOR_WALKS = 1.0
"""How many walks the history's value counts as."""


class WalkReturns:
    """λ-returns of the walks of some trees, by visit and by exact state.

    Args:
        episodes: Ended walks.
        scorer: Knows the values that returns are mixed with, and what steps pay.
        discount: γ in (0, 1], per step.
        outcome_weight: λ in [0, 1].
    """

    def __init__(
        self, episodes: Sequence[Episode], scorer: StateScorer, *, discount: float, outcome_weight: float
    ) -> None:
        self._by_visit: defaultdict[Visit, dict[int, float]] = defaultdict(dict)
        self._by_state: defaultdict[tuple[Visit, int], list[tuple[int, float]]] = defaultdict(list)
        for walk, episode in enumerate(episodes):
            end = episode.end
            weights = {"discount": discount, "outcome_weight": outcome_weight}
            for visit, value, outcome in lambda_returns(end, scorer.value, scorer.objective, **weights):
                self._by_visit[visit][walk] = outcome
                if visit is not end:
                    self._by_state[end.root, visit.state_digest].append((walk, value))

    def is_known(self, visit: Visit) -> bool:
        """Whether any of the walks passed a visit; none did where a walk was given up."""
        return visit in self._by_visit

    def of(self, visit: Visit) -> float:
        """Return r + G of a visit, averaged over the walks through it; at least one passed it."""
        return fmean(self._by_visit[visit].values())

    def of_others(self, origin: Visit, reached: Visit) -> list[float]:
        """Return G of the state of `origin` in the walks of its tree that did not go through `reached`."""
        own = self._by_visit[reached]
        return [value for walk, value in self._by_state[origin.root, origin.state_digest] if walk not in own]


class WalkCredit:
    """Turns groups of whole walks into rows.

    Args:
        options: Checked options.
        scorer: Judges states by the history; it must not have seen the walks that are credited.
    """

    def __init__(self, options: ThreeSPOOptions, scorer: StateScorer) -> None:
        self._options = options
        self._scorer = scorer

    def rows(
        self,
        samples: Sequence[Sequence[Sample]],
        groups: Sequence[Group],
        episodes: Sequence[Episode] | None = None,
    ) -> list[list[Row]]:
        """Return the rows of every group; steps of walks that were given up, whose outcome is not known, have none.

        Args:
            samples: For every group its n(s) samples.
            groups: What was sampled.
            episodes: Ended walks.
        """
        assert episodes is not None, "Options are checked: an update after every step has no walks to compare."
        options = self._options
        returns = WalkReturns(episodes, self._scorer, discount=options.discount, outcome_weight=options.outcome_weight)
        pairs = zip(samples, groups, strict=True)
        return [self._rows(number, *pair, returns) for number, pair in enumerate(pairs)]

    def _rows(self, number: int, samples: Sequence[Sample], group: Group, returns: WalkReturns) -> list[Row]:
        rows, options = [], self._options
        for sample, transition in zip(samples, group.transitions, strict=True):
            reached = transition.visit
            if not (is_sound(sample, reached) and returns.is_known(reached)):
                continue
            parts = {
                "return": options.discount * returns.of(reached),
                "novelty": options.novelty_weight * self._scorer.is_novel(group.origin, reached),
                "penalty": -options.invalid_action_penalty * reached.is_inadmissible,
            } | text_part(sample)
            reward = sum(parts.values())
            advantage = reward - self._expected(group.origin, reached, returns)
            rows.append(Row(sample, reward, advantage, number, parts=parts))
        return rows

    def _expected(self, origin: Visit, reached: Visit, returns: WalkReturns) -> float:
        others = returns.of_others(origin, reached)
        prior = PRIOR_WALKS * self._scorer.value(origin)
        return (prior + sum(others)) / (PRIOR_WALKS + len(others))
