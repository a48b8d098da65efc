"""Rows as GRPOTrainer's loss consumes them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from trl_3spo.algorithm.base import Row

MEANS_OVER_ROWS = ("grpo", "dr_grpo", "luspo", "sapo")
"""Losses that divide by the number of rows, padding included."""


def transition_reward(transition_reward: list[float], **_: Any) -> list[float]:
    """Return the rows' rewards unchanged, for TRL's logs. The advantages come from the algorithm."""
    return transition_reward


def pad_rows(rows: Sequence[Row], size: int) -> list[Row]:
    """Repeat the first row, without credit, until there are `size` rows."""
    filler = replace(rows[0], reward=0.0, advantage=0.0, is_padding=True)
    return [*rows, *[filler] * (size - len(rows))]


def num_padding(rows: Sequence[Row]) -> int:
    """Return the number of rows that take no part in the loss."""
    return sum(row.is_padding for row in rows)


def rollout_output(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the rows in the form of TRL's `rollout_func`; padding is masked out of the loss through `env_mask`."""
    samples = [row.sample for row in rows]
    output: dict[str, Any] = {
        "prompt_ids": [sample.prompt_ids for sample in samples],
        "completion_ids": [sample.completion_ids for sample in samples],
        "logprobs": [sample.logps for sample in samples] if samples[0].logps is not None else None,
        "transition_reward": [row.reward for row in rows],
    }
    if any(row.is_padding for row in rows):
        output["env_mask"] = [[int(not row.is_padding)] * len(row.sample.completion_ids) for row in rows]
    return output


def with_credit(batch: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """Return a batch of just the given rows, with their own advantages instead of the batch's.

    Args:
        batch: GRPOTrainer's batch of these rows, in their order, and perhaps more; 0-d entries describe all of it.
        rows: (B,) rows.
    """
    size = len(rows)
    kept = {name: value if value.ndim == 0 else value[:size] for name, value in batch.items()}
    advantages = torch.tensor([row.advantage for row in rows], dtype=torch.float32)
    return kept | {"advantages": advantages.to(batch["advantages"].device)}


@contextmanager
def policy_loss_times(trainer: Any, batch: dict[str, Any], factor: float) -> Iterator[dict[str, Any]]:
    """Multiply the policy part of a trainer's loss, and nothing else, while the loss of the yielded batch is computed.

    The policy part is linear in the advantages and in `beta`. GRPOTrainer's entropy bonus and router loss depend on
    neither.

    Args:
        trainer: A GRPOTrainer.
        batch: Batch that the loss is computed from.
        factor: Factor above 0.
    """
    if factor == 1.0:
        yield batch
        return
    beta, trainer.beta = trainer.beta, trainer.beta * factor
    try:
        yield batch | {"advantages": batch["advantages"] * factor}
    finally:
        trainer.beta = beta


def round_up(value: int, multiple: int) -> int:
    """Return the smallest multiple that is at least the value."""
    return -(-value // multiple) * multiple
