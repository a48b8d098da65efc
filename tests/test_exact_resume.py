"""A run that is ended and resumed is the run that was never ended: weights, optimizer, history, rows and logs."""

import pytest

from rank_training import on_ranks, resumes_on_ranks
from resume_training import METHODS, train_and_resume

OPEN_WINDOW = {"logging_steps": 2}
"""A checkpoint after step 3 then falls into a logging window."""


@pytest.mark.parametrize("method", METHODS)
def test_every_method_alone(tmp_path, method):
    assert train_and_resume(0, tmp_path, method, OPEN_WINDOW, 3, 5) == ([], 5)


@resumes_on_ranks
@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_two_ranks(tmp_path, method):
    assert on_ranks(2, train_and_resume, tmp_path, method, OPEN_WINDOW, 3, 5) == [([], 5)] * 2


VARIANTS = {
    "adapters": ({"adapters": True, "beta": 0.04}, 3),
    "accumulation": ({"gradient_accumulation_steps": 3, "per_device_train_batch_size": 8}, 3),
    "a batch trained on twice": ({"num_iterations": 2}, 3),
    "a batch of several updates": ({"steps_per_generation": 4, "per_device_train_batch_size": 8}, 3),
    "both": ({"num_iterations": 2, "steps_per_generation": 4, "per_device_train_batch_size": 8}, 5),
    "both, with accumulation": (
        {
            "num_iterations": 2,
            "steps_per_generation": 4,
            "gradient_accumulation_steps": 2,
            "per_device_train_batch_size": 8,
        },
        3,
    ),
    "padding counts": ({"loss_type": "grpo", "steps_per_generation": 4, "per_device_train_batch_size": 8}, 3),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(tmp_path, variant):
    """Most of these save between two updates of one generation batch."""
    changes, at = VARIANTS[variant]
    assert train_and_resume(0, tmp_path, "3spo", changes | OPEN_WINDOW, at, at + 4) == ([], at + 4)


@resumes_on_ranks
def test_between_two_updates_of_a_batch_on_two_ranks(tmp_path):
    changes = {"num_iterations": 2, "steps_per_generation": 2, "per_device_train_batch_size": 8}
    assert on_ranks(2, train_and_resume, tmp_path, "3spo", changes, 3, 6) == [([], 6)] * 2
