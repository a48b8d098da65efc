"""Environments with a limit on steps."""

import abc
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

from trl_3spo.environments.base import Environment, Observation, StepResult, Task

State = TypeVar("State")

TIMES_PER_EPISODE = 10
"""Number of time spans per episode, for environments with many states."""

NO_EPISODE = "The episode has ended or never began: call reset() or restore() first."
"""Error message for a step without an episode."""


class Snapshot(NamedTuple, Generic[State]):
    """A moment of an episode: an immutable value, equal to others by content.

    Args:
        task: Task of the episode.
        state: State of the environment, in the environment's own form.
        observation: Observation. It is stored because a text may describe the action before.
        num_steps: Number of steps taken so far.
        is_final: Whether the episode has ended.
    """

    task: Task
    state: State
    observation: Observation
    num_steps: int = 0
    is_final: bool = False


class LimitedEnvironment(Environment, Generic[State]):
    """An environment whose episodes are truncated after a number of steps.

    Subclasses write `tasks`, the start of an episode (`_begin`) and the effect of an action (`_act`). They store
    nothing of an episode: its state is a value, which `_act` replaces and never changes. Snapshots can be pickled if
    states can.

    If you set your own score keys, put the time into them: `now.num_steps + 1` for the next moment.

    Args:
        max_steps: Steps after which an episode is truncated, at least 1. Meaningless actions count.

    Raises:
        ValueError: `max_steps` is below 1.
    """

    def __init__(self, max_steps: int) -> None:
        if max_steps < 1:
            raise ValueError(f"max_steps={max_steps}: at least 1 is required.")
        self.max_steps = max_steps
        self._now: Snapshot[State] | None = None

    @abc.abstractmethod
    def _begin(self, task: Task) -> tuple[State, Observation]:
        """Return the first state of a task and its observation.

        Raises:
            ValueError: The task is not one of this environment's.
        """

    @abc.abstractmethod
    def _act(self, now: Snapshot[State], action: str) -> tuple[State, StepResult]:
        """Return the next state and the result of an action, without regard to the limit.

        Args:
            now: Current moment. The next one has `now.num_steps + 1` steps.
            action: Any string. A meaningless one leads to `now.state` again.
        """

    def reset(self, task: Task) -> Observation:
        """Start a task and return its first observation.

        Raises:
            ValueError: The task is not one of this environment's.
        """
        state, observation = self._begin(task)
        self._now = Snapshot(task, state, observation)
        return self._now.observation

    def step(self, action: str) -> StepResult:
        """Take one action, within the limit on steps.

        Raises:
            RuntimeError: The episode has ended or never began.
        """
        now = self._now
        if now is None or now.is_final:
            raise RuntimeError(NO_EPISODE)
        num_steps = now.num_steps + 1
        state, result = self._act(now, action)
        if num_steps >= self.max_steps and not result.is_final:
            result = replace(result, truncated=True)
        self._now = Snapshot(now.task, state, result.observation, num_steps, result.is_final)
        return result

    def snapshot(self) -> Snapshot[State]:
        """Return the present moment.

        Raises:
            RuntimeError: No episode has begun.
        """
        if self._now is None:
            raise RuntimeError("No episode has begun: call reset() or restore() first.")
        return self._now

    def restore(self, snapshot: Snapshot[State]) -> Observation:
        """Go back to a snapshot, of this or any other task, and return its observation."""
        self._now = snapshot
        return snapshot.observation

    def _span(self, num_steps: int) -> int:
        """Return the time in spans of the episode, from 0 to `TIMES_PER_EPISODE`."""
        return num_steps * TIMES_PER_EPISODE // self.max_steps
