"""Environments that fail in all the ways there are, for the tests of what is done about it."""

import os
import random
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace

from trl_3spo.algorithm.records import Sample
from trl_3spo.environments.corridor import CorridorEnv


def hang(how="sleep"):
    """Never return."""
    if how == "sleep":
        time.sleep(10_000)
    elif how == "loop":
        while True:
            try:
                sum(range(1000))
            except Exception:
                continue
    elif how == "lock":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    else:
        os.read(os.pipe()[0], 1)


def fail(*_):
    raise OSError("the floor gave way")


BREAKS = {
    "step raises": ("step", fail),
    "step returns None": ("step", lambda _: None),
    "step shows None": ("step", lambda x: replace(x, observation=replace(x.observation, text=None))),
    "step shows bytes": ("step", lambda x: replace(x, observation=replace(x.observation, text=b"here"))),
    "step shows no observation": ("step", lambda x: replace(x, observation="here")),
    "success is a string": ("step", lambda x: replace(x, success="no")),
    "terminated is None": ("step", lambda x: replace(x, terminated=None)),
    "reward is not a number": ("step", lambda x: replace(x, reward=float("nan"))),
    "reward is a string": ("step", lambda x: replace(x, reward="1")),
    "step hangs": ("step", lambda _: hang()),
    "reset raises": ("reset", fail),
    "reset returns None": ("reset", lambda _: None),
    "reset hangs": ("reset", lambda _: hang()),
    "restore raises": ("restore", fail),
    "snapshot raises": ("snapshot", fail),
}
"""For every kind of fault the method, and what happens to what it returns."""

MORE = {"step exits": ("step", lambda _: os.sys.exit(1)), "step_each raises": ("step_each", fail)}


class Breaking(CorridorEnv):
    """A corridor with a fault.

    Args:
        kind: One of BREAKS or of those below.
        times: How often the fault comes; None is for ever.
        in_task: Number of the only task that has it; None is all.
        at: The only action that has it.
        skip: Calls before the first fault.
    """

    def __init__(self, kind, *, times=1, in_task=None, at=None, skip=0):
        super().__init__()
        self.method, self.change = (BREAKS | MORE).get(kind, ("", None))
        self.kind, self.times, self.in_task, self.at, self.skip = kind, times, in_task, at, skip
        self.refused = None
        self.is_closed = False

    def step(self, action):
        is_due = self.at is None or action == self.at
        return self.broken("step", super().step(action), is_due)

    def reset(self, task):
        observation = super().reset(task)
        return fail() if task.id == self.refused else self.broken("reset", observation)

    def restore(self, snapshot):
        return self.broken("restore", super().restore(snapshot))

    def snapshot(self):
        return self.broken("snapshot", super().snapshot())

    def step_each(self, moves):
        steps = super().step_each(moves)
        if self.kind == "one result too few" and len(moves) > 1:
            return steps[:-1]
        if self.kind == "step_each raises":
            return fail() if any(x.task == self.tasks()[1] for x, _ in moves) else steps
        return steps

    def close(self):
        self.is_closed = True

    def broken(self, method, value, is_due=True):
        is_here = self.in_task is None or (self._now and self._now.task == self.tasks()[self.in_task])
        if method != self.method or not is_here or not is_due or self.times == 0:
            return value
        self.skip -= 1
        if self.skip >= 0:
            return value
        if self.times is not None:
            self.times -= 1
        return self.change(value)


@dataclass(frozen=True)
class SampleOf(Sample):
    """A sample that knows its task."""

    task: str = ""


class RandomPolicy:
    """Draws from the admissible actions."""

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def sample(self, visits, num_samples):
        pairs = zip(visits, num_samples, strict=True)
        return [[self.at(visit) for _ in range(count)] for visit, count in pairs]

    def at(self, visit):
        action = self.rng.choice(visit.observation.admissible_actions or ("look",))
        return SampleOf([], [], [0], action, task=visit.task.id)

    def phase(self):
        return nullcontext()
