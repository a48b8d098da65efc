import pytest

from trl_3spo.environments.adapters.replay import ReplayDriftError, ReplayEnvironment
from trl_3spo.environments.base import Environment
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.testing import check_environment


class OneWayCorridor:
    """A corridor that only goes forward, and counts what is asked of it."""

    def __init__(self):
        self._corridor = CorridorEnv()
        self.calls = []

    def tasks(self, split=None):
        return self._corridor.tasks(split)

    def reset(self, task):
        self.calls.append("reset")
        return self._corridor.reset(task)

    def step(self, action):
        self.calls.append(action)
        return self._corridor.step(action)


class DriftingCorridor(OneWayCorridor):
    """Turns every `left` around once it has been reset often enough."""

    def step(self, action):
        turned = action == "left" and self.calls.count("reset") > 1
        return super().step("right" if turned else action)


@pytest.fixture
def task():
    return next(task for task in CorridorEnv().tasks() if task.id == "left door from 4")


@pytest.mark.parametrize("make", [OneWayCorridor, CorridorEnv])
def test_keeps_the_contract(make):
    assert check_environment(ReplayEnvironment(make)).num_ends > 0


def test_takes_an_instance_as_well_as_a_callable(task):
    world = OneWayCorridor()
    assert ReplayEnvironment(world).reset(task) == ReplayEnvironment(lambda: world).reset(task)


def test_goes_on_from_where_the_world_is_and_starts_over_where_it_must(task):
    world = OneWayCorridor()
    env = ReplayEnvironment(world)
    env.reset(task)
    start = env.snapshot()
    env.step("left")
    middle = env.snapshot()
    env.step("left")
    end = env.snapshot()

    world.calls.clear()
    env.restore(end)
    assert world.calls == []
    env.restore(middle)
    assert world.calls == ["reset", "left"]
    env.restore(end)
    assert world.calls == ["reset", "left", "left"]
    env.restore(start)
    assert world.calls == ["reset", "left", "left", "reset"]


def test_a_drift_names_the_step_and_both_keys(task):
    env = ReplayEnvironment(DriftingCorridor)
    env.reset(task)
    for action in ["right", "left"]:
        env.step(action)
    drifted = env.snapshot()
    env.reset(task)
    sentence = r"drifted at step 2 \('left'\): expected the state key \('left', 4, 7\), found \('left', 6, 7\)"
    with pytest.raises(ReplayDriftError, match=sentence):
        env.restore(drifted)
    with pytest.raises(RuntimeError, match="never began"):
        env.step("left")
    assert env.reset(task).state_key == ("left", 4, 7)


def test_a_reset_that_drifts_is_caught():
    class Elsewhere(OneWayCorridor):
        def reset(self, task):
            return super().reset(self.tasks()[len(self.calls)])

    env = ReplayEnvironment(Elsewhere)
    env.reset(env.tasks()[0])
    start = env.snapshot()
    env.step("left")
    with pytest.raises(ReplayDriftError, match="drifted at the reset"):
        env.restore(start)


def test_an_episode_that_ends_elsewhere_is_a_drift(task):
    class Shorter(OneWayCorridor):
        def reset(self, task):
            self._corridor.max_steps = 3 - self.calls.count("reset")
            return super().reset(task)

    env = ReplayEnvironment(Shorter)
    env.reset(task)
    env.step("left")
    env.step("left")
    snapshot = env.snapshot()
    env.reset(task)
    with pytest.raises(ReplayDriftError, match=r"found \('left', 3, 7\) at the end of the episode"):
        env.restore(snapshot)


def test_a_world_that_raises_is_left_for_a_restore(task):
    class Fragile(OneWayCorridor):
        def step(self, action):
            result = super().step(action)
            if action == "break":
                raise OSError("connection lost")
            return result

    env = ReplayEnvironment(Fragile)
    env.reset(task)
    env.step("left")
    snapshot = env.snapshot()
    with pytest.raises(OSError, match="connection lost"):
        env.step("break")
    with pytest.raises(RuntimeError):
        env.step("left")
    assert env.restore(snapshot).state_key == ("left", 3, 7)


def test_the_worlds_own_prompt_parser_and_close_are_used_where_there_are_any(task):
    class Talking(OneWayCorridor):
        closed = False

        def prompt(self, task, observation, turns):
            return [{"role": "user", "content": f"{task.kind}?"}]

        def parse_action(self, completion):
            return completion.upper()

        def close(self):
            self.closed = True

    world = Talking()
    env = ReplayEnvironment(world)
    observation = env.reset(task)
    assert env.prompt(task, observation, ()) == [{"role": "user", "content": "left?"}]
    assert env.parse_action("a") == "A"
    env.close()
    assert world.closed

    plain = ReplayEnvironment(OneWayCorridor)
    assert plain.prompt(task, observation, ()) == Environment.prompt(plain, task, observation, ())
    assert plain.parse_action("<action>left</action>") == "left"
    plain.close()
