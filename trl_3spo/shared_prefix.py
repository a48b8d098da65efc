"""One prompt, n completions: forward passes and generation that compute every distinct prompt once.

A state group is one prompt with n(s) completions. The distinct prompts of a batch go through the model once and leave
their keys and values in a cache; the cache is expanded to one row for every completion, and only the completions go on.
Keys and values stay in the graph, so gradients are those of the plain computation.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, GenerationConfig, PreTrainedModel

MIN_ROWS_PER_PROMPT = 1.5
"""Sharing costs a second, short forward pass; below so many rows for every distinct prompt it hardly pays."""


def owners_of_prompts(prompt_ids: Tensor, prompt_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Find the distinct prompts among padded rows.

    Args:
        prompt_ids: (B, P) token ids.
        prompt_mask: (B, P), 0 at padding.

    Returns:
        (U,) the first row of every distinct prompt, and (B,) which of the U each row has.
    """
    seen: dict[tuple[int, ...], int] = {}
    first_rows: list[int] = []
    owners = []
    for row, ids in enumerate(prompt_ids.masked_fill(prompt_mask == 0, -1).tolist()):
        owner = seen.setdefault(tuple(ids), len(seen))
        if owner == len(first_rows):
            first_rows.append(row)
        owners.append(owner)
    device = prompt_ids.device
    return torch.tensor(first_rows, device=device), torch.tensor(owners, device=device)


def can_share(model: PreTrainedModel) -> bool:
    """Whether the model's past is a plain key-value cache at every layer, which can be expanded row by row.

    Recurrent and sliding-window layers keep other or less state, and activation checkpointing drops the cache.
    """
    config = model.config.get_text_config()
    if getattr(model, "_is_stateful", False):
        return False
    layer_types = set(getattr(config, "layer_types", None) or ["full_attention"])
    is_checkpointing = model.training and any(getattr(x, "gradient_checkpointing", False) for x in model.modules())
    return (
        layer_types == {"full_attention"} and not getattr(config, "is_encoder_decoder", False) and not is_checkpointing
    )


def prefill(
    model: Any, prompt_ids: Tensor, prompt_mask: Tensor, owners: Tensor, position_ids: Tensor | None = None
) -> DynamicCache:
    """Return the cache of all prompt tokens but the last, expanded to one row for every owner.

    The last token stays out: its hidden state predicts the first completion token, so every row computes it anew.

    Args:
        model: The causal language model, possibly wrapped.
        prompt_ids: (U, P) distinct prompts, left-padded, P ≥ 2.
        prompt_mask: (U, P).
        owners: (B,) indices into the U prompts.
        position_ids: (U, P) where they are not simply 0 to P − 1 in every row. They must continue those that the
            completions will have.
    """
    cache = DynamicCache()
    model(
        input_ids=prompt_ids[:, :-1],
        attention_mask=prompt_mask[:, :-1],
        position_ids=None if position_ids is None else position_ids[:, :-1],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    cache.batch_select_indices(owners)
    return cache


def completion_outputs(
    model: Any, input_ids: Tensor, attention_mask: Tensor, completion_size: int
) -> tuple[Tensor, Tensor | None]:
    """Return log-probabilities and entropies of completion tokens, as TRL's fused head gives them.

    Args:
        model: Patched by TRL's `add_fused_lm_head` with entropies.
        input_ids: (B, P + C).
        attention_mask: (B, P + C).
        completion_size: C.

    Returns:
        Two (B, C) tensors; the second is None where the head gives no entropies.
    """
    prompt_size = input_ids.size(1) - completion_size
    prompt_ids, prompt_mask = input_ids[:, :prompt_size], attention_mask[:, :prompt_size]
    first_rows, owners = owners_of_prompts(prompt_ids, prompt_mask)
    cache = prefill(model, prompt_ids[first_rows], prompt_mask[first_rows], owners)
    tail = input_ids[:, prompt_size - 1 :]
    labels = tail.masked_fill(attention_mask[:, prompt_size - 1 :] == 0, -100)
    outputs = model(
        input_ids=tail, attention_mask=attention_mask, past_key_values=cache, labels=labels, fused_lm_head=True
    )
    return outputs.log_probs, outputs.entropy


def generate_shared(model: Any, prompts: list[list[int]], generation_config: GenerationConfig) -> list[list[int]]:
    """Sample one completion for every prompt, computing equal prompts once.

    Args:
        model: The unwrapped causal language model.
        prompts: B lists of at least 2 token ids.
        generation_config: With `eos_token_id` (a list) and `pad_token_id`.

    Returns:
        B lists of token ids, each up to and including its end of sequence.
    """
    device = model.device
    input_ids, attention_mask = _left_padded(prompts, generation_config.pad_token_id, device)
    first_rows, owners = owners_of_prompts(input_ids, attention_mask)
    prompt_mask = attention_mask[first_rows]
    # `generate` counts positions from the first token that is not padding.
    position_ids = (prompt_mask.cumsum(1) - 1).clamp(min=0)
    cache = prefill(model, input_ids[first_rows], prompt_mask, owners, position_ids)
    sequences = model.generate(
        input_ids=input_ids,
        attention_mask=attention_mask,
        past_key_values=cache,
        generation_config=generation_config,
    )
    ends = torch.tensor(generation_config.eos_token_id, device=device)
    return [_until_end(row, ends) for row in sequences[:, input_ids.size(1) :]]


def _left_padded(prompts: list[list[int]], pad_token_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    rows = [torch.tensor(ids) for ids in prompts]
    padded = pad_sequence(rows, batch_first=True, padding_value=pad_token_id, padding_side="left")
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True, padding_side="left")
    return padded.to(device), mask.to(device)


def _until_end(completion: Tensor, ends: Tensor) -> list[int]:
    is_end = torch.isin(completion, ends)
    size = int(is_end.int().argmax()) + 1 if bool(is_end.any()) else completion.size(0)
    return list(completion[:size].tolist())
