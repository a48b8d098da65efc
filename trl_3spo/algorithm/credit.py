"""Credit assignment: returns and history give rewards, rewards give advantages, in this one place.

Reward of a transition, after the episodes ("walks") through it have ended:

    R = ω · R_novel + (0.5 − ω) · (S(s) − S(s')) + success_weight · 0.5 · R_success    (Eq. 2)

S(s') is corrected by the λ-return G(s') of the walks through s' (`walk_outcomes`). The option `baseline` defines the
advantage of each of the group's n(s) rewards:

    "both"     A = R − (1 − 1/k) · mean R     k different actions in the group; the default
    "state"    A = R                          S(s) is a baseline in the reward already
    "group"    A = R − mean R                 (the paper), divided by std R + δ with `advantage_scaling="group"`

With `advantage_scaling="batch"` it is then (A − mean A) / (std A + 1e-8) over all rows of all ranks.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from trl_3spo.algorithm.base import Ranks, Row
from trl_3spo.algorithm.objective import SUCCESS, Objective
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.algorithm.records import Episode, Group, Sample, Transition, Visit
from trl_3spo.algorithm.scorer import StateScorer
from trl_3spo.environments.failures import NoAction

SIGNAL = 1e-6
"""Largest absolute advantage that counts as a rounding error; below it a group has no signal."""

Outcomes = Mapping[Visit, float]
"""λ-returns of visits, plus the reward of the step into each visit."""

GroupAdvantages = Callable[[NDArray[np.float64], int], NDArray[np.float64]]
"""Function from a group's (n,) rewards and its number of different actions to (n,) advantages."""


def lambda_returns(
    end: Visit, value: Callable[[Visit], float], objective: Objective, *, discount: float, outcome_weight: float
) -> Iterator[tuple[Visit, float, float]]:
    """Yield the visits of a walk, the last first, each with its λ-return G(s) and with r + G(s).

    r is the reward of the step into the visit. At the end G(s_T) = V(s_T), which is 0 if the task has ended. Before it
    G(s) = (1 − λ) · V(s) + λ · γ · (r' + G(s')) (arXiv 1506.02438). G lies between the expected and the actual return.

    Args:
        end: Last visit of the walk.
        value: Function for V of a visit; 0 if the task has ended.
        objective: Objective that defines the reward of a step.
        discount: Discount factor γ in (0, 1] per step.
        outcome_weight: λ in [0, 1].
    """
    expected = value(end)
    outcome = objective.reward(end.result) + expected
    yield end, expected, outcome
    for visit in reversed(end.path()[:-1]):
        expected = (1.0 - outcome_weight) * value(visit) + outcome_weight * discount * outcome
        outcome = objective.reward(visit.result) + expected
        yield visit, expected, outcome


def walk_outcomes(
    episodes: Sequence[Episode],
    value: Callable[[Visit], float],
    objective: Objective = SUCCESS,
    *,
    discount: float,
    outcome_weight: float,
) -> dict[Visit, float]:
    """Return r + G(s) of all visits on the walks, see `lambda_returns`.

    The source uses success rates only (λ = 0).

    Args:
        episodes: Ended walks. A visit on several walks gets their mean.
        value: Function for V of a visit; 0 if the task has ended.
        objective: Objective that defines the reward of a step.
        discount: Discount factor γ in (0, 1] per step.
        outcome_weight: λ in [0, 1].
    """
    outcomes: defaultdict[Visit, list[float]] = defaultdict(list)
    weights = {"discount": discount, "outcome_weight": outcome_weight}
    for episode in episodes:
        for visit, _, outcome in lambda_returns(episode.end, value, objective, **weights):
            outcomes[visit].append(outcome)
    return {visit: fmean(found) for visit, found in outcomes.items()}


def group_relative(
    rewards: Sequence[float] | NDArray[np.float64], *, delta: float = 1e-4, is_scaled: bool = True
) -> NDArray[np.float64]:
    """Advantages within one group, A = (R − mean R) / (std R + δ), with the unbiased standard deviation (GRPO's).

    A group of one, or of equal rewards, has advantage zero throughout.

    Args:
        rewards: (G,) rewards of the actions sampled from one state.
        delta: δ > 0. Far below the rewards' standard deviation, it only guards the division. At the size of the noise
            in the rewards, it keeps groups with nearly equal rewards from getting full-size advantages.
        is_scaled: Whether to divide at all.

    Returns:
        (G,) advantages; they sum to zero.
    """
    values = np.asarray(rewards, dtype=np.float64)
    centred: NDArray[np.float64] = values - values.mean()
    if len(values) > 1 and is_scaled:
        centred /= values.std(ddof=1) + delta
    return centred


def relative_to_state_and_group(rewards: NDArray[np.float64], num_actions: int) -> NDArray[np.float64]:
    """Advantages beside the state's own baseline, A = R − (1 − 1/k) · mean R, k being the number of different actions.

    If all actions of a group are the same (k = 1), their rewards are equal. Subtracting the mean would leave nothing,
    so nothing is subtracted.

    Args:
        rewards: (n,) rewards that already contain S(s) as a baseline.
        num_actions: Number k of different actions, in [1, n].
    """
    relative: NDArray[np.float64] = rewards - (1.0 - 1.0 / num_actions) * rewards.mean()
    return relative


