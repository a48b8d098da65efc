"""Log-probabilities that compute what rows have in common once, with equal gradients.

Two routes lead to what GRPOTrainer computes row by row:

- cache: one prompt with n completions. The prompts but for their last tokens go through the model and leave keys and
  values, which are expanded to one row for every completion; each completion's tail, that last token and all of the
  completion but its end, goes on from them. Two forward passes. Activation checkpointing drops the cache.
- tree: all rows are a trie of tokens, one row for the model. Positions are depths, every position sees its ancestors
  alone, and a position that several tokens follow predicts each of them. One forward pass, no padding, no cache.
"""

import inspect
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor
from transformers import DynamicCache

from trl_3spo.prefix_sharing.tree_attention import layout_of, require_used, use_tree_attention
from trl_3spo.prefix_sharing.trie import Block, Positions, Trie, blocks_of, trie_of

MIN_BLOCK, MAX_BLOCK = 64, 256
"""Positions of a block of attention. Larger ones compute more pairs in vain, smaller ones are more calls."""

IGNORED = -100
"""The label of positions that TRL's fused head leaves out."""


@dataclass(frozen=True)
class SharedPrompts:
    """Which of B rows have the same prompt.

    Args:
        first_rows: The first row of each of the U distinct prompts.
        owners: Which of the U prompts each of the B rows has.
    """

    first_rows: list[int]
    owners: list[int]

    @property
    def completions_per_prompt(self) -> list[int]:
        """Number of rows of each distinct prompt."""
        return list(Counter(self.owners).values())


def shared_prompts_of(prompt_ids: Tensor, prompt_mask: Tensor) -> SharedPrompts:
    """Find the distinct prompts among padded rows.

    Args:
        prompt_ids: (B, P) token ids.
        prompt_mask: (B, P), 0 at padding.
    """
    seen: dict[tuple[int, ...], int] = {}
    first_rows: list[int] = []
    owners = []
    for row, ids in enumerate(prompt_ids.masked_fill(prompt_mask == 0, -1).tolist()):
        owner = seen.setdefault(tuple(ids), len(seen))
        if owner == len(first_rows):
            first_rows.append(row)
        owners.append(owner)
    return SharedPrompts(first_rows, owners)


