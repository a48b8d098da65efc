"""Statistics of states: visits and returns ("worths") of completed episodes, per score key."""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

EPSILON = 1e-8
"""ε of p = N_success / (N_total + ε): makes the rate of an unseen state zero."""


class Estimate(NamedTuple):
    """Statistics of one state.

    Args:
        value: Mean return p(s) in [0, 1], backed off along the score keys.
        num_visits: Number of visits N(s) of the finest key; fractional if counts decay.
        num_failures: N_fail(s) = N(s) − (sum of returns) of the finest key.
    """

    value: float
    num_visits: float
    num_failures: float


class StateHistory:
    """Visits and returns per score key, with back-off from fine to coarse keys and optional decay.

    A state is identified by the digests of its score keys k₁ (finest) … k_m. Its value is p = p₁ with
    p_m = worths_m / visits_m and p_j = (worths_j + κ · p_{j+1}) / (visits_j + κ). A state with many visits uses its own
    rate. A state without visits uses its coarser keys. If none of its keys is known, p = 0 and S = 1. The source has
    one key and κ = 0. Exact states of thousands of tasks hardly ever recur, and then its scores say nothing.

    Args:
        half_life: Number of completed episodes after which a count has decayed to one half, because it describes an old
            policy. None: no decay, as in the source.
        backoff_strength: Strength of the back-off, κ ≥ 0, in visits.
    """

    def __init__(self, *, half_life: float | None = None, backoff_strength: float = 0.0) -> None:
        self.num_episodes = 0
        self._half_life = half_life
        self._backoff_strength = backoff_strength
        self._rows: dict[int, int] = {}
        self._visits = array("d")
        self._worths = array("d")
        self._updated = array("q")  # num_episodes at the last visit: the decay is applied when the row is next read

    def __len__(self) -> int:
        """Number of score keys ever seen."""
        return len(self._rows)

    def observe(self, worths: Mapping[int, float]) -> None:
        """Add one episode to the statistics of every state on its path.

        Args:
            worths: Discounted return in [0, 1] by the digest of each score key on the path. It is 1 for a success, less
                for a late one, and 0 for a failure.
        """
        self.num_episodes += 1
        for key, worth in worths.items():
            row = self._rows.get(key)
            if row is None:
                self._rows[key] = len(self._rows)
                self._visits.append(1.0)
                self._worths.append(worth)
                self._updated.append(self.num_episodes)
            else:
                fading = self._fading(row)
                self._visits[row] = self._visits[row] * fading + 1.0
                self._worths[row] = self._worths[row] * fading + worth
                self._updated[row] = self.num_episodes

    def estimate(self, keys: Sequence[int]) -> Estimate:
        """Return the statistics of the state whose score keys have these digests, finest first."""
        visits, worths = self._counts(keys[-1])
        value = worths / (visits + EPSILON)
        for key in reversed(keys[:-1]):
            visits, worths = self._counts(key)
            if visits > 0:
                value = (worths + self._backoff_strength * value) / (visits + self._backoff_strength)
        return Estimate(value, visits, visits - worths)

    def has_seen(self, key: int) -> bool:
        """Whether any completed episode passed through a state with this digest."""
        return key in self._rows

    def state_dict(self) -> dict[str, Any]:
        """Return everything `load_state_dict` needs; the arrays are copies."""
        return {
            "num_episodes": self.num_episodes,
            "keys": array("Q", self._rows),
            "visits": self._visits[:],
            "worths": self._worths[:],
            "updated": self._updated[:],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace the counts by the counts of a `state_dict`; half-life and back-off do not change.

        Raises:
            ValueError: The arrays do not belong together.
        """
        lengths = {name: len(state[name]) for name in ("keys", "visits", "worths", "updated")}
        if len(set(lengths.values())) != 1:
            raise ValueError(
                f"The saved history's arrays have lengths {lengths}; they must be equal. The file is damaged."
            )
        self.num_episodes = int(state["num_episodes"])
        self._rows = dict(zip(_array("Q", state["keys"]), range(lengths["keys"]), strict=True))
        self._visits = _array("d", state["visits"])
        self._worths = _array("d", state["worths"])
        self._updated = _array("q", state["updated"])

    def _counts(self, key: int) -> tuple[float, float]:
        row = self._rows.get(key)
        if row is None:
            return 0.0, 0.0
        fading = self._fading(row)
        return self._visits[row] * fading, self._worths[row] * fading

    def _fading(self, row: int) -> float:
        if self._half_life is None:
            return 1.0
        return float(2.0 ** ((self._updated[row] - self.num_episodes) / self._half_life))


def _array(typecode: str, values: Any) -> "array[Any]":
    """Copy an array of eight-byte items, `array` or numpy's, at once: item by item a million take seconds."""
    copy = array(typecode)
    copy.frombytes(memoryview(values).cast("B"))
    return copy
