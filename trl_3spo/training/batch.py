"""State groups as the rows GRPOTrainer's loss consumes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from trl_3spo.environments.base import Message


@dataclass(frozen=True)
class Row:
    """One sampled action with its credit.

    Args:
        prompt: The chat messages that asked for it.
        prompt_ids: P token ids of the prompt.
        completion_ids: C ≥ 1 token ids of the completion.
        logps: C log-probabilities under the sampling engine, where it reports them (vLLM does).
        reward: R of Eq. 2.
        advantage: Relative to the state's group.
        is_padding: A repetition that only fills the batch up and takes no part in the loss.
    """

    prompt: list[Message]
    prompt_ids: list[int]
    completion_ids: list[int]
    logps: list[float] | None
    reward: float = 0.0
    advantage: float = 0.0
    is_padding: bool = False


def pad_rows(rows: Sequence[Row], size: int) -> list[Row]:
    """Repeat the first row, without credit, until there are `size` rows."""
    filler = replace(rows[0], advantage=0.0, is_padding=True)
    return [*rows, *[filler] * (size - len(rows))]


def num_padding(rows: Sequence[Row]) -> int:
    """Return how many of the rows take no part in the loss."""
    return sum(row.is_padding for row in rows)


def rollout_output(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the rows in the form of TRL's `rollout_func`; padding is masked out of the loss through `env_mask`."""
    output: dict[str, Any] = {
        "prompt_ids": [row.prompt_ids for row in rows],
        "completion_ids": [row.completion_ids for row in rows],
        "logprobs": [row.logps for row in rows] if rows[0].logps is not None else None,
        "transition_reward": [row.reward for row in rows],
    }
    if any(row.is_padding for row in rows):
        output["env_mask"] = [[int(not row.is_padding)] * len(row.completion_ids) for row in rows]
    return output


def with_credit(batch: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """Return the batch of as many rows as given, with their own advantages in place of the batch's.

    Args:
        batch: What GRPOTrainer made of at least these rows, in their order; 0-d entries belong to the whole batch.
        rows: (B,) rows.
    """
    size = len(rows)
    kept = {name: value if value.ndim == 0 else value[:size] for name, value in batch.items()}
    advantages = torch.tensor([row.advantage for row in rows], dtype=torch.float32)
    return kept | {"advantages": advantages.to(batch["advantages"].device)}
