"""What the states of ended walks turned out to be worth."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean

from trl_3spo.algorithm.records import Episode, Visit


def walk_outcomes(
    episodes: Sequence[Episode], value: Callable[[Visit], float], *, discount: float, weight: float
) -> dict[Visit, float]:
    """Return λ-returns of all visits that walks passed, between what was expected of them and what became of the walk.

    G(s_T) = value(s_T) at the end, which is success where the task has ended, and G(s) = (1 − λ) · value(s) + λ · γ ·
    G(s') before it (arXiv 1506.02438). The source knows no outcomes but through success rates (λ = 0).

    Args:
        episodes: That have ended. A visit which several of them passed is worth their mean.
        value: p of a visit, in [0, 1].
        discount: γ in (0, 1], per step.
        weight: λ in [0, 1].
    """
    outcomes: defaultdict[Visit, list[float]] = defaultdict(list)
    for episode in episodes:
        outcome = value(episode.end)
        outcomes[episode.end].append(outcome)
        for visit in reversed(episode.end.path()[:-1]):
            outcome = (1.0 - weight) * value(visit) + weight * discount * outcome
            outcomes[visit].append(outcome)
    return {visit: fmean(found) for visit, found in outcomes.items()}
