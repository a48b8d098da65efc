"""Success counts, recomputed independently."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.records import digest

episodes = st.lists(st.tuples(st.sets(st.integers(0, 5), min_size=1), st.booleans()), max_size=40)


def test_worked():
    history = StateHistory()
    history.observe(dict.fromkeys({1, 2}, 1.0))
    history.observe(dict.fromkeys({1}, 0.0))
    history.observe(dict.fromkeys({1}, 0.0))
    estimate = history.estimate([1])
    assert estimate.value == pytest.approx(1 / 3)
    assert (estimate.num_visits, estimate.num_failures) == (3, 2)
    assert history.estimate([2]).value == pytest.approx(1)
    assert history.num_episodes == 3
    assert len(history) == 2


def test_unseen_states_have_rate_zero():
    assert StateHistory(backoff_strength=4).estimate([1, 2, 3]) == (0, 0, 0)
    assert not StateHistory().has_seen(1)


def test_back_off_worked():
    history = StateHistory(backoff_strength=4.0)
    for success in (True, True, True, False):
        history.observe(dict.fromkeys({20}, float(success)))
    history.observe(dict.fromkeys({10, 20}, 0.0))
    # coarse: 3 / 5; fine: (0 + 4 · 3/5) / (1 + 4) = 12/25
    assert history.estimate([20]).value == pytest.approx(3 / 5)
    assert history.estimate([10, 20]).value == pytest.approx(12 / 25)
    # a state never seen is judged by its kin alone, and counts as unvisited
    unseen = history.estimate([11, 20])
    assert unseen.value == pytest.approx(3 / 5)
    assert (unseen.num_visits, unseen.num_failures) == (0, 0)


def test_without_strength_kin_only_speak_for_unseen_states():
    history = StateHistory(backoff_strength=0.0)
    history.observe(dict.fromkeys({10, 20}, 0.0))
    history.observe(dict.fromkeys({20}, 1.0))
    assert history.estimate([10, 20]).value == 0
    assert history.estimate([11, 20]).value == pytest.approx(1 / 2)


def test_counts_fade_by_half_in_a_half_life():
    history = StateHistory(half_life=10)
    history.observe(dict.fromkeys({1}, 1.0))
    for _ in range(10):
        history.observe(dict.fromkeys({2}, 0.0))
    assert history.estimate([1]).num_visits == pytest.approx(0.5)
    assert history.estimate([1]).value == pytest.approx(1)
    history.observe(dict.fromkeys({1}, 0.0))
    assert history.estimate([1]).num_visits == pytest.approx(1 + 2 ** (-11 / 10))


def test_old_failures_stop_burying_a_state():
    history = StateHistory(half_life=5)
    for _ in range(20):
        history.observe(dict.fromkeys({1}, 0.0))
    assert history.estimate([1]).num_failures > 5
    for _ in range(25):
        history.observe(dict.fromkeys({2}, 1.0))
    assert history.estimate([1]).num_failures < 1


@given(episodes)
def test_counts_equal_a_plain_tally(played):
    history = StateHistory()
    for keys, success in played:
        history.observe(dict.fromkeys(keys, float(success)))
    for key in range(6):
        outcomes = [success for keys, success in played if key in keys]
        estimate = history.estimate([key])
        assert estimate.num_visits == len(outcomes)
        assert estimate.num_failures == outcomes.count(False)


@given(episodes, st.floats(1, 50), st.floats(0, 8))
def test_rates_are_rates_and_survive_saving(played, half_life, strength):
    history = StateHistory(half_life=half_life, backoff_strength=strength)
    for keys, success in played:
        history.observe(dict.fromkeys(keys, float(success)))
    copy = StateHistory(half_life=half_life, backoff_strength=strength)
    copy.load_state_dict(history.state_dict())
    for keys in ([0], [1, 2], [3, 4, 5]):
        estimate = history.estimate(keys)
        assert 0 <= estimate.value <= 1
        assert copy.estimate(keys) == estimate
    assert copy.num_episodes == history.num_episodes


def test_saving_copies():
    history = StateHistory()
    history.observe(dict.fromkeys({1}, 1.0))
    saved = history.state_dict()
    history.observe(dict.fromkeys({1, 2}, 0.0))
    assert len(saved["keys"]) == 1
    assert saved["visits"][0] == 1


def test_damaged_state_is_refused():
    history = StateHistory()
    history.observe(dict.fromkeys({1}, 1.0))
    damaged = history.state_dict() | {"visits": []}
    with pytest.raises(ValueError, match=r"visits.*damaged"):
        StateHistory().load_state_dict(damaged)


def test_digests_are_the_same_in_every_process():
    key = ("task/1", (3, ("mug", 2.5, None, True)))
    code = f"from trl_3spo.algorithm.records import digest; print(digest({key!r}))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{digest(key)}\n"}
    assert digest(key) != digest(("task/2", *key[1:]))
