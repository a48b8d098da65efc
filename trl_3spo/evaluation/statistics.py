"""Rates and means of episodes with 95 % intervals that account for the similarity of episodes of one task.

Tasks are the clusters. An interval describes new tasks like the panel's, however often each task was played.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 2000
_CELLS = 1_000_000
"""Numbers held at a time while resampling."""


@dataclass(frozen=True)
class Interval:
    """A success rate with its 95 % interval, all in [0, 1].

    Args:
        rate: Successes over episodes.
        low: Lower end.
        high: Upper end.
        num_episodes: Number of episodes.
        num_tasks: Number of tasks. 0 means unknown: each episode then counts as a task of its own.
    """

    rate: float
    low: float
    high: float
    num_episodes: int
    num_tasks: int = 0


@dataclass(frozen=True)
class MeanInterval:
    """A mean with its 95 % interval, in the unit of what was averaged.

    Args:
        mean: Mean over episodes, or over tasks if a task has only one number.
        low: Lower end; `None` if there is only one task.
        high: Upper end, likewise.
        num_episodes: Number of episodes.
        num_tasks: Number of tasks.
    """

    mean: float
    low: float | None
    high: float | None
    num_episodes: int
    num_tasks: int


def wilson_interval(successes: Sequence[bool], z: float = 1.959964, *, num_effective: float | None = None) -> Interval:
    """Return the share of successes with Wilson's score interval (Wilson 1927), which stays inside [0, 1].

    Args:
        successes: One or more outcomes.
        z: Normal quantile; the default gives 95 %.
        num_effective: Effective number of independent outcomes; `None` counts each as one.
    """
    rate = sum(successes) / len(successes)
    n = len(successes) if num_effective is None else num_effective
    centre = rate + z * z / (2 * n)
    spread = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = max((centre - spread) / scale, 0.0), min((centre + spread) / scale, 1.0)
    return Interval(rate, low, high, len(successes))


def rate_interval(successes: Sequence[bool], tasks: Sequence[Hashable]) -> Interval:
    """Return the share of successes with Wilson's interval for the effective number of episodes.

    This number is rate · (1 − rate), divided by the variance of the rate between tasks (Korn and Graubard 1998). It is
    at most the number of episodes. If all episodes of each task end alike, it is the number of tasks. With one episode
    per task, it is the number of episodes, and the interval is plain Wilson.

    Args:
        successes: One or more outcomes.
        tasks: Task of every outcome.
    """
    sums, counts = _by_task([float(x) for x in successes], tasks)
    rate, num_episodes = sums.sum() / counts.sum(), len(successes)
    variance = float(((sums - rate * counts) ** 2).sum() / counts.sum() ** 2)
    if len(sums) == 1 or rate in (0.0, 1.0):
        num_effective = float(len(sums))
    else:
        num_effective = min(rate * (1 - rate) / variance, num_episodes) if variance > 0 else float(num_episodes)
    found = wilson_interval(successes, num_effective=float(num_effective))
    return Interval(found.rate, found.low, found.high, num_episodes, len(sums))


def mean_interval(values: Sequence[float], tasks: Sequence[Hashable]) -> MeanInterval:
    """Return a mean with its percentile interval of the bootstrap over tasks (Efron 1979).

    Returns pile up at both ends of their range, and a t interval would leave that range. The bootstrap draws whole
    tasks with all their episodes. The draws are the same every time. With fewer than about twenty tasks, or if all
    values are equal, the interval is too narrow.

    Args:
        values: One or more numbers.
        tasks: Task of every number.
    """
    sums, counts = _by_task(values, tasks)
    mean = float(sums.sum() / counts.sum())
    if len(sums) == 1:
        return MeanInterval(mean, None, None, len(values), 1)
    low, high = np.quantile(_resampled(sums, counts), (0.025, 0.975))
    return MeanInterval(mean, min(float(low), mean), max(float(high), mean), len(values), len(sums))


def pass_at(k: int, num_plays: int, num_successes: int) -> float:
    """Estimate the probability that at least one of k episodes of a task succeeds (Chen et al. 2021, arXiv 2107.03374).

    It is 1 − C(n − c, k) / C(n, k), which is unbiased for any n ≥ k.

    Args:
        k: Number of tries, at least 1.
        num_plays: Number n of episodes of the task, at least k.
        num_successes: Number c of successes.

    Raises:
        ValueError: There are fewer than k episodes.
    """
    if not 1 <= k <= num_plays:
        raise ValueError(f"pass@{k} of {num_plays} episodes of a task: at least 1 and at most {num_plays} is required.")
    return 1.0 - math.comb(num_plays - num_successes, k) / math.comb(num_plays, k)


def several_plays(
    successes: Sequence[bool], tasks: Sequence[Hashable]
) -> tuple[dict[int, MeanInterval], dict[int, MeanInterval]]:
    """Return pass@k and avg@k by k if every task was played several times, else empty dictionaries.

    n is the smallest number of episodes of any task. pass@k is given for the powers of two from 2 on and for k = n.
    avg@k is the mean over tasks of their success rate. It is the same for any k and given for n. Intervals come from
    the bootstrap over tasks.
    """
    sums, counts = _by_task([float(x) for x in successes], tasks)
    fewest = int(counts.min())
    sizes = sorted({2**i for i in range(1, fewest.bit_length()) if 2**i <= fewest} | {fewest}) if fewest > 1 else []
    plays = [(int(n), int(c)) for n, c in zip(counts, sums, strict=True)]
    passed = {k: [pass_at(k, n, c) for n, c in plays] for k in sizes}
    averages = {fewest: [c / n for n, c in plays]} if sizes else {}
    return _over_tasks(passed, len(successes)), _over_tasks(averages, len(successes))


def _over_tasks(by_k: dict[int, list[float]], num_episodes: int) -> dict[int, MeanInterval]:
    found = {k: mean_interval(values, range(len(values))) for k, values in by_k.items()}
    return {k: MeanInterval(x.mean, x.low, x.high, num_episodes, x.num_tasks) for k, x in found.items()}


def _by_task(values: Sequence[float], tasks: Sequence[Hashable]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for every task the sum of its values and their number."""
    by_task: defaultdict[Hashable, list[float]] = defaultdict(list)
    for value, task in zip(values, tasks, strict=True):
        by_task[task].append(value)
    return np.array([sum(x) for x in by_task.values()]), np.array([float(len(x)) for x in by_task.values()])


def _resampled(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of resampled tasks, drawn with replacement."""
    rng, size = np.random.default_rng(0), len(sums)
    rows = max(_CELLS // size, 1)
    means = []
    for begin in range(0, NUM_RESAMPLES, rows):
        times = rng.multinomial(size, np.full(size, 1 / size), min(rows, NUM_RESAMPLES - begin))
        means.append((times @ sums) / (times @ counts))
    return np.concatenate(means)
