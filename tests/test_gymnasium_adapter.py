import threading

import gymnasium
import pytest
from gymnasium import spaces

from trl_3spo.environments.adapters.gymnasium import GymnasiumEnvironment, seeded_tasks
from trl_3spo.environments.adapters.replay import ReplayEnvironment
from trl_3spo.environments.base import Task
from trl_3spo.testing import EnvironmentContractError, check_environment

WORDS = ("lower", "higher")


class Ladder(gymnasium.Env):
    """Climb from a seeded rung to the top one of five; the bottom one ends it badly."""

    observation_space = spaces.Text(100)
    action_space = spaces.Discrete(2, start=1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.rung = (options or {}).get("rung") or int(self.np_random.integers(1, 4))
        return self.show(), {}

    def step(self, action):
        self.rung += 1 if action == 2 else -1
        return self.show(), float(self.rung == 4), self.rung in (0, 4), False, {}

    def show(self):
        return f"You stand on rung {self.rung}."


class TypedLadder(Ladder):
    """The same with typed words, a mapping for observations, and news in `info`."""

    action_space = spaces.Text(6, charset="abcdefghijklmnopqrstuvwxyz")

    def reset(self, **arguments):
        shown, _ = super().reset(**arguments)
        return {"text": shown, "rung": self.rung}, {"admissible_actions": WORDS}

    def step(self, action):
        shown, *others, _ = super().step(1 + WORDS.index(action))
        return {"text": shown}, *others, {"admissible_actions": list(WORDS), "success": self.rung == 4}


def ladder(**arguments):
    return GymnasiumEnvironment(Ladder, action_names=WORDS, success_reward=1.0, **arguments)


@pytest.mark.parametrize(
    "env",
    [
        ladder(),
        GymnasiumEnvironment(TypedLadder()),
        ReplayEnvironment(ladder()),
        GymnasiumEnvironment(gymnasium.wrappers.TimeLimit(TypedLadder(), 4)),
    ],
    ids=["discrete", "text", "replay", "wrapped"],
)
def test_keeps_the_contract(env):
    report = check_environment(env, tasks=10)
    assert report.num_ends > 0
    assert report.num_successes > 0


@pytest.mark.parametrize("env", [ladder(), GymnasiumEnvironment(TypedLadder)], ids=["discrete", "text"])
def test_actions_go_by_their_names_and_the_end_is_passed_on(env):
    task = Task("on three", data={"options": {"rung": 3}})
    env = type(env)(env._world, splits={"train": [task]}, action_names=WORDS, success_reward=1.0)
    assert env.reset(task).admissible_actions == WORDS
    start = env.snapshot()
    won = env.step("higher")
    assert (won.observation.text, won.reward, won.terminated, won.success) == ("You stand on rung 4.", 1.0, True, True)
    env.restore(start)
    lost = [env.step("lower") for _ in range(3)][-1]
    assert (lost.observation.text, lost.terminated, lost.success) == ("You stand on rung 0.", True, False)


def test_without_a_measure_of_success_nothing_is_one():
    env = GymnasiumEnvironment(Ladder, action_names=WORDS)
    assert check_environment(env, tasks=10).num_successes == 0


def test_the_limit_of_steps_counts_actions_that_mean_nothing():
    env = ladder(max_steps=2)
    env.reset(env.tasks()[0])
    assert not env.step("jump").is_final
    assert env.step("jump").truncated


def test_a_limit_of_the_environments_own_is_passed_on():
    env = GymnasiumEnvironment(gymnasium.wrappers.TimeLimit(Ladder(), 1), action_names=WORDS)
    env.reset(next(task for task in env.tasks() if env.reset(task).text == "You stand on rung 2."))
    assert env.step("higher").truncated


def test_a_free_text_space_takes_what_it_contains():
    class Echo(TypedLadder):
        def reset(self, **arguments):
            return super().reset(**arguments)[0], {}

        def step(self, action):
            return {"text": action}, 0.0, False, False, {}

    env = GymnasiumEnvironment(Echo)
    start = env.reset(env.tasks()[0])
    assert start.admissible_actions == ()
    assert env.step("up").observation.text == "up"
    assert env.step("UP!").observation.text == "up"


def test_states_that_look_alike_need_a_key():
    class Hidden(Ladder):
        def show(self):
            return "It is dark."

    blind = GymnasiumEnvironment(Hidden, action_names=WORDS)
    with pytest.raises(EnvironmentContractError, match="has other consequences"):
        check_environment(blind, tasks=10)
    check_environment(GymnasiumEnvironment(Hidden, action_names=WORDS, state_key=lambda world: world.rung), tasks=10)


def test_what_cannot_be_copied_is_sent_to_the_replay():
    class Connected(Ladder):
        lock = None

        def reset(self, **arguments):
            self.lock = threading.Lock()
            return super().reset(**arguments)

    env = GymnasiumEnvironment(Connected, action_names=WORDS, success_reward=1.0)
    env.reset(env.tasks()[0])
    with pytest.raises(TypeError, match=r"Connected cannot be copied .*ReplayEnvironment"):
        env.snapshot()
    check_environment(ReplayEnvironment(env))


def test_tasks_are_seeds():
    assert [task.data for task in seeded_tasks(3, 5)] == [{"seed": 3}, {"seed": 4}]
    env = ladder()
    assert (len(env.tasks()), len(env.tasks("test"))) == (100, 100)
    assert len({env.reset(task).text for task in env.tasks()}) == 3
    env.close()


@pytest.mark.parametrize(
    ("wrong", "error", "sentence"),
    [
        (lambda: GymnasiumEnvironment(Ladder), ValueError, "action_names is .*2 different names"),
        (lambda: GymnasiumEnvironment(Ladder, action_names=("up", "up")), ValueError, "2 different names"),
        (lambda: ladder(max_steps=0), ValueError, "max_steps=0"),
        (lambda: ladder(splits={"train": []}), ValueError, "no tasks"),
        (lambda: ladder().tasks("dev"), ValueError, "no split 'dev': choose one of train, test"),
        (lambda: ladder().reset(Task("seed 1000")), ValueError, "'seed 1000' is not one of"),
        (lambda: ladder().step("higher"), RuntimeError, "never began"),
    ],
)
def test_bad_input_is_named(wrong, error, sentence):
    with pytest.raises(error, match=sentence):
        wrong()


def test_other_spaces_and_other_observations_are_refused():
    class Analog(Ladder):
        action_space = spaces.Box(0, 1)

    class Numeric(Ladder):
        def show(self):
            return {"rung": self.rung}

    with pytest.raises(ValueError, match=r"action space is Box.*Text or a Discrete"):
        GymnasiumEnvironment(Analog)
    env = GymnasiumEnvironment(Numeric, action_names=WORDS)
    with pytest.raises(TypeError, match=r"has no text: .*'text'.*text_field"):
        env.reset(env.tasks()[0])
