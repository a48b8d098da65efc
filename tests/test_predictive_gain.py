"""How well a history predicts, worked by hand."""

import math

import pytest

from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.predictive_gain import PredictiveGain, log_loss
from trl_3spo.algorithm.records import Episode, first_visit, next_visit
from trl_3spo.environments.corridor import CorridorEnv


def episode(*actions):
    env = CorridorEnv(length=3, max_steps=3)
    (task,) = [task for task in env.tasks() if task.kind == "right"]
    visit = first_visit(env, task)
    for action in actions:
        visit = next_visit(env, visit, action)
    assert visit.result.is_final
    return Episode(visit)


def test_log_loss_worked():
    assert log_loss(0.8, 1.0) == pytest.approx(-math.log(0.8))
    assert log_loss(0.8, 0.25) == pytest.approx(-0.25 * math.log(0.8) - 0.75 * math.log(0.2))
    assert log_loss(0.0, 1.0) == pytest.approx(-math.log(0.01))


def test_a_history_that_knows_nothing_gains_nothing():
    gain = PredictiveGain(StateHistory(), 1.0)
    assert gain.of([episode("right", "open")]) == {"all": 0.0, "1": 0.0, "2": 0.0}
    assert gain.of([]) == {}


def test_gains_are_those_over_the_base_rate():
    won, lost = episode("right", "open"), episode("left", "left", "left")
    history = StateHistory(backoff_strength=0.0)
    gain = PredictiveGain(history, 1.0)
    gain.of([won, lost])
    for seen in (won, lost):
        history.observe(seen.worths())
    # Base rate: 2 states of a success among 5. The first state has led to either, the second to success.
    first = log_loss(0.4, 1.0) - log_loss(0.5, 1.0)
    second = log_loss(3 / 6, 1.0) - log_loss(1.0, 1.0)
    assert gain.of([won])["1"] == pytest.approx((first + second) / 2)


def test_measuring_writes_nothing():
    history = StateHistory()
    PredictiveGain(history, 0.9).of([episode("right", "open")])
    assert (len(history), history.num_episodes) == (0, 0)
