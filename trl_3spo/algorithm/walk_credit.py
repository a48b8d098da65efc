"""Credit by walks: the return after a step, compared with the returns of other walks from the same state.

    C = γ · (r + G(s')) − V(s)
    A = C / σ + B − mean B

    V(s) = (p(s) + Σ G_i(s)) / (1 + n)        over the n other walks of the tree that passed the exact state s
    B = ω · R_novel − invalid_action_penalty · (not admissible) + rewards of the answer's text

r is the step's reward: 1 for the step that solves the task. G is the λ-return of a visit (see
`credit.lambda_returns`), averaged over the walks through it. p(s) is the past success rate, which counts as much as one
walk. Walks through s' itself are left out of V(s): no action is compared with its own outcome.

V is the baseline, so C is not centred. A step that went as expected is not trained on. A reward that is always the same
changes nothing once the history knows it. σ is the root mean square of C in the batch, or over the last batches if this
is larger. A batch without any success then makes a small update. All its C are small and below zero, and in units of
their own size they would unlearn whatever the policy did.

B counts for a step alone, in units of σ. While nothing succeeds there is no credit, and B stays as small as it is.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from statistics import fmean

from trl_3spo.algorithm.base import Ranks, Row
from trl_3spo.algorithm.credit import is_sound, lambda_returns, text_part
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.algorithm.records import Episode, Group, Sample, Visit
from trl_3spo.algorithm.scorer import StateScorer

PRIOR_WALKS = 1.0
"""How many walks the history's value counts as."""

SCALE_RATE = 0.1
"""How fast the mean square of the credit follows the batches."""

RETURN = "return"
"""The part of a reward that is no bonus."""


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


class RunningScale:
    """σ, the size of credits: a root mean square that falls slowly from one batch to the next, and rises at once."""

    def __init__(self) -> None:
        self.mean_square = 0.0
        """Of C over the last batches; 0 before the first credit. A checkpoint holds it."""

    def of(self, mean_square: float) -> float:
        """Take in the mean square of a batch, above 0, and return σ for it."""
        before = self.mean_square or mean_square
        self.mean_square = before + SCALE_RATE * (mean_square - before)
        return math.sqrt(max(mean_square, before))


class WalkCredit:
    """Turns groups of whole walks into rows.

    Args:
        options: Checked options.
        scorer: Judges states by the history; it must not have seen the walks that are credited.
        ranks: Processes whose rows are scaled together.
        scale: σ over the batches so far.
    """

    def __init__(self, options: ThreeSPOOptions, scorer: StateScorer, ranks: Ranks, scale: RunningScale) -> None:
        self._options = options
        self._scorer = scorer
        self._ranks = ranks
        self._scale = scale

    def rows(
        self,
        samples: Sequence[Sequence[Sample]],
        groups: Sequence[Group],
        episodes: Sequence[Episode] | None = None,
    ) -> list[list[Row]]:
        """Return the rows of every group. Steps of walks that were given up have none, since no outcome is known.

        A collective.

        Args:
            samples: The n(s) samples of every group.
            groups: Groups that were sampled.
            episodes: Ended walks.
        """
        assert episodes is not None, "Options are checked: an update after every step has no walks to compare."
        options = self._options
        returns = WalkReturns(episodes, self._scorer, discount=options.discount, outcome_weight=options.outcome_weight)
        pairs = zip(samples, groups, strict=True)
        return self._scaled([self._rows(number, *pair, returns) for number, pair in enumerate(pairs)])

    def _rows(self, number: int, samples: Sequence[Sample], group: Group, returns: WalkReturns) -> list[Row]:
        """Return rows whose advantages are C."""
        rows, options = [], self._options
        for sample, transition in zip(samples, group.transitions, strict=True):
            reached = transition.visit
            if not (is_sound(sample, reached) and returns.is_known(reached)):
                continue
            paid = options.discount * returns.of(reached)
            parts = {
                RETURN: paid,
                "novelty": options.novelty_weight * self._scorer.is_novel(group.origin, reached),
                "penalty": -options.invalid_action_penalty * reached.is_inadmissible,
            } | text_part(sample)
            credit = paid - self._expected(group.origin, reached, returns)
            rows.append(Row(sample, sum(parts.values()), credit, number, parts=parts))
        return rows

    def _expected(self, origin: Visit, reached: Visit, returns: WalkReturns) -> float:
        others = returns.of_others(origin, reached)
        prior = PRIOR_WALKS * self._scorer.value(origin)
        return (prior + sum(others)) / (PRIOR_WALKS + len(others))

    def _scaled(self, groups: list[list[Row]]) -> list[list[Row]]:
        """Return the rows with advantages A, scaled together with the rows of all ranks."""
        own = list(chain.from_iterable(groups))
        sums = (len(own), sum(row.advantage**2 for row in own), sum(map(_bonus, own)))
        num_rows, squares, bonuses = map(sum, zip(*self._ranks.gather(sums), strict=True))
        is_scaled = self._options.advantage_scaling == "batch" and squares > 0
        scale = self._scale.of(squares / num_rows) if is_scaled else 1.0
        mean = bonuses / max(num_rows, 1)
        return [
            [replace(row, advantage=row.advantage / scale + _bonus(row) - mean) for row in group] for group in groups
        ]


def _bonus(row: Row) -> float:
    return sum(value for name, value in row.parts.items() if name != RETURN)
