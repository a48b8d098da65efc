"""Generation of n completions for one prompt that computes every distinct prompt once."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig
from transformers.cache_utils import DynamicLayer

from trl_3spo.prefix_sharing.log_probs import SharedPrompts, as_argument, prefill


def generate_shared(
    model: Any, input_ids: Tensor, attention_mask: Tensor, prompts: SharedPrompts, generation_config: GenerationConfig
) -> list[list[int]]:
    """Sample one completion for every prompt, computing equal prompts once.

    Args:
        model: The unwrapped causal language model.
        input_ids: (B, P) prompts, left-padded, P ≥ 2.
        attention_mask: (B, P), 0 at padding.
        prompts: Which of the B rows share one.
        generation_config: With `max_new_tokens` and `eos_token_id` (a list).

    Returns:
        B lists of token ids, each up to and including its end of sequence.
    """
    device = input_ids.device
    prefix_mask = attention_mask[prompts.first_rows, :-1]
    # `generate` counts positions from the first token that is not padding.
    position_ids = (prefix_mask.cumsum(1) - 1).clamp(min=0)
    cache = prefill(model, input_ids[prompts.first_rows, :-1], prefix_mask, position_ids)
    index = torch.tensor(prompts.owners, device=device)
    room = generation_config.max_new_tokens
    cache.layers = [PreallocatedLayer(layer.keys[index], layer.values[index], room) for layer in cache.layers]
    sequences = model.generate(
        input_ids=input_ids,
        attention_mask=attention_mask,
        generation_config=generation_config,
        **as_argument(cache, model),
    )
    ends = torch.tensor(generation_config.eos_token_id, device=device)
    return [_until_end(row, ends) for row in sequences[:, input_ids.size(1) :]]


class PreallocatedLayer(DynamicLayer):
    """A layer of a cache with room for what is to come, so that a new token does not copy all that went before.

    Args:
        keys: (B, H, P − 1, D).
        values: (B, H, P − 1, D).
        room: Number of tokens to come.
    """

    def __init__(self, keys: Tensor, values: Tensor, room: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        size = keys.size(2) + room
        self._all_keys, self._all_values = (x.new_empty(*x.shape[:2], size, x.size(3)) for x in (keys, values))
        self.update(keys, values)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Take in the keys and values of new tokens and return all."""
        start = self.get_seq_length()
        end = start + key_states.size(2)
        self._all_keys[:, :, start:end] = key_states
        self._all_values[:, :, start:end] = value_states
        self.keys, self.values = self._all_keys[:, :, :end], self._all_values[:, :, :end]
        return self.keys, self.values


def left_padded(prompts: list[list[int]], pad_token_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return B lists of token ids as a (B, P) tensor padded on the left, and its mask, 0 at padding."""
    rows = [torch.tensor(ids) for ids in prompts]
    padded = pad_sequence(rows, batch_first=True, padding_value=pad_token_id, padding_side="left")
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True, padding_side="left")
    return padded.to(device), mask.to(device)


def _until_end(completion: Tensor, ends: Tensor) -> list[int]:
    is_end = torch.isin(completion, ends)
    size = int(is_end.int().argmax()) + 1 if bool(is_end.any()) else completion.size(0)
    return list(completion[:size].tolist())
