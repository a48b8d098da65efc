"""A toy world for documentation and tests: a corridor with a door at either end, one of which must not be opened."""

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from trl_3spo.environments.base import Environment, Observation, StepResult, Task


class CorridorState(NamedTuple):
    """Where an episode is; also the snapshot.

    Args:
        door: The one the task names, `"left"` or `"right"`.
        place: 1 to the corridor's length, or `"outside"`, `"cellar 1"`, `"cellar 2"`.
        num_steps: Taken so far.
        is_final: Whether no step may follow.
    """

    door: str
    place: int | str
    num_steps: int = 0
    is_final: bool = False


class CorridorEnv(Environment):
    """Walk to the door the task names and open it.

    The other door leads down to a cellar of two spots with no way out. The episode goes on there but is lost, so a
    search has to go back to the corridor. Tasks differ in the door and in the place they start at. Success is rewarded
    by 1 and nothing else is. With the defaults, actions drawn from the admissible ones solve one task in five, actions
    drawn from `left`, `right` and `open` one in seven.

    Args:
        length: Number of places, at least 3. No task starts at a door.
        max_steps: Steps after which an episode is truncated, at least 1.
        seed: Of the tasks' order and of the quarter of them that makes the split `"test"`.

    Raises:
        ValueError: `length` or `max_steps` is too small.
    """

    def __init__(self, length: int = 7, max_steps: int = 8, seed: int = 0) -> None:
        if length < 3 or max_steps < 1:
            raise ValueError(f"length={length} and max_steps={max_steps}: at least 3 and 1 are required.")
        self.length = length
        self.max_steps = max_steps
        starts = [(door, place) for door in ("left", "right") for place in range(2, length)]
        random.Random(seed).shuffle(starts)
        tasks = [Task(f"{door} door from {place}", kind=door, data=(door, place)) for door, place in starts]
        self._splits = {"train": tasks[len(tasks) // 4 :], "test": tasks[: len(tasks) // 4]}
        self._starts = {task: CorridorState(*task.data) for task in tasks}
        self._state: CorridorState | None = None

    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the tasks of `"train"`, which is the default, or `"test"`."""
        if split is not None and split not in self._splits:
            raise ValueError(f"There is no split {split!r}: choose one of {', '.join(self._splits)}.")
        return self._splits[split or "train"]

    def reset(self, task: Task) -> Observation:
        """Start at the task's place."""
        if task not in self._starts:
            raise ValueError(f"Task {task.id!r} is not one of this corridor: choose one of tasks().")
        return self.restore(self._starts[task])

    def step(self, action: str) -> StepResult:
        """Walk `left` or `right`, or `open` the door."""
        if self._state is None or self._state.is_final:
            raise RuntimeError("The episode has ended or never began: call reset() or restore() first.")
        door, place, num_steps, _ = self._state
        place = self._doors_and_ways(door, place).get(action, place)
        is_success = place == "outside"
        is_final = is_success or num_steps + 1 == self.max_steps
        observation = self.restore(CorridorState(door, place, num_steps + 1, is_final))
        if is_success:
            return StepResult.ended(observation, success=True)
        return StepResult.cut_off(observation) if is_final else StepResult.going_on(observation)

    def snapshot(self) -> CorridorState | None:
        """Return the state, which is immutable."""
        return self._state

    def restore(self, snapshot: CorridorState) -> Observation:
        """Go back to a state."""
        self._state = snapshot
        door, place = snapshot.door, snapshot.place
        where = f"place {place} of {self.length}" if isinstance(place, int) else place
        return Observation(
            text=f"Open the {door} door. You are here: {where}.",
            state_key=(door, place, self.length),
            admissible_actions=tuple(self._doors_and_ways(door, place)),
            score_keys=((door, place, snapshot.num_steps), (door, place)),
        )

    def _doors_and_ways(self, door: str, place: int | str) -> Mapping[str, int | str]:
        """Return where each admissible action leads."""
        if isinstance(place, str):
            return {"cellar 1": {"right": "cellar 2"}, "cellar 2": {"left": "cellar 1"}}.get(place, {})
        if 1 < place < self.length:
            return {"left": place - 1, "right": place + 1}
        behind = "outside" if door == ("left" if place == 1 else "right") else "cellar 1"
        return {"right": 2, "open": behind} if place == 1 else {"left": place - 1, "open": behind}
