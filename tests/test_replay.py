import threading

import pytest

from trl_3spo.environments.adapters.replay import ReplayDriftError, ReplayEnvironment
from trl_3spo.environments.base import Environment, Observation, StepResult, Task
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.environments.deadline import StepTimeoutError, time_limit
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


def waiting_corridors(number):
    """Return what makes corridors that wait with their first step until so many do the same."""
    together = threading.Barrier(number, timeout=20)

    class Waiting(OneWayCorridor):
        has_waited = False

        def step(self, action):
            if not self.has_waited:
                self.has_waited = True
                together.wait()
            return super().step(action)

    return Waiting


def test_several_worlds_play_at_once(task):
    """Played one after the other, the first would wait in vain."""
    env = ReplayEnvironment(waiting_corridors(4), num_worlds=4)
    env.reset(task)
    start = env.snapshot()
    reached = env.step_each([(start, "left"), (start, "right"), (start, "left"), (start, "right")])
    assert [result.observation.state_key for result, _ in reached] == [("left", 3, 7), ("left", 5, 7)] * 2


@pytest.mark.parametrize("num_worlds", [2, 3])
def test_several_worlds_keep_the_contract(num_worlds):
    report = check_environment(ReplayEnvironment(OneWayCorridor, num_worlds=num_worlds))
    assert report.num_ends > 0


def test_each_world_goes_on_from_where_it_is(task):
    made, corridor = [], waiting_corridors(2)

    def make():
        made.append(corridor())
        return made[-1]

    env = ReplayEnvironment(make, num_worlds=2)
    env.reset(task)
    start = env.snapshot()
    first = env.step_each([(start, "left"), (start, "right")])
    for world in made:
        world.calls.clear()
        world.has_waited = False
    env.step_each([(snapshot, "left") for _, snapshot in first])
    assert [world.calls.count("reset") for world in made] == [0, 0]


def test_what_a_world_raises_is_raised_and_the_others_stop(task):
    class Fragile(OneWayCorridor):
        def step(self, action):
            if action == "break":
                raise OSError("connection lost")
            return super().step(action)

    env = ReplayEnvironment(Fragile, num_worlds=2)
    env.reset(task)
    start = env.snapshot()
    with pytest.raises(OSError, match="connection lost"):
        env.step_each([(start, "break"), *[(start, "left")] * 20])
    reached = env.step_each([(start, "left"), (start, "left")])
    assert {result.observation.state_key for result, _ in reached} == {("left", 3, 7)}


def test_a_world_that_hangs_is_replaced(task):
    made = []

    class Hanging(OneWayCorridor):
        def __init__(self):
            super().__init__()
            made.append(self)

        def step(self, action):
            if action == "hang":
                threading.Event().wait(5)
            return super().step(action)

    env = ReplayEnvironment(Hanging, num_worlds=2)
    env.reset(task)
    start = env.snapshot()
    with pytest.raises(StepTimeoutError), time_limit(0.3):
        env.step_each([(start, "hang"), (start, "left")])
    assert len(made) == 3
    assert env.restore(start).state_key == start.observation.state_key


class SavingCorridor(OneWayCorridor):
    """Can say where it is and go there."""

    def save(self):
        self.calls.append("save")
        return self._corridor.snapshot()

    def load(self, saved):
        self.calls.append("load")
        self._corridor.restore(saved)


def test_a_world_that_saves_its_state_is_not_replayed(task):
    world = SavingCorridor()
    env = ReplayEnvironment(world)
    env.reset(task)
    env.step("left")
    middle = env.snapshot()
    env.step("left")
    world.calls.clear()
    env.restore(middle)
    assert world.calls == ["load"]
    assert env.step("left").observation.state_key == ("left", 2, 7)
    check_environment(ReplayEnvironment(SavingCorridor, num_worlds=2))


def test_several_worlds_have_to_be_made():
    with pytest.raises(ValueError, match="num_worlds=2: at least 1 is required, and for several a callable"):
        ReplayEnvironment(OneWayCorridor(), num_worlds=2)
    with pytest.raises(ValueError, match="num_worlds=0"):
        ReplayEnvironment(OneWayCorridor, num_worlds=0)


class Library:
    """A book that says where the key is: reading changes nothing."""

    reward_range = (0.0, 2.0)
    system_prompt = "You are in a library."

    def tasks(self, split=None):
        if split:
            raise ValueError(split)
        return [Task("library")]

    def reset(self, task):
        if task.id != "library":
            raise ValueError(task.id)
        self.is_over = False
        return Observation("A book.", "library")

    def step(self, action):
        if self.is_over:
            raise RuntimeError
        if action == "take the key":
            self.is_over = True
            return StepResult.ended(Observation("Found.", "found"), success=True, reward=2.0)
        return StepResult.going_on(Observation("Under the mat." if action == "read" else "A book.", "library"))


def test_score_keys_that_are_left_out_hold_the_time_the_text_and_how_much_was_told():
    env = ReplayEnvironment(Library)
    start = env.reset(env.tasks()[0])
    read = env.step("read").observation
    assert read.state_key == start.state_key == "library"
    assert start.score_keys[0] == ("library", 0)
    assert start.score_keys[-1] == (0,)
    assert start.score_keys[2] == (("", 0), 0)
    assert read.score_keys[2] == (("", 1), 1)
    assert check_environment(env, actions=["read", "take the key"]).remarks == ()


def test_what_was_told_belongs_to_the_state_where_actions_only_reveal():
    env = ReplayEnvironment(Library, reveals=True)
    start = env.reset(env.tasks()[0])
    assert env.step("sing").observation.state_key == start.state_key, "the same is shown again"
    read = env.step("read").observation
    assert read.state_key != start.state_key
    assert env.step("sing").observation.state_key != start.state_key
    moment = env.snapshot()
    env.reset(env.tasks()[0])
    assert env.restore(moment) == moment.observation
    check_environment(env, actions=["read", "take the key", "sing"])


def test_score_keys_of_ones_own_are_added_to():
    env = ReplayEnvironment(Library, score_keys=lambda observation: [observation.text])
    env.reset(env.tasks()[0])
    assert env.step("read").observation.score_keys == (("library", 1), ("Under the mat.", 1), (1,))


def test_settings_of_the_world_are_the_environments():
    env = ReplayEnvironment(Library)
    assert env.reward_range == (0.0, 2.0)
    assert env.prompt(env.tasks()[0], env.reset(env.tasks()[0]), [])[0]["content"] == "You are in a library."