def group_advantages(options: ThreeSPOOptions) -> GroupAdvantages:
    """Return the function for the options `baseline` and `advantage_scaling`."""
    if options.baseline == "state":
        return lambda rewards, _: rewards
    if options.baseline == "both":
        return relative_to_state_and_group
    is_scaled = options.advantage_scaling == "group"
    return lambda rewards, _: group_relative(rewards, is_scaled=is_scaled)


def has_signal(advantages: NDArray[np.float64]) -> bool:
    """Whether any advantage differs from zero, so that an optimizer step on the group has an effect."""
    return bool(np.abs(advantages).max(initial=0.0) > SIGNAL)


def whiten(
    advantages: NDArray[np.float64], among: NDArray[np.float64], *, is_scaled: bool = True
) -> NDArray[np.float64]:
    """Advantages relative to all rows of a batch, (A − mean A) / (std A + 1e-8), with the unbiased standard deviation.

    Args:
        advantages: (N,) advantages of some of the batch's rows.
        among: (M,) advantages of all rows, including other processes'.
        is_scaled: Whether to divide at all.

    Returns:
        (N,) advantages.
    """
    centred: NDArray[np.float64] = advantages - among.mean()
    if len(among) > 1 and is_scaled:
        centred /= among.std(ddof=1) + 1e-8
    return centred


class Credit:
    """Turns groups into rows.

    Args:
        options: Checked options.
        scorer: Scores of states by the history, which must not contain the walks yet.
        advantages: Function that compares the rewards of a group; by default the one of the options.
    """

    def __init__(
        self, options: ThreeSPOOptions, scorer: StateScorer, advantages: GroupAdvantages | None = None
    ) -> None:
        self._options = options
        self._scorer = scorer
        self._advantages = advantages or group_advantages(options)

    def rows(
        self,
        samples: Sequence[Sequence[Sample]],
        groups: Sequence[Group],
        episodes: Sequence[Episode] | None = None,
    ) -> list[list[Row]]:
        """Return the rows of every group; all have advantage zero if the group has no signal.

        Args:
            samples: n(s) samples of every group.
            groups: Sampled groups.
            episodes: Ended walks through the groups. `None` if they have not ended: transitions then keep their first
                rewards.
        """
        outcomes = None if episodes is None else self.outcomes(episodes)
        pairs = zip(samples, groups, strict=True)
        return [self._rows(number, *pair, outcomes) for number, pair in enumerate(pairs)]

    def outcomes(self, episodes: Sequence[Episode]) -> dict[Visit, float]:
        """Return the λ-returns of the visits of ended walks; see `walk_outcomes`."""
        options = self._options
        return walk_outcomes(
            episodes,
            self._scorer.value,
            self._scorer.objective,
            discount=options.discount,
            outcome_weight=options.outcome_weight,
        )

    def _rows(self, number: int, samples: Sequence[Sample], group: Group, outcomes: Outcomes | None) -> list[Row]:
        pairs = zip(samples, group.transitions, strict=True)
        kept = [(sample, transition) for sample, transition in pairs if is_sound(sample, transition.visit)]
        if not kept:
            return []
        visits = [transition.visit for _, transition in kept]
        parts = [self._parts(group.origin, x, outcomes) | text_part(sample) for sample, x in kept]
        rewards = [float(sum(x.values())) for x in parts]
        advantages = self._advantages(np.array(rewards), len(set(visits)))
        each = zip([sample for sample, _ in kept], rewards, advantages.tolist(), parts, strict=True)
        return [Row(sample, reward, advantage, number, parts=x) for sample, reward, advantage, x in each]

    def _parts(self, origin: Visit, transition: Transition, outcomes: Outcomes | None) -> dict[str, float]:
        if outcomes is None:
            return dict(transition.parts) or {"score": transition.reward}
        return self._scorer.reward_parts(origin, transition.visit, outcomes.get(transition.visit))


def text_part(sample: Sample) -> dict[str, float]:
    """Return the reward functions' score of an answer's text, if any."""
    return {"text": sample.text_reward} if sample.text_reward else {}


def is_sound(sample: Sample, visit: Visit) -> bool:
    """Whether a sample can be trained on: the policy gave an action, and the environment did not fail."""
    return not (visit.has_failed or isinstance(sample.action, NoAction))


def with_signal(groups: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """Return the groups in which any advantage differs from zero."""
    return [list(rows) for rows in groups if has_signal(np.array([row.advantage for row in rows]))]


def whitened(rows: Sequence[Row], ranks: Ranks) -> list[Row]:
    """Return the rows with advantages relative to all rows of all ranks; a collective."""
    own = np.array([row.advantage for row in rows])
    among = np.concatenate(ranks.gather(own))
    if not rows:  # an empty array has no mean
        return []
    advantages = whiten(own, among).tolist()
    return [replace(row, advantage=advantage) for row, advantage in zip(rows, advantages, strict=True)]
