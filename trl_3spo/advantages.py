"""Advantages as pure functions on arrays."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIGNAL = 1e-6
"""Advantages all below this are rounding: the group carries no signal."""


def group_relative(rewards: Sequence[float], *, delta: float = 1e-4, is_scaled: bool = True) -> NDArray[np.float64]:
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


def has_signal(advantages: NDArray[np.float64]) -> bool:
    """Whether any advantage differs from zero, so that an optimizer step on the group means something."""
    return bool(np.abs(advantages).max(initial=0.0) > SIGNAL)
