"""Snapshots for environments that have none: reset and replay the actions."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from trl_3spo.environments.adapters.plain_keys import coarse_keys, timed_keys, told_by
from trl_3spo.environments.adapters.replayed_world import Node, ReplayDriftError, ReplayedWorld, Resettable
from trl_3spo.environments.base import Environment, Key, Message, Observation, StepResult, Task, Tool, Turn

__all__ = ["ReplayDriftError", "ReplayEnvironment", "Resettable"]

_SETTINGS = ("reward_range", "max_action_characters", "prompt_style", "system_prompt")

Move = tuple[Any, str]


class ReplayEnvironment(Environment):
    """An environment around a class that can only be reset and stepped, called the inner environment.

    `restore` resets the inner environment and replays the actions that led to the snapshot. If its current state lies
    on the way, it continues from there. A replay costs as many steps as the episode is long. If the inner environment
    has the methods `save`, which returns its state, and `load`, which sets it, they are used instead. The state key is
    checked after every replayed action.

    With several inner environments, `step_each` steps all of them at once, each in its own thread. This is faster if
    they wait for something, such as another process or a server.

    The default score keys are the exact state, the text without the task, and the task type with the number of revealed
    texts. Each holds the number of steps, and the last key is that number alone.

    Args:
        env: Inner environment, or a callable without arguments that makes it. Its `prompt`, `parse_action`, `tools` and
            `close` are used if it has them, and its settings of `Environment`.
        num_worlds: Number of inner environments, at least 1. More than one requires a callable.
        score_keys: Function that gives coarser names of an observation, from fine to coarse and without the time. They
            replace the inner environment's own. The exact state and the time are added.
        reveals: Whether revealed texts belong to the state. Set it if actions only reveal something, such as searches.
            Otherwise all states of a task are one.

    Raises:
        ReplayDriftError: The inner environment behaved differently in a replay, in `restore` or `step_each`. Only the
            current state is lost.
        ValueError: `num_worlds` is below 1, or more than one and `env` cannot be called.
    """

    def __init__(
        self,
        env: Resettable | Callable[[], Resettable],
        *,
        num_worlds: int = 1,
        score_keys: Callable[[Observation], Sequence[Key]] | None = None,
        reveals: bool = False,
    ) -> None:
        if num_worlds < 1 or (num_worlds > 1 and not callable(env)):
            raise ValueError(f"num_worlds={num_worlds}: at least 1 is required, and for several a callable as env.")
        self._score_keys = score_keys
        self._reveals = reveals
        self._make: Callable[[], Resettable] = env if callable(env) else lambda: env
        self._worlds = [self._new_world() for _ in range(num_worlds)]
        self._world = self._worlds[0]
        self._env = self._world.env
        for name in _SETTINGS:
            if hasattr(self._env, name):
                setattr(self, name, getattr(self._env, name))

    def _new_world(self) -> ReplayedWorld:
        return ReplayedWorld(self._make(), self._observed)

    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the inner environment's tasks."""
        return self._env.tasks(split)

    def reset(self, task: Task) -> Observation:
        """Start a task."""
        return self._world.reset(task).observation

    def step(self, action: str) -> StepResult:
        """Take one action and store it."""
        result, _ = self._world.step(action)
        return result

    def snapshot(self) -> Any:
        """Return the way to the current state."""
        return self._world.node

    def restore(self, snapshot: Any) -> Observation:
        """Replay the way of the snapshot, from the start or from a current state on the way."""
        self._world = min(self._worlds, key=lambda world: world.distance(snapshot))
        self._world.go(snapshot)
        observation: Observation = snapshot.observation
        return observation

    def step_each(self, moves: Sequence[Move]) -> list[tuple[StepResult, Any]]:
        """Take one action from each of many snapshots, in all inner environments at once."""
        if len(self._worlds) == 1:
            return super().step_each(moves)
        work = _Work(moves)
        try:
            work.share(self._worlds)
        except BaseException:
            # Whoever interrupts may ask again at once, and a world that is still at work must not be asked.
            work.stop()
            self._worlds = [self._new_world() if world in work.at_work else world for world in self._worlds]
            self._world = self._worlds[0]
            raise
        return work.results()

    def close(self) -> None:
        """Close the inner environments."""
        for world in self._worlds:
            getattr(world.env, "close", super().close)()

    def prompt(self, task: Task, observation: Observation, turns: Sequence[Turn]) -> list[Message]:
        """Return the inner environment's prompt, if it has one."""
        messages: list[Message] = getattr(self._env, "prompt", super().prompt)(task, observation, turns)
        return messages

    def tools(self, task: Task) -> Sequence[Tool]:
        """Return the inner environment's tools, if it has any."""
        tools: Sequence[Tool] = getattr(self._env, "tools", super().tools)(task)
        return tools

    def parse_action(self, completion: str) -> str:
        """Parse an action as the inner environment does, if it does."""
        action: str = getattr(self._env, "parse_action", super().parse_action)(completion)
        return action

    def _observed(self, task: Task, shown: Observation, before: Node | None, action: str) -> tuple[Observation, Any]:
        """Return an observation with keys, and the texts revealed until then."""
        known = () if before is None else told_by(before.known, before.observation, action, shown.text)
        num_steps = 0 if before is None else before.num_steps + 1
        state_key = (shown.state_key, known) if self._reveals else shown.state_key
        if self._score_keys is not None:
            keys = timed_keys(state_key, self._score_keys(shown), num_steps)
        elif not shown.score_keys:
            keys = timed_keys(state_key, coarse_keys(task, shown.text, len(known)), num_steps)
        else:
            keys = shown.score_keys
        return replace(shown, state_key=state_key, score_keys=keys), known


class _Work:
    """Moves that several inner environments divide between them: each takes the nearest move."""

    def __init__(self, moves: Sequence[Move]) -> None:
        self.at_work: set[ReplayedWorld] = set()
        self._left = dict(enumerate(moves))
        self._lock = threading.Lock()
        self._is_done = threading.Semaphore(0)
        self._results: dict[int, tuple[StepResult, Any]] = {}
        self._errors: list[Exception] = []

    def share(self, worlds: Sequence[ReplayedWorld]) -> None:
        """Make the moves, with one thread per inner environment, and wait until all are done."""
        for world in worlds:
            self.at_work.add(world)
            threading.Thread(target=self._do_in, args=(world,), daemon=True).start()
        # In Python 3.11 a thread whose `join` was interrupted says that it has ended, whether it has or not.
        for _ in worlds:
            self._is_done.acquire()

    def _do_in(self, world: ReplayedWorld) -> None:
        try:
            while (taken := self._take(world)) is not None:
                place, (node, action) = taken
                world.go(node)
                result, reached = world.step(action)
                self._results[place] = result, None if result.is_final else reached
        except Exception as error:
            self._errors.append(error)
            self.stop()
        finally:
            self.at_work.discard(world)
            self._is_done.release()

    def _take(self, world: ReplayedWorld) -> tuple[int, Move] | None:
        with self._lock:
            if not self._left:
                return None
            place = min(self._left, key=lambda place: world.distance(self._left[place][0]))
            return place, self._left.pop(place)

    def stop(self) -> None:
        """Drop the remaining moves."""
        with self._lock:
            self._left.clear()

    def results(self) -> list[tuple[StepResult, Any]]:
        """Return the result of each move.

        Raises:
            Exception: An inner environment raised it.
        """
        if self._errors:
            raise self._errors[0]
        return [self._results[place] for place in sorted(self._results)]
