"""3SPO's equations (arXiv 2606.09961) as pure functions on floats: no history, no torch, no I/O.

Symbols: N visits of a state in completed episodes, p its success rate, S(s) its score, t completed episodes. A score
near one says that there is still something to learn, a score near zero that the state is mastered.
"""

import math

NOVELTY_SHARE = 0.5
"""Share of Eq. 2 that novelty and the score difference divide between themselves; success has the other half."""


def sharpness(num_episodes: int, base: float, annealing_rate: float) -> float:
    """Sharpness of the score, λ(t) = λ₀ + α · ln t, in Eq. 1.

    Differs from the source by λ₀, which is 0 there: with α alone the first episodes have no score at all (ln 1 = 0),
    and a score that keeps getting sharper turns every budget into all or nothing.

    Args:
        num_episodes: t, completed episodes; 0 counts as 1.
        base: λ₀ ≥ 0.
        annealing_rate: α ≥ 0, the source's is 50.
    """
    return base + annealing_rate * math.log(max(num_episodes, 1))


def state_score(success_rate: float, sharpness: float) -> float:
    """Score of a state, S = exp(−λ · p), in (0, 1]: the exponential of Eq. 1 without its indicator.

    Differs from the source, whose S is 0 for hopeless states: Eq. 2 would then pay most for stepping into one. The
    indicator is `is_hopeless` and acts on the budget only.
    """
    return math.exp(-sharpness * success_rate)


def corrected_score(score: float, surprise: float, sharpness: float) -> float:
    """Score of a state that turned out to be worth more than its success rate, S · (1 − λ · surprise).

    To first order the score of what it was worth, so that on average over outcomes it is the score of the rate. The
    source scores states by their rates alone.

    Args:
        score: S in [0, 1].
        surprise: What the state was worth minus its rate, in [−1, 1].
        sharpness: λ ≥ 0.
    """
    return score * (1.0 - sharpness * surprise)


def is_hopeless(num_failures: float, success_rate: float, max_failures: float | None, min_success_rate: float) -> bool:
    """Whether Eq. 1's indicator 1{N_fail < ξ or p > ζ} is zero: the state failed often and hardly ever succeeded.

    Args:
        num_failures: N_fail(s), not negative; may be fractional where counts fade.
        success_rate: p(s) in [0, 1].
        max_failures: ξ > 0, or None to call no state hopeless.
        min_success_rate: ζ in [0, 1].
    """
    return max_failures is not None and num_failures >= max_failures and success_rate <= min_success_rate


def novelty_weight(num_visits: float, decay_rate: float, initial_weight: float = NOVELTY_SHARE) -> float:
    """Weight of novelty in Eq. 2, ω(N) = ω₀ · exp(−ω_k · N), in [0, 0.5].

    Args:
        num_visits: N(s) of the state the action was taken in, not negative.
        decay_rate: ω_k ≥ 0.
        initial_weight: ω₀ in [0, 0.5]; the source's is 0.5.
    """
    return initial_weight * math.exp(-decay_rate * num_visits)


def transition_reward(
    score: float,
    next_score: float,
    *,
    is_novel: bool,
    success: float,
    novelty_weight: float,
    success_weight: float = 1.0,
) -> float:
    """Reward of one transition, R = ω · R_novel + (0.5 − ω) · (S(s) − S(s')) + 0.5 · R_success (Eq. 2), in [−0.5, 1].

    Args:
        score: S(s) in [0, 1] of the state the action was taken in.
        next_score: S(s') in [0, 1] of the state it led to.
        is_novel: R_novel, whether s' is new; in which sense is the caller's.
        success: R_success, 1 for the transition that solved the task and 0 for others; or what the step paid.
        novelty_weight: ω(N(s)) in [0, 0.5].
        success_weight: Factor on the last term; 1 in the source, 0 leaves success to the score of the state it ends in.
    """
    parts = reward_parts(
        score,
        next_score,
        is_novel=is_novel,
        success=success,
        novelty_weight=novelty_weight,
        success_weight=success_weight,
    )
    return sum(parts.values())


def reward_parts(
    score: float,
    next_score: float,
    *,
    is_novel: bool,
    success: float,
    novelty_weight: float,
    success_weight: float,
) -> dict[str, float]:
    """Return the three terms of `transition_reward`, which has the same arguments: novelty, score and success."""
    return {
        "novelty": novelty_weight * is_novel,
        "score": (NOVELTY_SHARE - novelty_weight) * (score - next_score),
        "success": (1.0 - NOVELTY_SHARE) * success_weight * success,
    }


def group_size(score: float, max_size: int, min_size: int = 0) -> int:
    """Number of actions to sample from a state, n = ⌈G_max · S⌉ (Eq. 3), in [min_size, max_size].

    Differs from the source by the floor: without one a mastered state gets n = 1, is never trained again, and nothing
    guards it against being forgotten.

    Args:
        score: S(s) in [0, 1].
        max_size: G_max ≥ 1.
        min_size: Floor in [0, max_size]; the source's is 0.
    """
    return max(min_size, math.ceil(max_size * score))
