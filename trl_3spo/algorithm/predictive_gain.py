"""How well a history predicts what becomes of states, measured on episodes it has not seen yet."""

import math
from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean

from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.objective import SUCCESS, Objective
from trl_3spo.algorithm.records import Episode

MARGIN = 0.01
"""Predictions stay so far from 0 and 1, where a single surprise would cost infinitely much."""
CHAIN = "all"


class PredictiveGain:
    """Prequential log-loss of a history's rates against that of the base rate, in nats per visited state.

    A state that turned out to be worth w and was expected to be worth p costs −w · ln p − (1 − w) · ln(1 − p); the base
    rate is the mean worth of all states before. Positive gains mean that the history tells states apart. A key that has
    not been seen predicts the base rate.

    Args:
        history: Read, never written.
        discount: γ of the worths that it observes.
        objective: Says what a step pays.
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
            Of the rates backed off along all score keys as `"all"`, and of each key alone by its place, finest first,
            as `"1"`, `"2"` and so on. Empty without episodes.
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
        """Return what the base rate is counted from."""
        return {"num_states": self._num_states, "worth": self._worth}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on where a `state_dict` left off."""
        self._num_states = int(state["num_states"])
        self._worth = float(state["worth"])


def log_loss(expected: float, worth: float) -> float:
    """Return −w · ln p − (1 − w) · ln(1 − p) in nats, with p at least `MARGIN` from 0 and 1."""
    p = min(max(expected, MARGIN), 1.0 - MARGIN)
    return -worth * math.log(p) - (1.0 - worth) * math.log(1.0 - p)
