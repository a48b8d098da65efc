"""The tabular benchmark: its worlds, its exact success rate, and that it goes on where it was stopped."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from trl_3spo.algorithm.records import Episode, first_visit, next_visit
from trl_3spo.testing import check_environment

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
NAMES = ("reversible", "dead_ends", "long", "aliased")


@pytest.fixture
def worlds(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("tabular_worlds")


@pytest.fixture
def tabular(worlds):
    return importlib.import_module("tabular")


@pytest.mark.parametrize("name", NAMES)
def test_the_worlds_keep_the_contract(worlds, name):
    check_environment(worlds.TabularEnv(worlds.WORLDS[name], seed=3))


def test_ways_lead_where_the_world_says(worlds):
    world = worlds.WORLDS["dead_ends"]
    moves = worlds.TabularEnv(world, seed=0).moves[5]
    # The path's third state is 10, the states astray beside it 11 to 14; the path goes on at 15 and comes from 5.
    assert sorted(moves[10]) == [10, 10, 10, 11, 12, 13, 14, 15]
    assert sorted(moves[11]) == [11] * 8
    assert sorted(moves[12]) == [5, 10, *[12] * 6]
    assert sorted(moves[2]) == [0, 0, *[2] * 6]


def test_states_that_look_alike_are_told_apart_by_their_keys(worlds):
    env = worlds.TabularEnv(worlds.WORLDS["aliased"], seed=0)
    one, other = (env.restore((0, state, 1)) for state in (12, 13))
    assert one.text == other.text
    assert one.state_key != other.state_key
    assert one.score_keys == (one.state_key, one.text)
    by_text = worlds.TabularEnv(worlds.WORLDS["aliased"], seed=0, scores_by_text=True)
    assert by_text.restore((0, 12, 1)).score_keys == (one.text,)


def test_success_worked(worlds):
    """Two states to go through, each left by one action in eight and never left by a detour within two steps."""
    world = worlds.World(prior=0.0, depth=2, max_steps=2, num_tasks=3)
    policy = worlds.TablePolicy(worlds.TabularEnv(world, seed=0), seed=0, learning_rate=0.1)
    policy.logits[:] = 0.0
    assert policy.success_rate() == pytest.approx(1 / 64)


@pytest.mark.parametrize("name", NAMES)
def test_success_is_what_playing_gives(worlds, name):
    env = worlds.TabularEnv(worlds.WORLDS[name], seed=1)
    policy = worlds.TablePolicy(env, seed=1, learning_rate=0.1)
    # A policy that goes on often enough for a few hundred episodes to tell.
    on_path = np.arange(0, env.num_states - 1, 5)
    policy.logits[:, on_path] += 1.5 * (env.moves[:, on_path] == on_path[:, None] + 5)
    wins = sum(played(env, policy, task).success for task in env.tasks() * (480 // len(env.tasks())))
    assert 0.2 < policy.success_rate() < 0.95
    assert wins / 480 == pytest.approx(policy.success_rate(), abs=0.09)


def played(env, policy, task):
    visit = first_visit(env, task)
    while not visit.result.is_final:
        (action,) = policy.sample(visit.observation.text, 1)
        visit = next_visit(env, visit, action)
    return Episode(visit)


def test_an_update_ascends_the_log_probabilities(worlds):
    env = worlds.TabularEnv(worlds.WORLDS["reversible"], seed=0)
    policy = worlds.TablePolicy(env, seed=0, learning_rate=0.5)
    policy.logits[:] = 0.0
    policy.update([("task 2, place 7", "3", 1.0), ("task 2, place 7", "5", -1.0), ("task 0, place 0", "1", 0.0)])
    expected = np.zeros(8)
    expected[[3, 5]] = 0.5, -0.5
    assert policy.logits[2, 7] == pytest.approx(expected)
    assert np.count_nonzero(policy.logits) == 2


@pytest.mark.parametrize("method", ["3spo", "defaults", "published", "grpo", "gigpo", "steppo", "no_scores"])
def test_runs_are_repeatable_and_spend_their_budget(tabular, method):
    first, second = (tabular.play("aliased", method, 0.8, 2, 600) for _ in range(2))
    assert first == second
    assert 600 <= first["sampled_actions"] < 600 + 8 * 15
    assert first["curve"]["actions"][-1] == first["sampled_actions"]
    assert 0 < first["unique_states"] <= 16 * 31


def test_equal_seeds_begin_alike(tabular):
    begun = {
        tabular.play("long", method, 0.8, 4, 100)["curve"]["success"][0] for method in ("3spo", "published", "grpo")
    }
    assert len(begun) == 1


@pytest.mark.parametrize("method", ["3spo", "gigpo"])
def test_methods_learn(tabular, method):
    curve = tabular.play("reversible", method, 0.8, 0, 12_000)["curve"]
    assert curve["success"][0] < 0.1
    assert curve["success"][-1] > 0.5


def test_goes_on_where_it_was_stopped(tabular, tmp_path, monkeypatch):
    file = tmp_path / "runs.json"
    arguments = ["tabular.py", "--json", str(file), "--worlds", "reversible", "--methods", "3spo", "no_scores"]
    played = []
    play = tabular.play
    monkeypatch.setattr(tabular, "play", lambda *settings: (played.append(settings), play(*settings))[1])
    for seeds, budget in (("1", "200"), ("2", "200")):
        monkeypatch.setattr(sys, "argv", [*arguments, "--seeds", seeds, "--budget", budget])
        tabular.main()
    content = json.loads(file.read_text())
    assert [(run["method"], run["seed"]) for run in content["runs"]] == [
        ("3spo", 0),
        ("no_scores", 0),
        ("3spo", 1),
        ("no_scores", 1),
    ]
    assert len(played) == len(set(played)) == len(content["tuning"]) + 4
    best = max(tabular.RATES, key=lambda rate: sum(x["area"] for x in content["tuning"] if x["learning_rate"] == rate))
    assert {run["learning_rate"] for run in content["runs"]} == {best}
    monkeypatch.setattr(sys, "argv", [*arguments, "--budget", "300"])
    with pytest.raises(SystemExit, match=r"runs of 200 actions, not of 300; choose another file"):
        tabular.main()
