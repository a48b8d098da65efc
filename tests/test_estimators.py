"""Advantages: relative to a group, to equal states, to a batch, and over the steps of an episode."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trl.trainer.utils import nanstd

from trl_3spo.algorithm.credit import group_relative, has_signal, whiten
from trl_3spo.baselines.estimators import discounted_returns, gae, relative_to_equals, values_of_others

rewards = st.lists(st.floats(-0.5, 1.0), min_size=1, max_size=16)


def test_worked():
    # mean 0.5, unbiased std = sqrt((0.25 + 0.25 + 0 + 0) / 3) = 0.408248
    advantages = group_relative([1.0, 0.0, 0.5, 0.5], delta=0.1)
    assert advantages == pytest.approx([0.983771, -0.983771, 0, 0], abs=1e-6)


def test_equals_the_normalisation_of_grpo():
    values = [0.1, 0.9, 0.4, 0.35, 0.0]
    tensor = torch.tensor(values, dtype=torch.float64)
    expected = (tensor - tensor.mean()) / (nanstd(tensor) + 1e-4)
    assert group_relative(values, delta=1e-4) == pytest.approx(expected.numpy(), abs=1e-9)


def test_a_large_delta_keeps_small_differences_small():
    small, large = group_relative([0.50, 0.51], delta=0.1), group_relative([0.0, 1.0], delta=0.1)
    assert abs(small).max() < 0.1 * abs(large).max()
    assert abs(group_relative([0.50, 0.51], delta=1e-4)).max() > 0.65


def test_unscaled():
    assert group_relative([0.0, 1.0], is_scaled=False) == pytest.approx([-0.5, 0.5])


@given(rewards, st.floats(1e-4, 1.0), st.booleans())
def test_advantages_sum_to_zero(values, delta, is_scaled):
    assert group_relative(values, delta=delta, is_scaled=is_scaled).sum() == pytest.approx(0, abs=1e-6)


@given(st.floats(-0.5, 1.0), st.integers(1, 16))
def test_equal_rewards_carry_no_signal(reward, size):
    assert not has_signal(group_relative([reward] * size))


@given(rewards.filter(lambda values: max(values) - min(values) > 1e-3), st.randoms())
def test_order_does_not_matter(values, rng):
    order = list(range(len(values)))
    rng.shuffle(order)
    shuffled = group_relative([values[i] for i in order])
    assert has_signal(shuffled)
    assert shuffled == pytest.approx(group_relative(values)[order])


def test_no_advantages_no_signal():
    assert not has_signal(np.array([]))


episodes = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(-1, 1), min_size=n, max_size=n), st.lists(st.floats(-1, 1), min_size=n + 1, max_size=n + 1)
    )
)
shares = st.floats(0, 1)


def test_gae_worked():
    # δ = (0.9·0.6 − 0.5, 0.9·0.8 − 0.6, 1 − 0.8) = (0.04, 0.12, 0.2), and each carries 0.9·0.5 of the next one.
    assert gae([0, 0, 1], [0.5, 0.6, 0.8, 0.0], discount=0.9, gae_lambda=0.5) == pytest.approx([0.1345, 0.21, 0.2])


@given(episodes)
def test_gae_without_discount_is_the_return_minus_the_value(episode):
    rewards, values = episode
    returns = [sum(rewards[t:]) + values[-1] for t in range(len(rewards))]
    expected = [earned - value for earned, value in zip(returns, values[:-1], strict=True)]
    assert gae(rewards, values, discount=1.0, gae_lambda=1.0) == pytest.approx(expected, abs=1e-9)


@given(episodes, shares, shares)
def test_gae_is_the_discounted_sum_of_what_surprised(episode, gamma, lam):
    rewards, values = episode
    deltas = [r + gamma * b - a for r, a, b in zip(rewards, values[:-1], values[1:], strict=True)]
    expected = [sum((gamma * lam) ** k * x for k, x in enumerate(deltas[t:])) for t in range(len(deltas))]
    assert gae(rewards, values, discount=gamma, gae_lambda=lam) == pytest.approx(expected, abs=1e-9)


def test_gae_needs_the_value_of_the_last_state():
    with pytest.raises(ValueError, match=r"2 rewards and 2 values; one value more"):
        gae([0, 1], [0, 0], discount=1.0, gae_lambda=1.0)


def test_returns_worked():
    assert discounted_returns([1, 0, 2], 0.5) == pytest.approx([1.5, 1, 2])


def test_whitening_worked():
    # mean 2, unbiased std 2 over all of the batch; these are two of its three rows.
    assert whiten(np.array([0.0, 4.0]), np.array([0.0, 2.0, 4.0])) == pytest.approx([-1, 1])
    assert whiten(np.array([0.0, 4.0]), np.array([0.0, 2.0, 4.0]), is_scaled=False) == pytest.approx([-2, 2])
    assert whiten(np.array([3.0]), np.array([3.0])) == pytest.approx([0])


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30), st.integers(0, 30))
def test_whitening_in_parts_is_whitening_of_the_whole(values, cut):
    batch = np.array(values)
    parts = [whiten(part, batch) for part in np.split(batch, [min(cut, len(batch))])]
    assert np.concatenate(parts) == pytest.approx(whiten(batch, batch))


def test_relative_to_equals_worked():
    # a: 1 and 3, mean 2; b: alone
    relative = relative_to_equals(np.array([1.0, 5.0, 3.0]), ["a", "b", "a"], is_scaled=False)
    assert relative == pytest.approx([-1, 0, 1])


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3)), min_size=1, max_size=12), st.randoms(), st.booleans())
def test_relative_to_equals_in_any_order(rows, rng, is_scaled):
    order = list(range(len(rows)))
    rng.shuffle(order)
    values, keys = np.array([x for x, _ in rows]), [key for _, key in rows]
    shuffled = relative_to_equals(values[order], [keys[i] for i in order], is_scaled=is_scaled)
    assert shuffled == pytest.approx(relative_to_equals(values, keys, is_scaled=is_scaled)[order], abs=1e-6)


def test_values_of_others_worked():
    values = values_of_others(
        [["start", "hall", "out"], ["start", "hall", "start", "cellar"], ["start", "loft"]],
        [np.array([0.5, 1.0]), np.array([0.0, 0.0, 0.2]), np.array([0.4])],
    )
    # start: the others' 0, 0.2 and 0.4; hall: 0; nobody else was outside, which is worth what the hall is.
    assert values[0] == pytest.approx([0.2, 0.0, 0.0])
    assert values[1] == pytest.approx([0.45, 1.0, 0.45, 0.45])
    assert values[2] == pytest.approx([(0.5 + 0 + 0.2) / 3] * 2)


def test_the_value_of_a_state_nobody_else_began_in_is_zero():
    (values,) = values_of_others([["a", "b"]], [np.array([1.0])])
    assert values.tolist() == [0, 0]
