"""Group-relative advantages."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trl.trainer.utils import nanstd

from trl_3spo.advantages import group_relative, has_signal

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
