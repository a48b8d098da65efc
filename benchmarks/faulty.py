"""An environment that raises and hangs at random."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from trl_3spo.environments.base import Environment, Message, Observation, StepResult, Task, Turn

FOR_EVER = 3600.0


class Faults(Counter[str]):
    """How many faults there were of each kind, over all environments that share this."""

    def __init__(self) -> None:
        super().__init__()
        self.coming: dict[tuple[Any, str], str] = {}


class FaultyEnvironment(Environment):
    """Another environment with faults: half of them come once, the others twice in the same step.

    Args:
        env: The other environment.
        rng: Draws the faults.
        faults: Counts them as `exceptions` and `hangs`, and remembers those that come a second time.
        exceptions: Share of steps that raise.
        hangs: Share of steps that do not end.
    """

    def __init__(self, env: Environment, rng: random.Random, faults: Faults, exceptions: float, hangs: float) -> None:
        self._env = env
        self._rng = rng
        self._faults = faults
        self._rates = {"exceptions": exceptions, "hangs": hangs}

    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the other environment's tasks."""
        return self._env.tasks(split)

    def reset(self, task: Task) -> Observation:
        """Start a task."""
        return self._env.reset(task)

    def step(self, action: str) -> StepResult:
        """Take an action, or fail."""
        key = (self._env.snapshot(), action)
        kind = self._faults.coming.pop(key, None)
        if kind is None:
            kind = self._draw()
            if kind is not None and self._rng.random() < 0.5:
                self._faults.coming[key] = kind
        if kind is not None:
            self._faults[kind] += 1
        if kind == "exceptions":
            raise ConnectionError("the game's server is gone")
        if kind == "hangs":
            time.sleep(FOR_EVER)
        return self._env.step(action)

    def _draw(self) -> str | None:
        drawn = self._rng.random()
        for kind, rate in self._rates.items():
            if drawn < rate:
                return kind
            drawn -= rate
        return None

    def snapshot(self) -> Any:
        """Return the present state."""
        return self._env.snapshot()

    def restore(self, snapshot: Any) -> Observation:
        """Go back to a state."""
        return self._env.restore(snapshot)

    def prompt(self, task: Task, observation: Observation, turns: Sequence[Turn]) -> list[Message]:
        """Ask as the other environment does."""
        return self._env.prompt(task, observation, turns)

    def parse_action(self, completion: str) -> str:
        """Read an answer as the other environment does."""
        return self._env.parse_action(completion)
