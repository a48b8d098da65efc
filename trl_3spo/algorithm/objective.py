"""The quantity to maximize: the success rate, or the environment's rewards."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trl_3spo.environments.base import Environment, StepResult

logger = logging.getLogger(__name__)

ObjectiveName = Literal["success", "reward"]

NUM_EPISODES = 100
"""Number of episodes after which a warning says that an environment pays and never reports a success."""


@dataclass(frozen=True)
class Objective:
    """Reward of a step, divided by the width of the reward range.

    The return of a whole episode then lies between `floor` and `floor` + 1, and so does the value of a state. Scores
    and history use its `share` in [0, 1].

    Args:
        name: `"success"`: reward 1 for the step that solves the task and 0 for all others. `"reward"`: the
            environment's own rewards.
        reward_range: Bounds of an episode's undiscounted return. Only `"reward"` reads them.

    Raises:
        ValueError: The range is empty or infinite, or does not contain 0.
    """

    name: ObjectiveName = "success"
    reward_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        low, high = self.reward_range
        if not (math.isfinite(low) and math.isfinite(high) and low <= 0 <= high and low < high):
            raise ValueError(
                f"reward_range is {self.reward_range!r}; it must be a pair of finite numbers (low, high) with "
                "low ≤ 0 ≤ high and low < high: the bounds of what an episode pays in all. Set it on the environment."
            )

    @classmethod
    def of(cls, name: ObjectiveName, env: Environment) -> "Objective":
        """Return the objective of that name in an environment."""
        return cls(name, env.reward_range) if name == "reward" else cls()

    @property
    def floor(self) -> float:
        """Smallest possible return of an episode, in [−1, 0]."""
        return 0.0 if self.name == "success" else self.reward_range[0] / self._width

    @property
    def _width(self) -> float:
        return self.reward_range[1] - self.reward_range[0]

    def reward(self, result: StepResult) -> float:
        """Return the reward of a step, divided by the width of the range."""
        return float(result.success) if self.name == "success" else result.reward / self._width

    def share(self, worth: float) -> float:
        """Return the position of a return between the smallest and the largest one, in [0, 1]."""
        return min(max(worth - self.floor, 0.0), 1.0)


SUCCESS = Objective()
"""Objective of the success rate."""


class ReturnWatch:
    """Warns once if an environment's rewards do not match the objective.

    Args:
        objective: Objective of the training.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._num_episodes = 0
        self._is_silent = False

    def observe(self, returns: Sequence[float], successes: Sequence[bool]) -> None:
        """Look at ended episodes: their undiscounted returns, and whether they succeeded."""
        self._num_episodes += len(returns)
        if self._is_silent or not returns:
            return
        if self._objective.name == "reward":
            self._warn_of_range(min(returns), max(returns))
        elif any(successes):
            self._is_silent = True
        elif self._num_episodes >= NUM_EPISODES and any(returns):
            self._warn(
                "No episode of the first %d was a success, yet the environment pays rewards. Set objective='reward' to "
                "train on them, or have the environment report success.",
                self._num_episodes,
            )

    def _warn_of_range(self, least: float, most: float) -> None:
        low, high = self._objective.reward_range
        tolerance = 1e-6 * (high - low)
        if least < low - tolerance or most > high + tolerance:
            self._warn(
                "An episode paid %g in all, outside the environment's reward_range (%g, %g): what is over counts as "
                "the bound in state scores. Set reward_range to the least and the most that an episode can pay.",
                least if least < low - tolerance else most,
                low,
                high,
            )

    def _warn(self, message: str, *values: float) -> None:
        self._is_silent = True
        logger.warning(message, *values)
