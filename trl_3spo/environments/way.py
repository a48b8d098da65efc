"""The way to a state: a snapshot that outlives its environment."""

from dataclasses import dataclass
from typing import Any

from trl_3spo.environments.base import Observation, Task


@dataclass(slots=True, eq=False)
class Way:
    """A state by its snapshot, and by the actions that lead there. Ways share their past.

    Args:
        task: Task of the episode.
        observation: Observation of the state.
        snapshot: Snapshot of the environment.
        age: Number of the environment that took the snapshot. Any other has to replay the actions.
        parent: State before; `None` at the start of the task.
        action: Action that led from the parent to this state.
        num_steps: Number of actions since the start.
    """

    task: Task
    observation: Observation
    snapshot: Any
    age: int
    parent: "Way | None" = None
    action: str = ""
    num_steps: int = 0

    @classmethod
    def before(cls, task: Task) -> "Way":
        """Return what stands for a task that has not begun."""
        return cls(task, never_begun(task), None, -1)

    def __str__(self) -> str:
        """Say where this is."""
        return f"Task {self.task.id!r}, after the actions {self.actions()!r}."

    def actions(self) -> list[str]:
        """Return the actions that lead here from the start of the task."""
        actions = []
        way = self
        while way.parent is not None:
            actions.append(way.action)
            way = way.parent
        return actions[::-1]


def never_begun(task: Task) -> Observation:
    """Return an empty observation for a task that could not be started."""
    return Observation("", ("never begun", task.id))


def how_to_replay(task: Task, actions: list[str]) -> str:
    """Return a line of Python that brings an environment `env` to the state after some actions of a task."""
    reset = f"env.reset(next(task for task in env.tasks() if task.id == {task.id!r}))"
    return f"{reset}; [env.step(action) for action in {actions!r}]" if actions else reset
