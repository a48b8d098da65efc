"""Estimators of the baselines as pure functions on arrays."""

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from trl_3spo.algorithm.credit import group_relative


def discounted_returns(rewards: Sequence[float] | NDArray[np.float64], discount: float) -> NDArray[np.float64]:
    """Returns from every step of one episode on, G_t = r_t + γ · G_{t+1} (GiGPO's Eq. 5).

    Args:
        rewards: (T,) rewards of its steps.
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

    A_t = δ_t + γ · λ · A_{t+1} with δ_t = r_t + γ · V(s_{t+1}) − V(s_t). With γ = λ = 1 it is the return, the last
    value included, minus V(s_t); with λ = 0 it is δ_t.

    Args:
        rewards: (T,) rewards of the steps.
        values: (T + 1,) V of the states acted in and of the one the episode ended in: 0 where the task itself has
            ended, its V where a limit on steps has cut the episode off.
        discount: γ in [0, 1], per step.
        gae_lambda: λ in [0, 1].

    Returns:
        (T,) advantages.

    Raises:
        ValueError: There is not one value more than there are rewards.
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
    """`group_relative` among the rows that share a key; a row that shares its key with none has advantage zero.

    Args:
        values: (N,) values of the rows.
        keys: N keys.
        is_scaled: Whether to divide by the spread.

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

    The episode's own return stays out of it, since with it a state that no other episode has seen would be worth just
    that, and no action there would ever get any credit. Such a state is worth what the one before it was, and a first
    state nobody else has seen 0.

    Args:
        states: For every episode its T + 1 states, the one it ended in included.
        returns: For every episode its (T,) returns.

    Returns:
        For every episode (T + 1,) values.
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
