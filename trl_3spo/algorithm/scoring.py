"""3SPO's equations (arXiv 2606.09961) as pure functions on floats: no history, no torch, no I/O.

Symbols: N is the number of a state's visits in completed episodes, p its success rate and S(s) its score. t is the
number of completed episodes. A score near one means that there is still something to learn, near zero that the state is
mastered.
"""

import math

NOVELTY_SHARE = 0.5
"""Total weight of novelty and score difference in Eq. 2; success has the other half."""


def sharpness(num_episodes: int, base: float, annealing_rate: float) -> float:
    """Sharpness of the score, λ(t) = λ₀ + α · ln t, in Eq. 1.

    The source has λ₀ = 0. With α alone the first episodes have no score at all (ln 1 = 0). A score that keeps getting
    sharper makes every group size 0, 1 or G_max.

    Args:
        num_episodes: Number t of completed episodes; 0 counts as 1.
        base: λ₀ ≥ 0.
        annealing_rate: α ≥ 0; the source has 50.
    """
    return base + annealing_rate * math.log(max(num_episodes, 1))


def state_score(success_rate: float, sharpness: float) -> float:
    """Score of a state, S = exp(−λ · p), in (0, 1]: the exponential of Eq. 1 without its indicator.

    In the source S is 0 for hopeless states. Eq. 2 would then pay most for stepping into one. Here the indicator is
    `is_hopeless` and affects the group size only.
    """
    return math.exp(-sharpness * success_rate)


def corrected_score(score: float, surprise: float, sharpness: float) -> float:
    """Score of a state after its return is known, S · (1 − λ · surprise).

    To first order this is the score of the return. Averaged over returns it is the score of the success rate. The
    source scores states by their rates alone.

    Args:
        score: S in [0, 1].
        surprise: Return of the state minus its success rate, in [−1, 1].
        sharpness: λ ≥ 0.
    """
    return score * (1.0 - sharpness * surprise)


def is_hopeless(num_failures: float, success_rate: float, max_failures: float | None, min_success_rate: float) -> bool:
    """Whether Eq. 1's indicator 1{N_fail < ξ or p > ζ} is zero: the state failed often and hardly ever succeeded.

    Args:
        num_failures: N_fail(s), not negative; fractional if counts decay.
        success_rate: p(s) in [0, 1].
        max_failures: ξ > 0, or None to call no state hopeless.
        min_success_rate: ζ in [0, 1].
    """
    return max_failures is not None and num_failures >= max_failures and success_rate <= min_success_rate


def novelty_weight(num_visits: float, decay_rate: float, initial_weight: float = NOVELTY_SHARE) -> float:
    """Weight of novelty in Eq. 2, ω(N) = ω₀ · exp(−ω_k · N), in [0, 0.5].

    Args:
        num_visits: N(s) of the state in which the action was taken, not negative.
        decay_rate: ω_k ≥ 0.
        initial_weight: ω₀ in [0, 0.5]; the source has 0.5.
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
        score: S(s) in [0, 1] of the state in which the action was taken.
        next_score: S(s') in [0, 1] of the reached state.
        is_novel: R_novel, whether s' is new; the caller defines new.
        success: R_success, 1 for the transition that solved the task and 0 for others; or the reward of the step.
        novelty_weight: ω(N(s)) in [0, 0.5].
        success_weight: Weight of the last term. The source has 1. At 0 a success counts by the score of its final
            state.
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

    The source has no floor. Without one, a mastered state gets n = 1, is never trained again, and can be forgotten.

    Args:
        score: S(s) in [0, 1].
        max_size: Largest size G_max ≥ 1.
        min_size: Smallest size in [0, max_size]; the source has 0.
    """
    return max(min_size, math.ceil(max_size * score))
