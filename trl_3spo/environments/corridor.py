"""A toy environment for documentation and tests: a corridor with two doors, one of which must not be opened."""

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from trl_3spo.environments.base import Observation, StepResult, Task
from trl_3spo.environments.limited import LimitedEnvironment, Snapshot


class CorridorState(NamedTuple):
    """State of an episode.

    Args:
        door: Door of the task, `"left"` or `"right"`.
        place: Position from 1 to the corridor's length, or `"outside"`, `"cellar 1"`, `"cellar 2"`.
    """

    door: str
    place: int | str


class CorridorEnv(LimitedEnvironment[CorridorState]):
    """Walk to the door the task names and open it.

    The other door leads to a cellar of two spots without a way out. The episode continues there but is lost, so a
    search has to go back to the corridor. Tasks differ in the door and in the starting place. Only success is rewarded,
    with 1. With the defaults, random admissible actions solve one task in five. Random choices of `left`, `right` and
    `open` solve one in seven.

    Args:
        length: Number of places, at least 3. No task starts at a door.
        max_steps: Steps after which an episode is truncated, at least 1.
        seed: Seed for the task order and for the quarter of the tasks in the split `"test"`.

    Raises:
        ValueError: `length` or `max_steps` is too small.
    """

    def __init__(self, length: int = 7, max_steps: int = 8, seed: int = 0) -> None:
        if length < 3:
            raise ValueError(f"length={length}: at least 3 is required.")
        super().__init__(max_steps)
        self.length = length
        starts = [(door, place) for door in ("left", "right") for place in range(2, length)]
        random.Random(seed).shuffle(starts)
        tasks = [Task(f"{door} door from {place}", kind=door, data=(door, place)) for door, place in starts]
        self._splits = {"train": tasks[len(tasks) // 4 :], "test": tasks[: len(tasks) // 4]}
        self._starts = {task: CorridorState(*task.data) for task in tasks}

    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the tasks of `"train"`, which is the default, or `"test"`."""
        if split is not None and split not in self._splits:
            raise ValueError(f"There is no split {split!r}: choose one of {', '.join(self._splits)}.")
        return self._splits[split or "train"]

    def _begin(self, task: Task) -> tuple[CorridorState, Observation]:
        if task not in self._starts:
            raise ValueError(f"Task {task.id!r} is not one of this corridor: choose one of tasks().")
        start = self._starts[task]
        return start, self._observe(start, 0)

    def _act(self, now: Snapshot[CorridorState], action: str) -> tuple[CorridorState, StepResult]:
        door, place = now.state
        state = CorridorState(door, self._doors_and_ways(door, place).get(action, place))
        observation = self._observe(state, now.num_steps + 1)
        if state.place == "outside":
            return state, StepResult.ended(observation, success=True)
        return state, StepResult.going_on(observation)

    def _observe(self, state: CorridorState, num_steps: int) -> Observation:
        door, place = state
        where = f"place {place} of {self.length}" if isinstance(place, int) else place
        return Observation(
            text=f"Open the {door} door. You are here: {where}.",
            state_key=(door, place, self.length),
            admissible_actions=tuple(self._doors_and_ways(door, place)),
            score_keys=((door, place, num_steps), (door, place)),
        )

    def _doors_and_ways(self, door: str, place: int | str) -> Mapping[str, int | str]:
        """Return the next place for each admissible action."""
        if isinstance(place, str):
            return {"cellar 1": {"right": "cellar 2"}, "cellar 2": {"left": "cellar 1"}}.get(place, {})
        if 1 < place < self.length:
            return {"left": place - 1, "right": place + 1}
        behind = "outside" if door == ("left" if place == 1 else "right") else "cellar 1"
        return {"right": 2, "open": behind} if place == 1 else {"left": place - 1, "open": behind}
