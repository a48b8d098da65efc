"""How well a history predicts the returns of states, measured on episodes before it sees them."""

import math
from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean

from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.objective import SUCCESS, Objective
from trl_3spo.algorithm.records import Episode

MARGIN = 0.01
"""Smallest distance of predictions from 0 and 1, where a single wrong prediction would cost infinitely much."""
CHAIN = "all"


class PredictiveGain:
    """Prequential log-loss of the base rate minus the log-loss of a history's rates, in nats per visited state.

    A state with return w and prediction p costs −w · ln p − (1 − w) · ln(1 − p). The base rate is the mean return of
    all earlier states. A positive gain means that the history distinguishes states. An unknown key predicts the base
    rate.

    Args:
        history: History to evaluate; it is not changed.
        discount: Discount factor γ of the history's returns.
        objective: Objective that defines the reward of a step.
    """

    def __init__(self, history: StateHistory, discount: float, objective: Objective = SUCCESS) -> None:
        self._history = history
        self._discount = discount
        self._objective = objective
        self._num_states = 0
        self._worth = 0.0

    def of(self, episodes: Iterable[Episode]) -> dict[str, float]:
        """Return mean gains over the states of episodes that the history is about to observe.

        Returns:
            Gain of the backed-off rates as `"all"`, and of each key alone, finest first, as `"1"`, `"2"` and so on.
            Empty without episodes.
        """
        gains: defaultdict[str, list[float]] = defaultdict(list)
        for episode in episodes:
            worths = episode.worths(self._discount, self._objective)
            for visit in episode.end.path()[:-1]:
                worth = worths[visit.keys[0]]
                base = self._worth / self._num_states if self._num_states else 0.5
                alone = {str(i): (key,) for i, key in enumerate(visit.keys, 1)}
                for name, keys in {CHAIN: visit.keys, **alone}.items():
                    expected = self._history.estimate(keys).value if self._history.has_seen(keys[-1]) else base
                    gains[name].append(log_loss(base, worth) - log_loss(expected, worth))
                self._num_states += 1
                self._worth += worth
        return {name: fmean(values) for name, values in gains.items()}

    def state_dict(self) -> dict[str, float]:
        """Return the counts of the base rate."""
        return {"num_states": self._num_states, "worth": self._worth}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from a `state_dict`."""
        self._num_states = int(state["num_states"])
        self._worth = float(state["worth"])


def log_loss(expected: float, worth: float) -> float:
    """Return −w · ln p − (1 − w) · ln(1 − p) in nats, with p at least `MARGIN` from 0 and 1."""
    p = min(max(expected, MARGIN), 1.0 - MARGIN)
    return -worth * math.log(p) - (1.0 - worth) * math.log(1.0 - p)
