"""Evaluation on a panel, by an agent whose results are known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.evaluation import EpisodeResult, evaluate_policy, panel_hash, play_panel, summarize, wilson_interval
from trl_3spo.evaluation.panel import answering


def always(action):
    return lambda prompts: [action] * len(prompts)


def walk(prompts):
    """Go to the named door and open it."""
    answers = []
    for (message,) in prompts:
        present = message["content"].splitlines()[-2]
        door = "left" if "left door" in present else "right"
        at_door = "place 1 of" in present if door == "left" else "place 5 of 5" in present
        answers.append("open" if at_door else door)
    return answers


def test_a_perfect_agent():
    env = CorridorEnv(length=5, max_steps=6)
    tasks = [*env.tasks("train"), *env.tasks("test")]
    result = evaluate_policy(walk, env, tasks, batch_size=3)
    assert result.success.rate == 1.0
    # From places 2, 3, 4 it takes 1, 2, 3 steps to the left door, 3, 2, 1 to the right one, and one to open it.
    assert result.mean_steps == pytest.approx(3.0)
    assert result.inadmissible_share == 0.0
    assert set(result.success_by_kind) == {"left", "right"}
    assert result.panel == panel_hash(task.id for task in tasks)


def test_an_agent_that_stands_still():
    env = CorridorEnv(length=5, max_steps=6)
    result = evaluate_policy(always("dance"), env, env.tasks())
    assert result.success.rate == 0.0
    assert result.mean_steps == 6
    assert result.inadmissible_share == 1.0


def test_results_keep_the_order_of_the_tasks_and_repetitions_count():
    env = CorridorEnv(length=5, max_steps=6)
    tasks = [*env.tasks(), *env.tasks()]
    results = play_panel(answering(walk, env), env, tasks, batch_size=2)
    assert [result.task for result in results] == [task.id for task in tasks]


def test_tasks_take_turns_until_the_episodes_are_played():
    env = CorridorEnv(length=5, max_steps=6)
    tasks = env.tasks()[:3]
    once, twice = (evaluate_policy(walk, env, tasks, num_episodes=n) for n in (None, 6))
    assert (once.success.num_episodes, twice.success.num_episodes) == (3, 6)
    assert {kind: 2 * x.num_episodes for kind, x in once.success_by_kind.items()} == {
        kind: x.num_episodes for kind, x in twice.success_by_kind.items()
    }
    assert once.panel == twice.panel == panel_hash(task.id for task in tasks)
    assert evaluate_policy(walk, env, tasks, num_episodes=2).panel == panel_hash(task.id for task in tasks[:2])
    assert evaluate_policy(walk, env, tasks, num_episodes=4).success.num_episodes == 4


@pytest.mark.parametrize(("num_tasks", "num_episodes"), [(0, None), (0, 3), (2, 0)])
def test_nothing_to_play_is_refused(num_tasks, num_episodes):
    env = CorridorEnv()
    with pytest.raises(ValueError, match=f"{num_tasks} tasks and {num_episodes or 0} episodes"):
        evaluate_policy(walk, env, env.tasks()[:num_tasks], num_episodes=num_episodes)


def test_wilson_worked():
    # 8 of 10: centre (0.8 + 0.19207) / 1.38415 = 0.71674, half width 0.22643
    interval = wilson_interval([True] * 8 + [False] * 2)
    assert (interval.rate, interval.num_episodes) == (0.8, 10)
    assert (interval.low, interval.high) == (pytest.approx(0.49016, abs=1e-4), pytest.approx(0.94332, abs=1e-4))


@given(st.lists(st.booleans(), min_size=1))
def test_intervals_hold_the_rate_and_stay_in_the_unit_interval(successes):
    interval = wilson_interval(successes)
    assert 0 <= interval.low <= interval.rate + 1e-12
    assert interval.rate - 1e-12 <= interval.high <= 1


def test_panels_are_named_by_tasks_and_order():
    assert panel_hash(["a", "b"]) == panel_hash(["a", "b"]) != panel_hash(["b", "a"])
    assert panel_hash(["ab"]) != panel_hash(["a", "b"])


def test_an_empty_panel_is_refused():
    with pytest.raises(ValueError, match="at least one task"):
        summarize([])


def test_results_are_plain_data():
    result = summarize([EpisodeResult("a", "kind", True, 3, 1)])
    assert result.to_dict()["success_by_kind"]["kind"]["rate"] == 1.0
    assert result.inadmissible_share == pytest.approx(1 / 3)
