"""What states turned out to be worth, worked by hand and against the returns of the baselines."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_3spo.algorithm.credit import walk_outcomes
from trl_3spo.algorithm.records import Episode, first_visit, next_visit
from trl_3spo.baselines.estimators import gae
from trl_3spo.environments.corridor import CorridorEnv


def walk(env, task, actions):
    visit = first_visit(env, task)
    for action in actions:
        if not visit.result.is_final:
            visit = next_visit(env, visit, action)
    return visit


@pytest.fixture(scope="module")
def env():
    return CorridorEnv(length=4, max_steps=5)


@pytest.fixture(scope="module")
def won(env):
    (task,) = [task for task in env.tasks() if task.kind == "right"][:1]
    end = walk(env, task, ["right", "right", "open"])
    assert end.result.success
    return end


def value(visit):
    return 0.0 if visit.result.terminated else 0.1 * visit.depth


def test_worked(won):
    start, *_, last, end = won.path()
    outcomes = walk_outcomes([Episode(won)], value, discount=0.9, outcome_weight=0.5)
    assert outcomes[end] == 1.0
    # 0.5 · 0.2 + 0.5 · 0.9 · 1 at depth 2, then 0.5 · 0.1 + 0.45 · 0.55 and 0.45 of that
    assert outcomes[last] == pytest.approx(0.55)
    assert outcomes[start] == pytest.approx(0.45 * 0.2975)


def test_without_weight_nothing_but_the_end_is_known(won):
    outcomes = walk_outcomes([Episode(won)], value, discount=0.9, outcome_weight=0.0)
    assert [outcomes[visit] for visit in won.path()] == pytest.approx([0.0, 0.1, 0.2, 1.0])


def test_full_weight_is_what_became_of_the_walk(won):
    outcomes = walk_outcomes([Episode(won)], value, discount=0.9, outcome_weight=1.0)
    assert [outcomes[visit] for visit in won.path()] == pytest.approx([0.9**3, 0.9**2, 0.9, 1.0])


def test_visits_of_several_walks_are_worth_their_mean(env, won):
    lost = walk(env, won.task, ["right"])
    shared = won.path()[1]
    other = next_visit(env, shared, "left")
    outcomes = walk_outcomes([Episode(won), Episode(other)], value, discount=1.0, outcome_weight=1.0)
    assert outcomes[shared] == pytest.approx((1.0 + value(other)) / 2)
    assert lost not in outcomes


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.floats(0.1, 1), st.floats(0, 1))
def test_differences_to_the_values_are_generalized_advantages(won, values, discount, weight):
    """λ-returns minus values are GAE (arXiv 1506.02438), which is written down elsewhere."""
    known = dict(zip(won.path(), [*values[:3], 0.0], strict=True))
    outcomes = walk_outcomes([Episode(won)], known.__getitem__, discount=discount, outcome_weight=weight)
    # GAE's λ-return at s takes the first step always: G = r + γ · ((1 − λ) · V(s') + λ · G').
    path = won.path()
    # The estimator takes the end's reward as the value of the state after it.
    advantages = gae(np.zeros(3), [*values[:3], 1.0], discount=discount, gae_lambda=weight)
    for before, after, advantage in zip(path, path[1:], advantages, strict=False):
        assert discount * outcomes[after] - known[before] == pytest.approx(advantage, abs=1e-9)