@dataclass(frozen=True, eq=False)
class PackedRows:
    """Rows as a trie, with the tokens that have to be predicted.

    Args:
        trie: Of the rows without their last tokens, which nothing follows.
        parents: (L,) positions after which a token is predicted, one for every distinct token that follows there.
        labels: (L,) these tokens.
        edges: For every completion token of every row, row after row, which of the L it is.
    """

    trie: Trie
    parents: Positions
    labels: Positions
    edges: Positions

    @cached_property
    def blocks(self) -> list[Block]:
        """The blocks that attention over the trie is computed in."""
        return blocks_of(self.trie, MAX_BLOCK, MIN_BLOCK)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Distinct prefixes, pairs of positions that attention computes, blocks that it computes them in."""
        return len(self.trie), sum(block.num_pairs for block in self.blocks), len(self.blocks)


def packed_rows(input_ids: Tensor, attention_mask: Tensor, completion_size: int) -> PackedRows:
    """Pack padded rows of prompts and completions of at most C tokens into a trie; see `outputs_by_tree`."""
    is_token = attention_mask != 0
    rows = [ids[known].tolist() for ids, known in zip(input_ids.cpu(), is_token.cpu(), strict=True)]
    num_labels = is_token[:, -completion_size:].sum(1).tolist()
    trie = trie_of([row[:-1] for row in rows])
    pairs = [
        np.stack([path[len(path) - num :], np.asarray(row[len(row) - num :], np.int64)])
        for row, path, num in zip(rows, trie.paths, num_labels, strict=True)
    ]
    (parents, labels), edges = np.unique(np.concatenate(pairs, axis=1), axis=1, return_inverse=True)
    return PackedRows(trie, parents, labels, edges)


def sorted_by_prefix(prompt_ids: Tensor, prompt_mask: Tensor) -> list[int]:
    """Return the numbers of padded rows in an order in which those that begin alike are neighbours."""
    prompts = [ids[known].tolist() for ids, known in zip(prompt_ids.cpu(), prompt_mask.cpu() != 0, strict=True)]
    return sorted(range(len(prompts)), key=lambda row: prompts[row])


def outputs_by_cache(
    model: Any, input_ids: Tensor, attention_mask: Tensor, completion_size: int, prompts: SharedPrompts
) -> tuple[Tensor, Tensor | None]:
    """Return log-probabilities and entropies of completion tokens, as TRL's fused head gives them.

    Args:
        model: Patched by TRL's `add_fused_lm_head`.
        input_ids: (B, P + C), prompts left-padded, completions right-padded, P ≥ 2.
        attention_mask: (B, P + C), 0 at padding.
        completion_size: C.
        prompts: Which of the B rows share one.

    Returns:
        Two (B, C) tensors, 0 at padding; the second is None where the head gives no entropies.
    """
    prompt_size = input_ids.size(1) - completion_size
    prompt_ids, prompt_mask = input_ids[:, :prompt_size], attention_mask[:, :prompt_size]
    cache = prefill(model, prompt_ids[prompts.first_rows, :-1], prompt_mask[prompts.first_rows, :-1])
    cache.batch_select_indices(torch.tensor(prompts.owners, device=input_ids.device))
    tails, labels = _tails(input_ids, attention_mask, completion_size)
    outputs = model(
        input_ids=tails,
        attention_mask=attention_mask[:, :-1],
        shift_labels=labels,
        fused_lm_head=True,
        **as_argument(cache, model),
    )
    return outputs.log_probs, outputs.entropy


def outputs_by_tree(
    model: Any, input_ids: Tensor, attention_mask: Tensor, completion_size: int, packed: PackedRows | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return the same as `outputs_by_cache` from one forward pass over one row of S tokens, the trie of all rows.

    Args:
        model: As there, its attention being SDPA and its positions rotary.
        input_ids: (B, P + C), prompts left-padded, completions right-padded.
        attention_mask: (B, P + C), 0 at padding.
        completion_size: C.
        packed: The rows as a trie, if that is known already.

    Raises:
        RuntimeError: The model does not hand on what its attention is told, so that its output would be wrong.
    """
    packed = packed or packed_rows(input_ids, attention_mask, completion_size)
    device = input_ids.device
    layout = layout_of(packed.trie, packed.blocks, device)
    base = extract_model_from_parallel(model)
    use_tree_attention(base)
    parents = torch.tensor(packed.parents, device=device)

    def keep_parents(_module: Any, _args: Any, outputs: Any) -> Any:
        outputs.last_hidden_state = outputs.last_hidden_state[:, parents]
        return outputs

    # The head gets a position for every distinct token that is predicted: a prefix may be followed by several.
    with base.get_decoder().register_forward_hook(keep_parents):
        outputs = model(
            input_ids=torch.tensor(packed.trie.tokens, device=device)[None],
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device),  # keeps models from making one
            position_ids=torch.tensor(packed.trie.depths, device=device)[None],
            shift_labels=torch.tensor(packed.labels, device=device)[None],
            fused_lm_head=True,
            tree=layout,
        )
    require_used(layout, base.config.num_hidden_layers)

    def of_rows(values: Tensor) -> Tensor:
        places = attention_mask[:, -completion_size:] != 0
        return values.new_zeros(places.shape).masked_scatter(
            places, values[0, torch.tensor(packed.edges, device=device)]
        )

    return of_rows(outputs.log_probs), None if outputs.entropy is None else of_rows(outputs.entropy)


def _tails(input_ids: Tensor, attention_mask: Tensor, completion_size: int) -> tuple[Tensor, Tensor]:
    """Return (B, C) tokens before each completion token, and those completion tokens as labels."""
    labels = input_ids.masked_fill(attention_mask == 0, IGNORED)
    return input_ids[:, -completion_size - 1 : -1], labels[:, -completion_size:]


def prefill(model: Any, prefix_ids: Tensor, prefix_mask: Tensor) -> DynamicCache:
    """Return the keys and values of U prefixes.

    Args:
        model: The causal language model, possibly wrapped.
        prefix_ids: (U, P − 1) distinct prompts without their last token, left-padded, P ≥ 2.
        prefix_mask: (U, P − 1).
    """
    cache = DynamicCache()
    model(
        input_ids=prefix_ids,
        attention_mask=prefix_mask,
        use_cache=True,
        logits_to_keep=1,
        **as_argument(cache, model),
    )
    return cache


def as_argument(cache: DynamicCache, model: Any) -> dict[str, DynamicCache]:
    """Return a cache under the name by which a model takes it: transformers 5.24 renamed `past_key_values` to `cache`.

    Args:
        cache: To pass on.
        model: The causal language model, possibly wrapped.
    """
    parameters = inspect.signature(extract_model_from_parallel(model).get_decoder().forward).parameters
    return {"cache" if "cache" in parameters else "past_key_values": cache}
