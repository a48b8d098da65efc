"""The clock of an episode: limit, end, snapshots, and the time in the score keys."""

import pickle

import pytest

from trl_3spo.environments.base import Observation, StepResult, Task
from trl_3spo.environments.limited import LimitedEnvironment, Snapshot
from trl_3spo.testing import check_environment


class Counting(LimitedEnvironment[int]):
    """Count to three."""

    def __init__(self, max_steps=5):
        super().__init__(max_steps)

    def tasks(self, split=None):
        if split is not None:
            raise ValueError(split)
        return [Task("three", data=3), Task("four", data=4)]

    def _begin(self, task):
        if task not in self.tasks():
            raise ValueError(task.id)
        return 0, self.observe(task, 0)

    def _act(self, now, action):
        if action not in now.observation.admissible_actions:
            return now.state, StepResult.going_on(now.observation)
        state = now.state + 1
        observation = self.observe(now.task, state)
        is_done = state == now.task.data
        return state, StepResult.ended(observation, success=True) if is_done else StepResult.going_on(observation)

    def observe(self, task, state):
        actions = (str(state + 1),) if state < task.data else ()
        return Observation(f"{state} of {task.id}", (task.id, state), actions)


@pytest.fixture
def env():
    env = Counting()
    env.reset(env.tasks()[0])
    return env


def test_keeps_the_contract(env):
    report = check_environment(env, tasks=2)
    assert report.num_successes == report.num_ends == 2


def test_an_episode_is_cut_off_at_the_limit_and_not_before(env):
    results = [env.step("jump") for _ in range(5)]
    assert [result.truncated for result in results] == [False] * 4 + [True]
    assert not any(result.terminated for result in results)
    with pytest.raises(RuntimeError, match=r"ended or never began: call reset\(\) or restore\(\) first"):
        env.step("1")


def test_an_end_of_the_task_itself_takes_precedence():
    env = Counting(max_steps=3)
    env.reset(env.tasks()[0])
    last = [env.step(action) for action in "123"][-1]
    assert (last.terminated, last.truncated, last.success) == (True, False, True)
    with pytest.raises(RuntimeError, match="ended"):
        env.step("4")


def test_snapshots_are_values(env):
    snapshot = env.snapshot()
    assert snapshot == Snapshot(Task("three"), 0, env.restore(snapshot), num_steps=0, is_final=False)
    assert len({snapshot, pickle.loads(pickle.dumps(snapshot))}) == 1
    expected = env.step("1")
    other = Counting()
    assert other.restore(snapshot) == snapshot.observation
    assert other.step("1") == expected
    assert other.snapshot() == env.snapshot() != snapshot


def test_before_the_first_reset_there_is_nothing():
    with pytest.raises(RuntimeError, match="No episode has begun"):
        Counting().snapshot()
    with pytest.raises(RuntimeError, match="never began"):
        Counting().step("1")


def test_a_failed_reset_leaves_the_episode_as_it_is(env):
    with pytest.raises(ValueError, match="five"):
        env.reset(Task("five"))
    assert env.step("1").observation.text == "1 of three"


def test_a_limit_below_one_is_refused():
    with pytest.raises(ValueError, match="max_steps=0: at least 1 is required"):
        Counting(max_steps=0)
