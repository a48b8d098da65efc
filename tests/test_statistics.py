"""Intervals that know of tasks, pass@k and avg@k: worked by hand, by recomputing, and against scipy's."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_3spo.algorithm.records import Sample
from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.environments.mixed import MixedEnvironment
from trl_3spo.evaluation import EpisodeResult, evaluate_policy, play_panel, summarize, wilson_interval
from trl_3spo.evaluation.statistics import mean_interval, pass_at, rate_interval, several_plays


def width(interval):
    return interval.high - interval.low


# -- rates -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_one_episode_a_task_is_plain_wilson(successes):
    interval, plain = rate_interval(successes, range(len(successes))), wilson_interval(successes)
    assert (interval.rate, interval.num_episodes, interval.num_tasks) == (plain.rate, len(successes), len(successes))
    assert (interval.low, interval.high) == (pytest.approx(plain.low), pytest.approx(plain.high))


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(1, 5))
def test_playing_a_decided_task_again_tells_nothing_new(successes, times):
    """Where every task always ends alike, so many times the episodes are worth the tasks."""
    again = rate_interval(successes * times, list(range(len(successes))) * times)
    once = wilson_interval(successes)
    assert (again.low, again.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert again.num_episodes == times * len(successes)


def test_episodes_are_worth_what_they_vary_between_tasks_worked():
    """Tasks with 2 of 2, 1 of 2, 0 of 2: rate 1/2, variance (1 + 0 + 1) / 36 = 1/18, so 0.25 · 18 = 4.5 episodes."""
    interval = rate_interval([True, True, True, False, False, False], ["a", "a", "b", "b", "c", "c"])
    # Wilson with n = 4.5: z² = 3.8415, scale 1.85366, centre 0.5, half width 1.96 · √(0.0555556 + 0.0474252) / 1.85366
    assert interval.low == pytest.approx(0.5 - 1.959964 * 0.32091 / 1.85366, abs=1e-5)
    assert interval.high == pytest.approx(1 - interval.low)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=40))
def test_intervals_of_rates_hold_the_rate_and_are_no_narrower_than_wilson(episodes):
    successes, tasks = zip(*episodes, strict=True)
    interval, plain = rate_interval(successes, tasks), wilson_interval(successes)
    assert 0 <= interval.low <= interval.rate + 1e-12
    assert interval.rate - 1e-12 <= interval.high <= 1
    assert width(interval) >= width(plain) - 1e-12


# -- means -------------------------------------------------------------------------------------------------------------


def test_the_bootstrap_of_two_tasks_worked():
    """Means of a draw are 0, 1/2 or 1 with chances 1/4, 1/2, 1/4: the 2.5 % and 97.5 % points are the ends."""
    interval = mean_interval([0.0, 1.0], ["a", "b"])
    assert (interval.mean, interval.low, interval.high, interval.num_tasks) == (0.5, 0.0, 1.0, 2)


def test_one_task_says_nothing_of_others():
    interval = mean_interval([0.0, 1.0], ["a", "a"])
    assert (interval.mean, interval.low, interval.high) == (0.5, None, None)


def test_means_of_several_plays_are_as_scipy_has_them():
    from scipy.stats import bootstrap

    rng = np.random.default_rng(3)
    values = rng.choice([0.0, 0.25, 1.0], size=(60, 4), p=[0.5, 0.3, 0.2])
    interval = mean_interval(values.ravel().tolist(), [i for i in range(60) for _ in range(4)])
    expected = bootstrap((values.mean(axis=1),), np.mean, method="percentile", rng=1, n_resamples=20000)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(expected.confidence_interval.low, abs=0.01)
    assert interval.high == pytest.approx(expected.confidence_interval.high, abs=0.01)


@given(st.lists(st.tuples(st.floats(-3, 7), st.integers(0, 5)), min_size=1, max_size=30))
def test_intervals_of_means_hold_the_mean_and_stay_in_the_range(episodes):
    values, tasks = zip(*episodes, strict=True)
    interval = mean_interval(values, tasks)
    assert interval.mean == pytest.approx(np.mean(values))
    if interval.num_tasks > 1:
        assert min(values) - 1e-9 <= interval.low <= interval.mean <= interval.high <= max(values) + 1e-9
        assert interval == mean_interval(values, tasks), "the same every time"


# -- several plays -----------------------------------------------------------------------------------------------------


def test_pass_at_worked():
    # Of 4 episodes 1 succeeded: of the 6 pairs 3 hold it; 1 − C(3, 2) / C(4, 2) = 1/2.
    assert pass_at(2, 4, 1) == 0.5
    assert (pass_at(1, 4, 1), pass_at(4, 4, 1), pass_at(3, 5, 0)) == (0.25, 1.0, 0.0)
    with pytest.raises(ValueError, match="pass@3 of 2 episodes"):
        pass_at(3, 2, 1)


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_pass_at_is_the_mean_over_all_choices(successes, data):
    k = data.draw(st.integers(1, len(successes)))
    choices = [any(x) for x in itertools.combinations(successes, k)]
    assert pass_at(k, len(successes), sum(successes)) == pytest.approx(np.mean(choices))


@given(st.integers(0, 1000).map(lambda x: x / 1000), st.integers(1, 6), st.data())
def test_pass_at_is_unbiased(rate, n, data):
    """Its expectation over the number of successes is 1 − (1 − p)ᵏ."""
    from scipy.stats import binom

    k = data.draw(st.integers(1, n))
    expected = sum(binom.pmf(c, n, rate) * pass_at(k, n, c) for c in range(n + 1))
    assert expected == pytest.approx(1 - (1 - rate) ** k)


def test_several_plays_worked():
    """Two tasks played four times, with 1 and 4 successes: pass@2 (0.5 + 1) / 2, pass@4 1, avg@4 (0.25 + 1) / 2."""
    tasks = ["a", "b"] * 4
    passed, averages = several_plays([True, True, False, True, False, True, False, True], tasks)
    assert {k: x.mean for k, x in passed.items()} == {2: 0.75, 4: 1.0}
    assert {k: (x.mean, x.num_episodes, x.num_tasks) for k, x in averages.items()} == {4: (0.625, 8, 2)}
    assert several_plays([True, False], ["a", "b"]) == ({}, {})
    assert list(several_plays([True] * 5, ["a", "a", "a", "b", "b"])[0]) == [2], "the fewest plays of a task"


# -- evaluations -------------------------------------------------------------------------------------------------------


def result(task, kind, paid, **more):
    return EpisodeResult(task, kind, paid == 1.0, 4, 0, paid=paid, **more)


def test_scores_by_kind_and_what_answers_cost():
    results = [
        result("a", "shoes", 1.0, num_tokens=10, num_prompt_tokens=100, stop_reason="success"),
        result("b", "shoes", 0.5, num_tokens=20, num_prompt_tokens=100, num_cut_off=2, stop_reason="failure"),
        result("c", "hats", 0.0, num_tokens=30, num_prompt_tokens=40, stop_reason="max_steps"),
    ]
    evaluation = summarize(results, {"products": 1000})
    assert evaluation.episode_return.mean == 0.5
    assert {kind: x.mean for kind, x in evaluation.episode_return_by_kind.items()} == {"hats": 0.0, "shoes": 0.75}
    assert (evaluation.tokens_per_episode, evaluation.prompt_tokens_per_episode) == (20.0, 80.0)
    assert evaluation.cut_off_share == pytest.approx(2 / 12)
    assert evaluation.stop_reasons == {"failure": 1, "max_steps": 1, "success": 1}
    assert evaluation.to_dict()["world"] == {"products": 1000}
    metrics = evaluation.metrics()
    assert metrics["episode_return/shoes"] == 0.75
    assert metrics["stop_reason/max_steps"] == pytest.approx(1 / 3)
    assert sum(x for name, x in metrics.items() if name.startswith("stop_reason/")) == pytest.approx(1)
    assert metrics["episode_return_low"] <= 0.5 <= metrics["episode_return_high"]
    assert all(isinstance(x, float) for x in metrics.values())


def test_an_evaluation_counts_what_was_answered():
    env = CorridorEnv(length=4, max_steps=3)

    class Wordy:
        def answering(self, env):
            return lambda visits: [
                Sample([], [0] * 5, [0] * 7, "dance", is_cut_off=visit.depth == 0) for visit in visits
            ]

    evaluation = evaluate_policy(Wordy(), env, env.tasks(), num_episodes=2 * len(env.tasks()))
    assert (evaluation.tokens_per_episode, evaluation.prompt_tokens_per_episode) == (21.0, 15.0)
    assert evaluation.cut_off_share == pytest.approx(1 / 3)
    assert evaluation.stop_reasons == {"max_steps": 2 * len(env.tasks())}
    assert {k: x.mean for k, x in evaluation.pass_at.items()} == {2: 0.0}
    assert evaluation.success.num_tasks == len(env.tasks())
    assert play_panel(Wordy().answering(env), env, env.tasks()[:1])[0].stop_reason == "max_steps"


def test_worlds_say_how_large_they_are(catalogue_env):
    alfworld, corridor = AlfworldEnv(generated=3), CorridorEnv(length=4)
    assert alfworld.describe() == {"games": {"games": 3}}
    assert corridor.describe() == {}
    said = catalogue_env.describe()
    assert said["products"] == len(catalogue_env.world.products) > 0
    assert said["goals"] == len(catalogue_env.world.goals) > 0
    mixed = MixedEnvironment({"house": alfworld, "hall": corridor, "shop": catalogue_env})
    assert mixed.describe() == {"house": alfworld.describe(), "shop": said}
    silent = evaluate_policy(lambda prompts: ["look"] * len(prompts), mixed, mixed.tasks()[:1])
    assert silent.world == mixed.describe()


@pytest.fixture(scope="module")
def catalogue_env():
    from trl_3spo.environments.webshop import WebShopEnv

    return WebShopEnv.from_files()
