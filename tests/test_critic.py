"""The critic: reads the last token of a prompt however it is padded, and learns by its own learning rate."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from trl_3spo.baselines.critic import ValueHead, last_hidden_states
from trl_3spo.reliability.rollout_files import load_state, save_state
from trl_3spo.tiny import tiny_model, word_tokenizer

PROMPTS = [[5, 6, 7, 8], [9], [5, 6, 7], [10, 4]]


@pytest.fixture(scope="module")
def model():
    return tiny_model(word_tokenizer(["a b c d e f g h"]), hidden_size=16, initializer_range=0.2)


def head(learning_rate=0.1):
    return ValueHead(3, learning_rate, Accelerator(cpu=True))


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_features_do_not_depend_on_padding(model, batch_size):
    features = last_hidden_states(model, PROMPTS, pad_id=0, batch_size=batch_size)
    alone = [model.model(torch.tensor([prompt])).last_hidden_state[0, -1] for prompt in PROMPTS]
    assert (features - torch.stack(alone)).abs().max() < 1e-5
    assert not features.requires_grad


def test_values_begin_at_zero_and_approach_their_targets():
    features = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    targets = np.array([1.0, -0.5, 0.25])
    critic = head()
    assert critic.values(features).tolist() == [0, 0, 0]
    assert critic.update(features, targets) == pytest.approx((1 + 0.25 + 0.0625) / 3)
    for _ in range(300):
        critic.update(features, targets)
    assert critic.values(features) == pytest.approx(targets, abs=1e-2)


def test_the_first_step_is_the_learning_rate():
    critic = head(learning_rate=0.01)
    critic.update(torch.tensor([[1.0, 2, 0]]), np.array([1.0]))
    # Adam's first step moves each weight by the learning rate, and the bias: 0.01 · (1 + 2) + 0.01
    assert critic.values(torch.tensor([[1.0, 2, 5]])) == pytest.approx([0.04], abs=1e-6)


def test_resumes_where_it_was(tmp_path):
    features, targets = torch.eye(3), np.array([1.0, 2.0, 3.0])
    one, other = head(), head()
    one.update(features, targets)
    save_state(tmp_path, {"shared": {"critic": one.state_dict()}}, rank=0)
    state, _ = load_state(tmp_path, rank=0)
    other.load_state_dict(state["shared"]["critic"])
    for critic in (one, other):
        critic.update(features, targets)
    assert one.values(features).tolist() == other.values(features).tolist()
