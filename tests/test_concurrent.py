"""A slow environment in several instances gives what one would, at once."""

import random
import threading
import time

import pytest

from trl_3spo.environments.base import Environment
from trl_3spo.environments.concurrent import ConcurrentEnvironment
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.environments.guarded import GuardedEnvironment
from trl_3spo.testing import check_environment


class Waiting(CorridorEnv):
    """A corridor that waits for something at every step, and counts how many wait together."""

    together = most = 0
    lock = threading.Lock()

    def step(self, action):
        with self.lock:
            Waiting.together += 1
            Waiting.most = max(Waiting.most, Waiting.together)
        time.sleep(0.01)
        with self.lock:
            Waiting.together -= 1
        return super().step(action)


def moves_of(env, num_moves, rng):
    moves = []
    for _ in range(num_moves):
        env.reset(rng.choice(env.tasks()))
        moves.append((env.snapshot(), rng.choice(["left", "right", "open"])))
    return moves


def test_actions_are_taken_at_once_and_in_order():
    with ConcurrentEnvironment(lambda: Waiting(length=5), 8) as env:
        moves = moves_of(env, 40, random.Random(0))
        assert env.step_each(moves) == Environment.step_each(CorridorEnv(length=5), moves)
    assert Waiting.most > 4
    assert Waiting.together == 0


def test_it_is_an_environment():
    with ConcurrentEnvironment(lambda: CorridorEnv(length=4), 3) as env:
        check_environment(env)


def test_a_guard_takes_its_batches():
    Waiting.most = 0
    with GuardedEnvironment(ConcurrentEnvironment(lambda: Waiting(length=5), 8)) as guard:
        moves = moves_of(guard, 16, random.Random(1))
        results = [result for result, _ in guard.step_each(moves)]
    expected = Environment.step_each(CorridorEnv(length=5), [(way.snapshot, action) for way, action in moves])
    assert results == [result for result, _ in expected]
    assert Waiting.most > 4


class Numbered(CorridorEnv):
    """Its snapshots are numbers of its own."""

    def __init__(self):
        super().__init__(length=4)
        self._known = []

    def snapshot(self):
        self._known.append(super().snapshot())
        return len(self._known) - 1

    def restore(self, snapshot):
        return super().restore(self._known[snapshot])


def test_snapshots_of_one_instance_alone_are_refused():
    with (
        ConcurrentEnvironment(Numbered, 2) as env,
        pytest.raises(ValueError, match="needs snapshots that are values"),
    ):
        env.reset(env.tasks()[0])


def test_errors_of_an_instance_are_passed_on():
    class Breaking(CorridorEnv):
        def step(self, action):
            raise OSError("the floor gave way")

    with ConcurrentEnvironment(Breaking, 2) as env:
        moves = moves_of(env, 2, random.Random(0))
        with pytest.raises(OSError, match="the floor gave way"):
            env.step_each(moves)
    with pytest.raises(ValueError, match="num_instances=0"):
        ConcurrentEnvironment(CorridorEnv, 0)
