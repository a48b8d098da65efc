import threading

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from trl_3spo.algorithm.objective import Objective
from trl_3spo.environments.adapters.gymnasium import GymnasiumEnvironment
from trl_3spo.environments.adapters.replay import ReplayEnvironment
from trl_3spo.environments.adapters.seeded_tasks import seeded_tasks
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
    assert report.remarks == ()


@pytest.mark.parametrize("world", [Ladder, TypedLadder], ids=["discrete", "text"])
def test_actions_go_by_their_names_and_the_end_is_passed_on(world):
    task = Task("on three", data={"options": {"rung": 3}})
    env = GymnasiumEnvironment(world, splits={"train": [task]}, action_names=WORDS, success_reward=1.0)
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


def test_score_keys_hold_the_time_and_know_a_text_in_every_task():
    env = ladder()
    first, *others = (task for task in env.tasks() if env.reset(task).text == "You stand on rung 2.")
    shown, elsewhere = env.reset(first), env.reset(others[0])
    assert shown.score_keys[0] == (shown.state_key, 0) != elsewhere.score_keys[0]
    assert shown.score_keys[1:] == elsewhere.score_keys[1:]
    again = env.step("jump").observation
    assert again.state_key == elsewhere.state_key
    assert set(again.score_keys).isdisjoint(elsewhere.score_keys)


def test_score_keys_of_ones_own_get_the_exact_state_and_the_time():
    env = ladder(score_keys=lambda world: [("rung", world.rung > 2), "anywhere"])
    shown = env.reset(next(task for task in env.tasks() if env.reset(task).text == "You stand on rung 2."))
    assert shown.score_keys == ((shown.state_key, 0), (("rung", False), 0), ("anywhere", 0), (0,))


class Riddle(gymnasium.Env):
    """A hidden number, 0 or 1, that a question reveals. Asking changes nothing in the world."""

    observation_space = spaces.Text(100)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number = int(self.np_random.integers(2))
        return "Which number is it?", {}

    def step(self, action):
        if action == 2:
            return f"It is {self.number}.", 0.0, False, False, {}
        return "Over.", float(action == self.number), True, False, {}


def riddle(**arguments):
    names = ("zero", "one", "ask")
    return GymnasiumEnvironment(
        Riddle, action_names=names, success_reward=1.0, state_key=lambda world: world.number, **arguments
    )


def test_what_has_been_told_can_belong_to_the_state():
    env = riddle(reveals=True)
    start = env.reset(env.tasks()[0])
    asked = env.step("ask").observation
    assert asked.state_key != start.state_key
    assert env.step("ask").observation.state_key == asked.state_key, "being told twice is being told once"
    assert env.step("sing").observation.state_key == asked.state_key
    check_environment(env)
    plain = riddle()
    assert plain.reset(plain.tasks()[0]).state_key == plain.step("ask").observation.state_key


def test_score_keys_say_how_much_has_been_told_in_any_case():
    env = riddle()
    env.reset(env.tasks()[0])
    asked = env.step("ask").observation
    env.reset(env.tasks()[0])
    silent = env.step("sing").observation
    assert asked.score_keys[2] != silent.score_keys[2]


class Slippery(Ladder):
    """Half of all steps lead the other way."""

    def step(self, action):
        return super().step(action if self.np_random.random() < 0.5 else 3 - action)


def test_a_snapshot_holds_the_luck_and_states_of_different_luck_are_different():
    blind = GymnasiumEnvironment(Slippery, action_names=WORDS, success_reward=1.0)
    with pytest.raises(EnvironmentContractError, match="has other consequences"):
        check_environment(blind, tasks=20)
    env = GymnasiumEnvironment(Slippery, action_names=WORDS, success_reward=1.0, is_stochastic=True)
    report = check_environment(env, tasks=20)
    assert report.num_ends > 0
    assert check_environment(ReplayEnvironment(env), tasks=20).num_ends > 0
    env.reset(env.tasks()[0])
    moment = env.snapshot()
    reached = [(env.restore(moment), env.step("higher").observation.text)[1] for _ in range(8)]
    assert len(set(reached)) == 1
    luck = {(env.reset(task), env.step("higher").observation.text)[1] for task in env.tasks()[:20]}
    assert len(luck) > 1, "and other tasks have other luck"


def test_a_task_without_a_seed_gets_one():
    tasks = [Task(f"game {number}") for number in range(20)]
    env = GymnasiumEnvironment(Ladder, splits={"train": tasks}, action_names=WORDS)
    texts = [env.reset(task).text for task in tasks]
    assert [env.reset(task).text for task in tasks] == texts
    assert len(set(texts)) == 3


def test_keys_may_be_numbers_of_numpy():
    env = ladder(state_key=lambda world: np.int64(world.rung), score_keys=lambda world: np.array([world.rung, 7]))
    shown = env.reset(env.tasks()[0])
    assert isinstance(shown.state_key[1], int)
    check_environment(env)


def test_rewards_are_declared_for_training_on_them():
    env = ladder(reward_range=(-2.0, 5.0))
    assert env.reward_range == (-2.0, 5.0)
    assert Objective.of("reward", ReplayEnvironment(env)).reward_range == (-2.0, 5.0)


def test_random_numbers_that_change_nothing_are_in_no_key():
    class Wasteful(Ladder):
        def step(self, action):
            self.np_random.random()
            return super().step(action)

    env = GymnasiumEnvironment(Wasteful, action_names=WORDS)
    start = env.reset(next(task for task in env.tasks() if env.reset(task).text == "You stand on rung 2."))
    env.step("higher")
    assert env.step("lower").observation.state_key == start.state_key
