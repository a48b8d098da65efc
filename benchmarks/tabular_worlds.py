"""Small worlds with sparse success, in which a policy is a table and its success rate is known exactly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trl_3spo.environments.base import Environment, Observation, StepResult, Task

NUM_ACTIONS = 8
NUM_ASTRAY = 4
"""States beside each state of the path."""

Snapshot = tuple[int, int, int]
"""Task, state, steps taken."""


@dataclass(frozen=True)
class World:
    """What distinguishes the worlds.

    From each state of a task's path one action leads on, three do nothing and four lead astray. From there one action
    leads back, one leads back by two, and six do nothing.

    Args:
        prior: Logit by which an untrained policy prefers the good action.
        depth: Length of the path.
        max_steps: Steps after which an episode is truncated.
        num_tasks: Tasks; each has its own order of actions everywhere.
        has_dead_ends: Whether there is no way back from one state in four of those astray.
        is_aliased: Whether the states astray beside a state of the path look alike. Their actions do different things.
    """

    prior: float
    depth: int = 6
    max_steps: int = 15
    num_tasks: int = 16
    has_dead_ends: bool = False
    is_aliased: bool = False


WORLDS = {
    "reversible": World(prior=1.2),
    "dead_ends": World(prior=0.8, has_dead_ends=True),
    "long": World(prior=1.4, depth=18, max_steps=60, num_tasks=6),
    "aliased": World(prior=1.0, has_dead_ends=True, is_aliased=True),
}


class TabularEnv(Environment):
    """Tasks of one world, drawn by a seed.

    A state is a number: `place · 5` on the path, `place · 5 + i` astray beside it, `depth · 5` the goal. Success rates
    are counted by exact state, backed off to what is shown where states look alike.

    Args:
        world: Its kind.
        seed: Of the order of actions.
        scores_by_text: Whether success rates are counted by what is shown alone, as the source does.
    """

    def __init__(self, world: World, seed: int, *, scores_by_text: bool = False) -> None:
        self.world = world
        rng = np.random.default_rng(seed)
        self.moves = np.stack([_moves(world, rng) for _ in range(world.num_tasks)])
        self.rows = np.array([_row(world, state) for state in range(self.num_states)])
        self._tasks = [Task(f"task {i}", data=i) for i in range(world.num_tasks)]
        self._shown = [
            [self._show(i, s, scores_by_text) for s in range(self.num_states)] for i in range(len(self._tasks))
        ]
        self._now: Snapshot | None = None

    @property
    def num_states(self) -> int:
        """States of a task, the goal included."""
        return self.world.depth * (1 + NUM_ASTRAY) + 1

    def _show(self, task: int, state: int, scores_by_text: bool) -> Observation:
        exact, text = (task, state), f"task {task}, place {self.rows[state]}"
        keys = (text,) if scores_by_text else (exact, text) if self.world.is_aliased else (exact,)
        return Observation(text, state_key=exact, score_keys=keys)

    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return all tasks; there is one split."""
        if split is not None:
            raise ValueError(f"There is no split {split!r}; there is one, None.")
        return self._tasks

    def reset(self, task: Task) -> Observation:
        """Start at the beginning of the path."""
        if task not in self._tasks:
            raise ValueError(f"Task {task.id!r} is not one of this world: choose one of tasks().")
        return self.restore((task.data, 0, 0))

    def step(self, action: str) -> StepResult:
        """Take an action, `"0"` to `"7"`; anything else leaves the state as it is."""
        if self._now is None or self._has_ended(self._now):
            raise RuntimeError("The episode has ended or never began: call reset() or restore() first.")
        task, state, num_steps = self._now
        is_action = action in _ACTIONS
        reached = int(self.moves[task, state, _ACTIONS[action]]) if is_action else state
        observation = self.restore((task, reached, num_steps + 1))
        success = reached == self.num_states - 1
        return StepResult(observation, float(success), success, not success and self._has_ended(self._now), success)

    def _has_ended(self, snapshot: Snapshot) -> bool:
        return snapshot[1] == self.num_states - 1 or snapshot[2] == self.world.max_steps

    def snapshot(self) -> Snapshot | None:
        """Return task, state and time."""
        return self._now

    def restore(self, snapshot: Snapshot) -> Observation:
        """Go back to a snapshot."""
        self._now = snapshot
        return self._shown[snapshot[0]][snapshot[1]]


