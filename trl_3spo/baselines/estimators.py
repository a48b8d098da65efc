"""Estimators of the baselines as pure functions on arrays."""

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from trl_3spo.algorithm.credit import group_relative


def discounted_returns(rewards: Sequence[float] | NDArray[np.float64], discount: float) -> NDArray[np.float64]:
    """Discounted returns from every step of one episode, G_t = r_t + γ · G_{t+1} (GiGPO's Eq. 5).

    Args:
        rewards: (T,) rewards of the steps.
        discount: γ in [0, 1], per step.

    Returns:
        (T,) returns.
    """
    return gae(rewards, np.zeros(len(rewards) + 1), discount=discount, gae_lambda=1.0)


def gae(
    rewards: Sequence[float] | NDArray[np.float64],
    values: Sequence[float] | NDArray[np.float64],
    *,
    discount: float,
    gae_lambda: float,
) -> NDArray[np.float64]:
    """Generalized advantages over the steps of one episode (arXiv 1506.02438; in StepPO a step is a whole answer).

    A_t = δ_t + γ · λ · A_{t+1} with δ_t = r_t + γ · V(s_{t+1}) − V(s_t). With γ = λ = 1 it is the return plus the
    last value, minus V(s_t). With λ = 0 it is δ_t.

    Args:
        rewards: (T,) rewards of the steps.
        values: (T + 1,) V of the states with an action and of the last state. The last value is 0 if the task itself
            ended, and V of the last state if a step limit cut the episode off.
        discount: γ in [0, 1], per step.
        gae_lambda: λ in [0, 1].

    Returns:
        (T,) advantages.

    Raises:
        ValueError: The number of values is not the number of rewards plus one.
    """
    if len(values) != len(rewards) + 1:
        raise ValueError(
            f"There are {len(rewards)} rewards and {len(values)} values; one value more than rewards is required, that "
            "of the last state: 0 if the task has ended there."
        )
    state_values = np.asarray(values, dtype=np.float64)
    deltas = np.asarray(rewards, dtype=np.float64) + discount * state_values[1:] - state_values[:-1]
    advantages = np.zeros(len(deltas))
    following = 0.0
    for t in reversed(range(len(deltas))):
        following = advantages[t] = deltas[t] + discount * gae_lambda * following
    return advantages


def relative_to_equals(
    values: NDArray[np.float64], keys: Sequence[Hashable], *, is_scaled: bool = True
) -> NDArray[np.float64]:
    """`group_relative` among rows with the same key; a row with a unique key has advantage zero.

    Args:
        values: (N,) values of the rows.
        keys: N keys.
        is_scaled: Whether to divide by the standard deviation.

    Returns:
        (N,) advantages.
    """
    rows: dict[Hashable, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        rows[key].append(row)
    relative = np.zeros(len(values))
    for equal in rows.values():
        relative[equal] = group_relative(values[equal], is_scaled=is_scaled)
    return relative


def values_of_others(
    states: Sequence[Sequence[Hashable]], returns: Sequence[NDArray[np.float64]]
) -> list[NDArray[np.float64]]:
    """V at every state of every episode of a group: the mean return of the other episodes from the same state on.

    The episode's own return is left out. Otherwise a state seen in only one episode would be worth exactly that return,
    and its actions would get no credit. Such a state takes the value of the state before it, or 0 at the first state.

    Args:
        states: T + 1 states of every episode, including the last.
        returns: (T,) returns of every episode.

    Returns:
        (T + 1,) values of every episode.
    """
    visits: dict[Hashable, list[tuple[int, float]]] = defaultdict(list)
    for episode, (path, earned) in enumerate(zip(states, returns, strict=True)):
        for state, value in zip(path[:-1], earned.tolist(), strict=True):
            visits[state].append((episode, value))
    return [_values(path, visits, episode) for episode, path in enumerate(states)]


def _values(
    states: Sequence[Hashable], visits: dict[Hashable, list[tuple[int, float]]], episode: int
) -> NDArray[np.float64]:
    values = []
    value = 0.0
    for state in states:
        earned = [x for other, x in visits[state] if other != episode]
        value = sum(earned) / len(earned) if earned else value
        values.append(value)
    return np.array(values)
