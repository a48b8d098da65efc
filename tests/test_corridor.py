import pytest

from trl_3spo.environments.base import Task
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.testing import check_environment


def success_rate(env, actions=()):
    """Exact chance of success of actions drawn evenly, from `actions` or from the admissible ones."""

    def chance(snapshot):
        total, choices = 0.0, actions or env.restore(snapshot).admissible_actions
        for action in choices:
            env.restore(snapshot)
            result = env.step(action)
            total += result.success if result.is_final else chance(env.snapshot())
        return total / len(choices)

    tasks = [*env.tasks("train"), *env.tasks("test")]
    rates = []
    for task in tasks:
        env.reset(task)
        rates.append(chance(env.snapshot()))
    return sum(rates) / len(rates)


def play(env, task, *actions):
    env.reset(task)
    return [env.step(action) for action in actions]


def task_named(env, name):
    return next(task for split in ("train", "test") for task in env.tasks(split) if task.id == name)


@pytest.mark.parametrize("length", [3, 4, 7])
def test_keeps_the_contract(length):
    report = check_environment(CorridorEnv(length), tasks=8)
    assert report.num_ends > 0
    assert report.num_revisits > 0


def test_steps_are_taken_from_many_snapshots():
    env = CorridorEnv()
    env.reset(task_named(env, "left door from 2"))
    start = env.snapshot()
    env.step("left")
    door = env.snapshot()
    reached = env.step_each([(door, "open"), (start, "right"), (door, "right"), (start, "left")])
    assert [result.success for result, _ in reached] == [True, False, False, False]
    assert [snapshot and snapshot.state.place for _, snapshot in reached] == [None, 3, 2, 1]
    assert env.restore(reached[1][1]) == reached[1][0].observation


def test_the_named_door_is_a_success():
    env = CorridorEnv()
    *others, last = play(env, task_named(env, "left door from 3"), "left", "left", "open")
    assert [result.observation.state_key for result in others] == [("left", 2, 7), ("left", 1, 7)]
    assert (last.reward, last.terminated, last.truncated, last.success) == (1.0, True, False, True)
    assert last.observation.text == "Open the left door. You are here: outside."
    with pytest.raises(RuntimeError, match="ended"):
        env.step("left")


def test_the_other_door_leads_into_the_cellar_and_only_a_restore_out_of_it():
    env = CorridorEnv(max_steps=50)
    task = task_named(env, "left door from 6")
    play(env, task, "right")
    at_the_door = env.snapshot()
    in_the_cellar = [env.step(action) for action in ["open", "right", "left", "open", "right"]]
    assert [result.observation.state_key[1] for result in in_the_cellar] == [
        "cellar 1",
        "cellar 2",
        "cellar 1",
        "cellar 1",
        "cellar 2",
    ]
    assert not any(result.is_final for result in in_the_cellar)
    assert env.restore(at_the_door).admissible_actions == ("left", "open")


def test_the_number_of_steps_is_limited_and_not_part_of_the_state():
    env = CorridorEnv(max_steps=2)
    first, second = play(env, task_named(env, "right door from 3"), "", "")
    assert first.observation.text == second.observation.text
    assert first.observation.state_key == second.observation.state_key
    assert (first.truncated, second.truncated) == (False, True)


def test_score_keys_back_off_to_the_place_at_any_time():
    env = CorridorEnv()
    task = task_named(env, "left door from 3")
    assert env.reset(task).score_keys == (("left", 3, 0), ("left", 3))
    assert env.step("dance").observation.score_keys == (("left", 3, 1), ("left", 3))


def test_chance_is_what_the_documentation_says():
    assert success_rate(CorridorEnv()) == pytest.approx(1 / 5, abs=0.02)
    assert success_rate(CorridorEnv(), ("left", "right", "open")) == pytest.approx(1 / 7, abs=0.01)


def test_splits_are_disjoint_complete_and_seeded():
    env = CorridorEnv()
    ids = [{task.id for task in env.tasks(split)} for split in ("train", "test")]
    assert [len(each) for each in ids] == [8, 2]
    assert not ids[0] & ids[1]
    assert env.tasks() == CorridorEnv(seed=0).tasks("train")
    assert env.tasks() != CorridorEnv(seed=1).tasks()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: CorridorEnv(length=2), "length=2"),
        (lambda: CorridorEnv(max_steps=0), "max_steps=0"),
        (lambda: CorridorEnv().tasks("dev"), "no split 'dev': choose one of train, test"),
        (lambda: CorridorEnv().reset(Task("nowhere")), "'nowhere' is not one of this corridor"),
    ],
)
def test_bad_input_is_named(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        wrong()


def test_a_step_before_the_first_reset_is_an_error():
    with pytest.raises(RuntimeError, match="never began"):
        CorridorEnv().step("left")