_ACTIONS = {str(i): i for i in range(NUM_ACTIONS)}


def _row(world: World, state: int) -> int:
    """Return the number of what is shown in a state."""
    place, astray = divmod(state, 1 + NUM_ASTRAY)
    return place * (1 + NUM_ASTRAY) + min(astray, 1) if world.is_aliased else state


def _moves(world: World, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return where each action leads from each state, in a random order everywhere."""
    width = 1 + NUM_ASTRAY
    moves = []
    for here in range(0, world.depth * width, width):
        moves.append([here + width, here, here, here, *range(here + 1, here + width)])
        for astray in range(here + 1, here + width):
            is_dead_end = world.has_dead_ends and astray == here + 1
            back = [here, *[astray] * 6, max(here - width, 0)]
            moves.append([astray] * NUM_ACTIONS if is_dead_end else back)
    moves.append([world.depth * width] * NUM_ACTIONS)
    return rng.permuted(np.array(moves), axis=1)


class TablePolicy:
    """A softmax over actions for each thing shown.

    Args:
        env: Whose tasks it plays.
        seed: Of its beginning and of its choices.
        learning_rate: Of plain ascent.
    """

    def __init__(self, env: TabularEnv, seed: int, learning_rate: float) -> None:
        self._env = env
        self._learning_rate = learning_rate
        self._rng = np.random.default_rng(seed)
        self._where = {x.text: (i, int(env.rows[s])) for i, row in enumerate(env._shown) for s, x in enumerate(row)}
        self.logits = self._rng.normal(0, 0.5, (env.world.num_tasks, env.num_states, NUM_ACTIONS))
        width = 1 + NUM_ASTRAY
        for state in range(env.num_states - 1):
            place, astray = divmod(state, width)
            if not (env.world.is_aliased and astray):
                good = place * width if astray else (place + 1) * width
                self.logits[:, state] += env.world.prior * (env.moves[:, state] == good)

    def sample(self, text: str, count: int) -> list[str]:
        """Return so many actions, independent of each other."""
        cumulated = np.cumsum(_softmax(self.logits[self._where[text]]))
        chosen = np.searchsorted(cumulated, self._rng.random(count) * cumulated[-1], side="right")
        return [str(action) for action in chosen]

    def update(self, samples: Sequence[tuple[str, str, float]]) -> None:
        """Ascend the sum of advantage · log-probability over samples of text, action and advantage."""
        gradient = np.zeros_like(self.logits)
        for text, action, advantage in samples:
            where = self._where[text]
            gradient[where] -= advantage * _softmax(self.logits[where])
            gradient[where][int(action)] += advantage
        self.logits += self._learning_rate * gradient

    def success_rate(self) -> float:
        """Return the probability of success, exactly: over all tasks, by the distribution of states step by step."""
        env = self._env
        num_tasks, num_states = env.moves.shape[:2]
        probabilities = _softmax(self.logits[:, env.rows])
        transitions = np.zeros((num_tasks, num_states, num_states))
        tasks, states, _ = np.indices(env.moves.shape)
        np.add.at(transitions, (tasks, states, env.moves), probabilities)
        places = np.zeros((num_tasks, 1, num_states))
        places[:, 0, 0] = 1.0
        for _ in range(env.world.max_steps):
            places = places @ transitions
        return float(places[:, 0, -1].mean())


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    shares: NDArray[np.float64] = weights / weights.sum(-1, keepdims=True)
    return shares
