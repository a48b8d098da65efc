"""Generation that computes every distinct prompt once, and only the new tokens of a continued prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import DynamicLayer
from transformers.generation import GenerationMode

from trl_3spo.prefix_sharing.kept_prefixes import KeptPrefixes, Layers, Match, layers_of
from trl_3spo.prefix_sharing.log_probs import as_argument, one_place
from trl_3spo.prefix_sharing.route import why_no_cache

Looked = tuple[list[int], Match]
"""A prompt and its known beginning."""

MIN_SAVED = 512
"""Fewest tokens of padding that a pass of their own has to save: a pass reads all weights, for however few tokens."""


@dataclass(frozen=True)
class Continued:
    """U distinct prompts without their last tokens, as rows of K known places and N new places, each left-padded.

    Args:
        pairs: Prompts and their known beginnings. Last tokens are computed with the completion.
    """

    pairs: Sequence[Looked]

    @cached_property
    def known(self) -> int:
        """Number K of places for tokens with known keys and values."""
        return max(match.size for _, match in self.pairs)

    @cached_property
    def new(self) -> int:
        """Number N of places for the other tokens."""
        return max(map(num_new, self.pairs))

    def rows(self, pad_token_id: int) -> tuple[Tensor, Tensor]:
        """Return (U, K + N) token ids and their mask, 0 at padding."""
        known = [prompt[: match.size] for prompt, match in self.pairs]
        new = [prompt[match.size : -1] for prompt, match in self.pairs]
        ids = torch.cat([_left_padded(known, self.known, pad_token_id), _left_padded(new, self.new, pad_token_id)], 1)
        sizes = [[1] * len(x) for x in known], [[1] * len(x) for x in new]
        return ids, torch.cat([_left_padded(sizes[0], self.known, 0), _left_padded(sizes[1], self.new, 0)], 1)

    def cache(self) -> DynamicCache:
        """Return the known keys and values, right-aligned in their places."""
        cache = DynamicCache()
        found = next((match.layers for _, match in self.pairs if match.size), [])
        for number, kinds in enumerate(found):
            cache.update(*(self._placed(number, kind, like) for kind, like in enumerate(kinds)), number)
        return cache

    def _placed(self, layer: int, kind: int, like: Tensor) -> Tensor:
        rows = like.new_zeros(len(self.pairs), like.size(0), self.known, like.size(2))
        for row, (_, match) in zip(rows, self.pairs, strict=True):
            if match.size:
                row[:, self.known - match.size :] = match.layers[layer][kind][:, : match.size]
        return rows


class Computed(NamedTuple):
    """Prompts without their last tokens, as rows with padding.

    Args:
        ids: (U, T) token ids.
        mask: (U, T) mask, 0 at padding.
        layers: (U, H, T, D) keys and values per layer.
    """

    ids: Tensor
    mask: Tensor
    layers: Layers


def can_generate_shared(model: Any, generation_config: GenerationConfig) -> bool:
    """Return whether `generate_shared` can take the place of `model.generate`.

    Args:
        model: Unwrapped causal language model.
        generation_config: Configuration to sample with.
    """
    is_sampling = generation_config.get_generation_mode() in (GenerationMode.SAMPLE, GenerationMode.GREEDY_SEARCH)
    has_plain_cache = generation_config.use_cache is not False and not generation_config.cache_implementation
    return is_sampling and has_plain_cache and why_no_cache(model, is_checkpointing=False) is None


def generate_shared(
    model: Any,
    prompts: Sequence[Sequence[int]],
    generation_config: GenerationConfig,
    *,
    kept: KeptPrefixes | None = None,
) -> list[list[int]]:
    """Sample one completion for every prompt, computing equal prompts once.

    Args:
        model: Unwrapped causal language model.
        prompts: Token ids of B prompts, each of at least one token and one of at least two.
        generation_config: Configuration with `max_new_tokens`, `pad_token_id` and `eos_token_id` (a list).
        kept: Known beginnings of prompts. The sampled sequences are added.

    Returns:
        B lists of token ids, each up to and including its end-of-sequence token.
    """
    distinct = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
    pairs = [(list(x), kept.match(x[:-1]) if kept else Match(0, [])) for x in distinct]
    parts = parts_of(pairs)
    numbers = {tuple(prompt): number for number, (prompt, _) in enumerate(chain.from_iterable(parts))}
    owners = torch.tensor([numbers[tuple(prompt)] for prompt in prompts], device=model.device)
    fill = generation_config.pad_token_id
    ids, mask, layers = _joined([_compute(model, Continued(part), fill) for part in parts], fill)
    room = generation_config.max_new_tokens
    cache = DynamicCache()
    cache.layers = [PreallocatedLayer(keys[owners], values[owners], room) for keys, values in layers]
    last = torch.tensor([[prompt[-1]] for prompt in prompts], device=model.device)
    sequences = model.generate(
        input_ids=torch.cat([ids[owners], last], dim=1),
        attention_mask=torch.cat([mask[owners], torch.ones_like(last)], dim=1),
        generation_config=generation_config,
        **as_argument(cache, model),
    )
    size = ids.size(1) + 1
    ends = torch.tensor(generation_config.eos_token_id, device=model.device)
    completions = [_until_end(row, ends) for row in sequences[:, size:]]
    if kept is not None:
        for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            # The last token of a completion was never an input, so it has no keys and values.
            places = torch.arange(size + len(completion) - 1, device=model.device)
            is_token = torch.cat([mask[owners[row]], mask.new_ones(len(completion))]) != 0
            kept.keep([*prompt, *completion[:-1]], layers_of(cache, row, places[is_token]))
    return completions


def parts_of(pairs: Sequence[Looked]) -> list[list[Looked]]:
    """Return prompts in one part, or in two if padding all to the longest would cost much.

    A conversation that continues has few new tokens. One that begins beside it has all of its own.
    """
    ordered = sorted(pairs, key=num_new)
    sizes = [num_new(pair) for pair in ordered]
    costs = {first: first * sizes[first - 1] + (len(sizes) - first) * sizes[-1] for first in range(1, len(sizes))}
    split, whole = min(costs, key=costs.__getitem__, default=0), len(sizes) * sizes[-1]
    has_tokens = any(len(prompt) > 1 for prompt, _ in ordered[:split])
    if has_tokens and whole - costs[split] >= max(MIN_SAVED, whole / 2):
        return [ordered[:split], ordered[split:]]
    return [ordered]


def num_new(pair: Looked) -> int:
    """Return the number of a prompt's tokens that are not known, without the last."""
    prompt, match = pair
    return len(prompt) - 1 - match.size


