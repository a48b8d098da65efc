"""One inner environment of a `ReplayEnvironment`, and the way to its current state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from trl_3spo.environments.base import Observation, StepResult, Task
from trl_3spo.environments.limited import NO_EPISODE


class Resettable(Protocol):
    """Methods that `ReplayEnvironment` needs: the part of `Environment` that only goes forward."""

    def tasks(self, split: str | None = None) -> Sequence[Task]: ...  # noqa: D102

    def reset(self, task: Task) -> Observation: ...  # noqa: D102

    def step(self, action: str) -> StepResult: ...  # noqa: D102


@runtime_checkable
class Saving(Protocol):
    """Methods of an inner environment that need not be replayed."""

    def save(self) -> Any:
        """Return the current state, or `None` if it cannot be saved. Later steps do not change the returned value."""

    def load(self, saved: Any) -> None:
        """Go back to a state, saved by this object or one like it, any number of times."""


class ReplayDriftError(RuntimeError):
    """The same actions led to another state than the first time."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A state with the way that led there. Nodes share their past, so a snapshot costs nothing."""

    task: Task
    observation: Observation
    known: tuple[int, ...] = ()
    parent: "Node | None" = None
    action: str = ""
    is_final: bool = False
    num_steps: int = 0
    saved: Any = None


Observe = Callable[[Task, Observation, Node | None, str], tuple[Observation, Any]]
"""Function that adds keys to an observation, from the task, the observation, the state before, and the action."""


class ReplayedWorld:
    """An inner environment that can go to nodes.

    Args:
        env: Inner environment.
        observe: Function that adds keys to observations.
    """

    def __init__(self, env: Resettable, observe: Observe) -> None:
        self.env = env
        self.node: Node | None = None  # None as long as it is not known where the world is
        self._observe = observe

    def reset(self, task: Task) -> Node:
        """Start a task."""
        self.node = None
        observation, known = self._observe(task, self.env.reset(task), None, "")
        self.node = Node(task, observation, known, saved=self._saved())
        return self.node

    def step(self, action: str) -> tuple[StepResult, Node]:
        """Take one action.

        Raises:
            RuntimeError: The episode has ended or never began.
        """
        before = self.node
        if before is None or before.is_final:
            raise RuntimeError(NO_EPISODE)
        self.node = None
        result = self.env.step(action)
        observation, known = self._observe(before.task, result.observation, before, action)
        saved = None if result.is_final else self._saved()
        self.node = Node(before.task, observation, known, before, action, result.is_final, before.num_steps + 1, saved)
        return replace(result, observation=observation), self.node

    def _saved(self) -> Any:
        return self.env.save() if isinstance(self.env, Saving) else None

    def distance(self, node: Node) -> int:
        """Return the number of calls it takes to go to a node."""
        num_calls, place = 0, node
        while place is not self.node:
            num_calls += 1
            if place.saved is not None or place.parent is None:
                break
            place = place.parent
        return num_calls

    def go(self, node: Node) -> None:
        """Go to a node: from the current state if it lies on the way, from a saved state, or from the start.

        Raises:
            ReplayDriftError: The inner environment behaved differently in the replay.
        """
        way = [node]
        while way[-1] is not self.node and way[-1].saved is None and way[-1].parent is not None:
            way.append(way[-1].parent)
        start = way.pop()
        if start is not self.node:
            self._begin_at(start)
        for following in reversed(way):
            result, reached = self.step(following.action)
            self._verify(following, reached.observation, result.is_final)
        self.node = node

    def _begin_at(self, node: Node) -> None:
        self.node = None
        if node.saved is not None and isinstance(self.env, Saving):
            self.env.load(node.saved)
        else:
            self._verify(node, self.reset(node.task).observation, is_final=False)
        self.node = node

    def _verify(self, node: Node, observation: Observation, is_final: bool) -> None:
        if observation.state_key == node.observation.state_key and is_final == node.is_final:
            return
        self.node = None
        when = f"step {node.num_steps} ({node.action!r})" if node.parent else "the reset"
        raise ReplayDriftError(
            f"The replay of task {node.task.id!r} drifted at {when}: expected the state key "
            f"{node.observation.state_key!r}{_ended(node.is_final)}, found {observation.state_key!r}"
            f"{_ended(is_final)}. The same actions have to lead to the same states after every reset: seed the world "
            "from the task, keep counters and times out of its state key, or give it real snapshots."
        )


def _ended(is_final: bool) -> str:
    return " at the end of the episode" if is_final else ""
