"""Credit: outcomes of walks and history become rewards, rewards become advantages, in this one place.

Reward of a transition, with what is known when the walks through it have ended:

    R = ω · R_novel + (0.5 − ω) · (S(s) − S(s')) + success_weight · 0.5 · R_success    (Eq. 2)

in which S(s') is corrected by the λ-return G(s') of the walks that went on from s' (`walk_outcomes`). The advantage of
each of the group's n(s) rewards is, by `baseline`,

    "both"     A = R − (1 − 1/k) · mean R     k different actions in the group; the default
    "state"    A = R                          S(s) is a baseline in the reward already
    "group"    A = R − mean R                 (the paper), divided by std R + δ with `advantage_scaling="group"`

and, with `advantage_scaling="batch"`, (A − mean A) / (std A + 1e-8) over all rows of all ranks.
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
"""Advantages all below this are rounding: the group carries no signal."""

Outcomes = Mapping[Visit, float]
"""What visits turned out to be worth, with what the step into them paid."""

GroupAdvantages = Callable[[NDArray[np.float64], int], NDArray[np.float64]]
"""Maps a group's (n,) rewards and its number of different actions to (n,) advantages."""


def lambda_returns(
    end: Visit, value: Callable[[Visit], float], objective: Objective, *, discount: float, outcome_weight: float
) -> Iterator[tuple[Visit, float, float]]:
    """Yield the visits of a walk, the last first: each with its λ-return G(s), and with r + G(s).

    r is what the step into the visit paid. G(s_T) = V(s_T) at the end, which is 0 where the task has ended, and
    G(s) = (1 − λ) · V(s) + λ · γ · (r' + G(s')) before it (arXiv 1506.02438): between what was expected of a visit and
    how the walk went on.

    Args:
        end: Where the walk ended.
        value: V of a visit; 0 where the task has ended.
        objective: Says what a step pays.
        discount: γ in (0, 1], per step.
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
    """Return r + G(s) of all visits that walks passed, see `lambda_returns`.

    The source knows no outcomes but through success rates (λ = 0).

    Args:
        episodes: Ended walks. A visit that several of them passed gets their mean.
        value: V of a visit; 0 where the task has ended.
        objective: Says what a step pays.
        discount: γ in (0, 1], per step.
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
        delta: δ > 0. Far below the rewards' own spread it only guards the division; at the size of the noise in the
            rewards it keeps groups whose rewards hardly differ from being blown up to full-size advantages.
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

    If all actions of a group are the same (k = 1) they share their outcome, and subtracting their mean would take away
    all that it says: nothing is subtracted.

    Args:
        rewards: (n,) rewards in which S(s) is a baseline already.
        num_actions: k in [1, n].
    """
    relative: NDArray[np.float64] = rewards - (1.0 - 1.0 / num_actions) * rewards.mean()
    return relative


def group_advantages(options: ThreeSPOOptions) -> GroupAdvantages:
    """Return the function that `baseline` and `advantage_scaling` name."""
    if options.baseline == "state":
        return lambda rewards, _: rewards
    if options.baseline == "both":
        return relative_to_state_and_group
    is_scaled = options.advantage_scaling == "group"
    return lambda rewards, _: group_relative(rewards, is_scaled=is_scaled)


def has_signal(advantages: NDArray[np.float64]) -> bool:
    """Whether any advantage differs from zero, so that an optimizer step on the group means something."""
    return bool(np.abs(advantages).max(initial=0.0) > SIGNAL)


def whiten(
    advantages: NDArray[np.float64], among: NDArray[np.float64], *, is_scaled: bool = True
) -> NDArray[np.float64]:
    """Advantages relative to all rows of a batch, (A − mean A) / (std A + 1e-8), with the unbiased standard deviation.

    Args:
        advantages: (N,) of some of the batch's rows.
        among: (M,) of all of them, those of other processes included.
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
        scorer: Judges states by the history; it must not have seen the walks that are credited.
        advantages: Compares the rewards of a group; by default as the options say.
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
        """Return the rows of every group, all with advantage zero where it has no signal.

        Args:
            samples: For every group its n(s) samples.
            groups: What was sampled.
            episodes: Ended walks through the groups. `None` where they have not ended yet: transitions then keep the
                rewards they were found with.
        """
        outcomes = None if episodes is None else self.outcomes(episodes)
        pairs = zip(samples, groups, strict=True)
        return [self._rows(number, *pair, outcomes) for number, pair in enumerate(pairs)]

    def outcomes(self, episodes: Sequence[Episode]) -> dict[Visit, float]:
        """Return what the visits of ended walks turned out to be worth; see `walk_outcomes`."""
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
    """Return what reward functions gave an answer's text, if anything."""
    return {"text": sample.text_reward} if sample.text_reward else {}


def is_sound(sample: Sample, visit: Visit) -> bool:
    """Whether a sample can be trained on: the policy gave an action, and the environment said where that led."""
    return not (visit.has_failed or isinstance(sample.action, NoAction))


def with_signal(groups: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """Return the groups in which any advantage differs from zero."""
    return [list(rows) for rows in groups if has_signal(np.array([row.advantage for row in rows]))]


def whitened(rows: Sequence[Row], ranks: Ranks) -> list[Row]:
    """Return the rows with advantages relative to all rows of all ranks; a collective."""
    own = np.array([row.advantage for row in rows])
    among = np.concatenate(ranks.gather(own))
    if not rows:  # there is no mean of nothing
        return []
    advantages = whiten(own, among).tolist()
    return [replace(row, advantage=advantage) for row, advantage in zip(rows, advantages, strict=True)]
