"""The equations, by worked numbers and by their properties."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_3spo.algorithm import scoring

rates = st.floats(0, 1)
sharpnesses = st.floats(0, 50)


def test_equation_1_worked():
    # λ(100) = 0.5 · ln 100 = 2.302585; S(0.25) = e^(−0.575646) = 0.562341
    sharpness = scoring.sharpness(100, base=0.0, annealing_rate=0.5)
    assert sharpness == pytest.approx(2.302585, abs=1e-6)
    assert scoring.state_score(0.25, sharpness) == pytest.approx(0.562341, abs=1e-6)


def test_sharpness_adds_its_base_and_begins_with_it():
    assert scoring.sharpness(0, base=2.0, annealing_rate=50.0) == 2.0
    assert scoring.sharpness(1, base=2.0, annealing_rate=50.0) == 2.0
    assert scoring.sharpness(round(math.e**3), 2.0, 0.5) == pytest.approx(3.5, abs=0.01)


def test_unseen_states_score_one_under_any_sharpness():
    assert scoring.state_score(0.0, 50 * math.log(400)) == 1.0


def test_equation_2_worked():
    # ω(10) = 0.5 · e^(−1) = 0.183940; R = 0.183940 + 0.316060 · (0.8 − 0.3) + 0.5 = 0.841970
    weight = scoring.novelty_weight(10, decay_rate=0.1)
    assert weight == pytest.approx(0.183940, abs=1e-6)
    reward = scoring.transition_reward(0.8, 0.3, is_novel=True, success=True, novelty_weight=weight)
    assert reward == pytest.approx(0.841970, abs=1e-6)


def test_success_can_be_left_to_the_score_difference():
    reward = scoring.transition_reward(0.9, 0.1, is_novel=False, success=True, novelty_weight=0.1, success_weight=0.0)
    assert reward == pytest.approx(0.4 * 0.8)


def test_corrections_worked():
    # S(0.5) with λ = 2 is e⁻¹; a state that turned out to be worth 0.75 scores e⁻¹ · (1 − 2 · 0.25)
    score = scoring.state_score(0.5, 2.0)
    assert scoring.corrected_score(score, 0.25, 2.0) == pytest.approx(0.183940, abs=1e-6)


@given(rates, st.floats(0, 5))
def test_corrected_scores_are_the_score_on_average(p, sharpness):
    """A state of success rate p turns out to be worth 1 with probability p, and 0 otherwise."""
    score = scoring.state_score(p, sharpness)
    won, lost = (scoring.corrected_score(score, worth - p, sharpness) for worth in (1.0, 0.0))
    assert p * won + (1 - p) * lost == pytest.approx(score)
    assert won <= score <= lost


@pytest.mark.parametrize(
    ("score", "size"), [(1.0, 8), (0.3, 3), (0.25, 2), (0.126, 2), (0.125, 1), (1e-9, 1), (0.0, 0)]
)
def test_equation_3_worked(score, size):
    assert scoring.group_size(score, 8) == size


def test_group_size_has_a_floor():
    assert scoring.group_size(1e-9, 8, min_size=3) == 3


@pytest.mark.parametrize(
    ("num_failures", "success_rate", "expected"),
    [(9, 0.0, False), (10, 0.0, True), (10, 0.1, True), (10, 0.11, False), (1000, 0.5, False)],
)
def test_hopeless_states_fail_often_and_hardly_succeed(num_failures, success_rate, expected):
    assert scoring.is_hopeless(num_failures, success_rate, max_failures=10, min_success_rate=0.1) is expected


def test_nothing_is_hopeless_without_a_limit():
    assert not scoring.is_hopeless(1e9, 0.0, None, 0.1)


def test_published_annealing_leaves_three_group_sizes():
    """Open point 1: from the second episode on, n is 8 at p = 0 and 1 from p = 0.1 on, whatever happens."""
    sizes = {
        scoring.group_size(scoring.state_score(p / 10, scoring.sharpness(t, 0.0, 50.0)), 8)
        for t in range(2, 400)
        for p in range(1, 11)
    }
    assert sizes == {1}


@given(rates, rates, sharpnesses)
def test_scores_lie_in_the_unit_interval_and_fall_with_success(p, q, sharpness):
    low, high = sorted((p, q))
    assert 0 < scoring.state_score(high, sharpness) <= scoring.state_score(low, sharpness) <= 1


@given(rates, st.integers(1, 64), st.data())
def test_group_sizes_lie_between_floor_and_maximum(score, max_size, data):
    min_size = data.draw(st.integers(0, max_size))
    assert min_size <= scoring.group_size(score, max_size, min_size) <= max_size


@given(rates, rates, st.booleans(), st.booleans(), st.floats(0, 0.5), st.floats(0, 1e6))
def test_rewards_are_bounded(score, next_score, is_novel, success, initial_weight, num_visits):
    weight = scoring.novelty_weight(num_visits, 0.1, initial_weight)
    assert 0 <= weight <= 0.5
    reward = scoring.transition_reward(score, next_score, is_novel=is_novel, success=success, novelty_weight=weight)
    assert -0.5 <= reward <= 1.0