def _compute(model: Any, continued: Continued, pad_token_id: int) -> Computed:
    """Compute the new tokens of prompts."""
    ids, mask = (x.to(model.device) for x in continued.rows(pad_token_id))
    cache = continued.cache()
    if continued.new:
        # `generate` counts positions from the first token that is not padding.
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        model(
            input_ids=ids[:, continued.known :],
            attention_mask=mask,
            position_ids=positions[:, continued.known :],
            use_cache=True,
            logits_to_keep=one_place(ids),
            **as_argument(cache, model),
        )
    return Computed(ids, mask, [(layer.keys, layer.values) for layer in cache.layers])


def _joined(parts: Sequence[Computed], pad_token_id: int) -> Computed:
    """Return the rows of all parts, left-padded to the same size."""
    if len(parts) == 1:
        return parts[0]
    size = max(part.ids.size(1) for part in parts)
    ids, masks, layers = zip(*(_widened(part, size, pad_token_id) for part in parts), strict=True)
    both = [tuple(zip(*same, strict=True)) for same in zip(*layers, strict=True)]
    return Computed(torch.cat(ids), torch.cat(masks), [(torch.cat(keys), torch.cat(values)) for keys, values in both])


def _widened(part: Computed, size: int, pad_token_id: int) -> Computed:
    gap = size - part.ids.size(1)
    layers = [(pad(keys, (0, 0, gap, 0)), pad(values, (0, 0, gap, 0))) for keys, values in part.layers]
    return Computed(pad(part.ids, (gap, 0), value=pad_token_id), pad(part.mask, (gap, 0)), layers)


class PreallocatedLayer(DynamicLayer):
    """A layer of a cache with preallocated room, so that a new token does not copy all earlier ones.

    Args:
        keys: (B, H, P − 1, D) keys.
        values: (B, H, P − 1, D) values.
        room: Number of further tokens.
    """

    def __init__(self, keys: Tensor, values: Tensor, room: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        size = keys.size(2) + room
        self._all_keys, self._all_values = (x.new_empty(*x.shape[:2], size, x.size(3)) for x in (keys, values))
        self.update(keys, values)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Add the keys and values of new tokens and return all."""
        start = self.get_seq_length()
        end = start + key_states.size(2)
        self._all_keys[:, :, start:end] = key_states
        self._all_values[:, :, start:end] = value_states
        self.keys, self.values = self._all_keys[:, :, :end], self._all_values[:, :, :end]
        return self.keys, self.values


def _left_padded(rows: Sequence[list[int]], size: int, fill: int) -> Tensor:
    """Return rows as a left-padded (U, size) tensor."""
    return torch.tensor([[fill] * (size - len(row)) + row for row in rows], dtype=torch.long)


def _until_end(completion: Tensor, ends: Tensor) -> list[int]:
    is_end = torch.isin(completion, ends)
    size = int(is_end.int().argmax()) + 1 if bool(is_end.any()) else completion.size(0)
    return list(completion[:size].tolist())
