"""Keys that know the expert's remaining steps."""

import pytest
from perfect_values import EXPERTS, Judged, table
from report import RESULTS
from small_alfworld import make_env as make_games
from small_webshop import make_env as make_shop

from trl_3spo.environments.base import Turn

MAKE = {"alfworld": make_games, "webshop": make_shop}


@pytest.mark.parametrize("name", EXPERTS)
def test_remaining_steps_are_those_that_the_expert_takes(name):
    env = Judged(MAKE[name](30, 1), EXPERTS[name])
    for task in env.tasks()[:3]:
        observation = env.reset(task)
        expert, turns, keys, snapshots = EXPERTS[name](observation, 0), [], [], []
        is_over = False
        while not is_over:
            keys.append(observation.score_keys)
            snapshots.append(env.snapshot())
            action = expert(observation, turns).action
            turns.append(Turn(observation.text, action))
            result = env.step(action)
            observation, is_over = result.observation, result.is_final
        assert result.success
        length = len(turns)
        assert keys == [(("remaining", length - time, time), ("time", time)) for time in range(length)]
        assert [env.restore(snapshot).score_keys for snapshot in reversed(snapshots)] == keys[::-1]


def test_a_step_that_does_nothing_leaves_as_much_to_do():
    env = Judged(make_shop(30, 1), EXPERTS["webshop"])
    (_, before, _), _ = env.reset(env.tasks()[0]).score_keys
    (_, after, time), _ = env.step("click[nothing of the kind]").observation.score_keys
    assert (after, time) == (before, 1)


def test_the_time_alone():
    env = Judged(make_games(1, 1), None)
    env.reset(env.tasks()[0])
    assert env.step("look").observation.score_keys == (("time", 1),)


def test_the_documentation_holds_the_table_of_the_committed_runs():
    text = (RESULTS.parents[1] / "docs" / "results.md").read_text(encoding="utf-8")
    assert table(RESULTS / "perfect_values") in text
