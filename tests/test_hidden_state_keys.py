"""Keys from hidden states: the parts of the measurement, on a corridor."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from trl_3spo.algorithm.records import Episode, first_visit, next_visit
from trl_3spo.environments.corridor import CorridorEnv

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def measurement(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("hidden_state_keys")


def walk(*actions: str) -> Episode:
    env = CorridorEnv(length=3, max_steps=3)
    visit = first_visit(env, next(task for task in env.tasks() if task.kind == "right"))
    for action in actions:
        visit = next_visit(env, visit, action)
    return Episode(visit)


def test_states_far_apart_get_different_clusters(measurement, monkeypatch):
    monkeypatch.setattr(measurement, "NUM_CLUSTERS", (3,))
    states = np.random.default_rng(0).normal(0, 0.01, (60, 4)).astype(np.float32)
    states[:, 0] += np.arange(60) % 3 * 10
    keys = measurement.cluster_keys(states, 30)
    assert all(keys[i] == keys[i % 3] for i in range(60))
    assert len({keys[i][0] for i in range(3)}) == 3


def test_an_episode_keeps_all_but_its_keys(measurement):
    episode = walk("right", "open")
    changed = measurement.with_keys(episode, [("a", "end"), ("b", "end"), ("c", "end")])
    assert [x.observation.score_keys for x in changed.end.path()] == [("a", "end"), ("b", "end"), ("c", "end")]
    assert changed.end.actions() == episode.end.actions()
    assert (changed.success, changed.num_steps) == (episode.success, episode.num_steps)


def test_keys_that_tell_success_from_failure_gain_and_others_do_not(measurement):
    episodes = [walk("right", "open"), walk("left", "left", "left")] * 20
    assert {episode.success for episode in episodes} == {True, False}
    telling = [measurement.with_keys(x, [(x.success,)] * (x.num_steps + 1)) for x in episodes]
    silent = [measurement.with_keys(x, [("all",)] * (x.num_steps + 1)) for x in episodes]
    assert measurement.gains(telling)["all"] > 0.2
    assert abs(measurement.gains(silent)["all"]) < 0.2
