"""Log-probabilities that compute shared prefixes once, with equal gradients.

Two methods give the same result as GRPOTrainer's computation row by row:

- cache: one prompt with n completions. The prompts without their last tokens go through the model first. Their keys and
  values are expanded to one row per completion. A row's tail continues from them: the last prompt token, then the
  completion without its last token. Two forward passes. Activation checkpointing makes the cache impossible.
- tree: all rows form a trie of tokens, one row for the model. A position's id is its depth, it attends only to its
  ancestors, and it predicts every token that follows it. One forward pass, no padding, no cache.
"""

import inspect
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache

from trl_3spo.prefix_sharing.tree_attention import layout_of, require_used, use_tree_attention
from trl_3spo.prefix_sharing.trie import Block, Positions, Trie, blocks_of, cut_by_size, trie_of

MIN_BLOCK, MAX_BLOCK = 64, 256
"""Numbers of positions in a block of attention. Larger blocks waste pairs, smaller ones need more calls."""

IGNORED = -100
"""Label of positions that TRL's fused head ignores."""


@dataclass(frozen=True)
class SharedPrompts:
    """Which of B rows have the same prompt.

    Args:
        first_rows: First row of each of the U distinct prompts.
        owners: Index among the U prompts, for each of the B rows.
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
    """Rows as a trie, with the tokens to predict.

    Args:
        trie: Trie of the rows without their last tokens, which predict nothing.
        parents: (L,) positions that predict a token, one entry per distinct next token.
        labels: (L,) predicted tokens.
        edges: Index among the L, for every completion token, row after row.
    """

    trie: Trie
    parents: Positions
    labels: Positions
    edges: Positions

    @cached_property
    def blocks(self) -> list[Block]:
        """Blocks of the attention over the trie."""
        return blocks_of(self.trie, MAX_BLOCK, MIN_BLOCK)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of distinct prefixes, of pairs of positions in attention, and of attention blocks."""
        return len(self.trie), sum(block.num_pairs for block in self.blocks), len(self.blocks)

    @property
    def flex_sizes(self) -> tuple[int, int, int]:
        """The same for FlexAttention, which is one call: a position's pairs are its ancestors, about."""
        return len(self.trie), int(self.trie.depths.sum()), 1


def packed_rows(input_ids: Tensor, attention_mask: Tensor, completion_size: int) -> PackedRows:
    """Pack padded rows of prompts and completions of at most C tokens into a trie; see `outputs_by_tree`."""
    rows = token_rows(input_ids, attention_mask)
    num_labels = (attention_mask[:, -completion_size:] != 0).sum(1).tolist()
    trie = trie_of([row[:-1] for row in rows])
    pairs = [
        np.stack([path[len(path) - num :], np.asarray(row[len(row) - num :], np.int64)])
        for row, path, num in zip(rows, trie.paths, num_labels, strict=True)
    ]
    (parents, labels), edges = np.unique(np.concatenate(pairs, axis=1), axis=1, return_inverse=True)
    return PackedRows(trie, parents, labels, edges)


def token_rows(input_ids: Tensor, attention_mask: Tensor) -> list[list[int]]:
    """Return padded rows without their padding."""
    return [ids[known].tolist() for ids, known in zip(input_ids.cpu(), attention_mask.cpu() != 0, strict=True)]


def outputs_by_cache(
    model: Any, input_ids: Tensor, attention_mask: Tensor, completion_size: int, prompts: SharedPrompts
) -> tuple[Tensor, Tensor | None]:
    """Return log-probabilities and entropies of completion tokens, computed by TRL's fused head.

    Args:
        model: Model patched by TRL's `add_fused_lm_head`.
        input_ids: (B, P + C) token ids, prompts left-padded, completions right-padded, P ≥ 2.
        attention_mask: (B, P + C) mask, 0 at padding.
        completion_size: Number C of completion tokens.
        prompts: Shared prompts of the B rows.

    Returns:
        Two (B, C) tensors, 0 at padding; the second is None if the head gives no entropies.
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
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    completion_size: int,
    packed: PackedRows | None = None,
    *,
    uses_flex: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return the same as `outputs_by_cache` from one forward pass over one row of S tokens, the trie of all rows.

    Args:
        model: Patched model with SDPA attention and rotary positions.
        input_ids: (B, P + C) token ids, prompts left-padded, completions right-padded.
        attention_mask: (B, P + C) mask, 0 at padding.
        completion_size: Number C of completion tokens.
        packed: Rows as a trie, if known already.
        uses_flex: Whether FlexAttention computes attention, in place of SDPA.

    Raises:
        RuntimeError: The model does not pass on the arguments of its attention, so its output would be wrong.
    """
    packed = packed or packed_rows(input_ids, attention_mask, completion_size)
    device = input_ids.device
    layout = layout_of(packed.trie, None if uses_flex else packed.blocks, device)
    base = extract_model_from_parallel(model)
    use_tree_attention(base)
    parents = torch.tensor(packed.parents, device=device)

    def keep_parents(_module: Any, _args: Any, outputs: Any) -> Any:
        outputs.last_hidden_state = outputs.last_hidden_state[:, parents]
        return outputs

    # The head gets one position per distinct predicted token: several tokens may follow a prefix.
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


def outputs_by_trees(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    completion_size: int,
    max_tokens: int,
    *,
    uses_flex: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return the same as `outputs_by_tree` from several tries, with the activations of one trie in memory at a time.

    The backward pass computes each trie's activations again. What rows of two tries share is computed in both.

    Args:
        model: Patched model with SDPA attention and rotary positions, alone in its process.
        input_ids: (B, P + C) token ids, prompts left-padded, completions right-padded.
        attention_mask: (B, P + C) mask, 0 at padding.
        completion_size: Number C of completion tokens.
        max_tokens: Largest number of distinct tokens of a trie; a longer row is a trie by itself.
        uses_flex: Whether FlexAttention computes attention, in place of SDPA.
    """
    order: list[int] = []
    outputs = []
    for numbers in cut_by_size(token_rows(input_ids, attention_mask), max_tokens):
        order += numbers
        part = (input_ids[numbers], attention_mask[numbers], completion_size)
        by_tree = partial(outputs_by_tree, model, *part, packed_rows(*part), uses_flex=uses_flex)
        outputs.append(checkpoint(by_tree, use_reentrant=False))
    places = torch.tensor(order, device=input_ids.device).argsort()
    log_probs, entropies = zip(*outputs, strict=True)
    return torch.cat(log_probs)[places], None if entropies[0] is None else torch.cat(entropies)[places]


def _tails(input_ids: Tensor, attention_mask: Tensor, completion_size: int) -> tuple[Tensor, Tensor]:
    """Return the (B, C) tokens before each completion token, and the completion tokens as labels."""
    labels = input_ids.masked_fill(attention_mask == 0, IGNORED)
    return input_ids[:, -completion_size - 1 : -1], labels[:, -completion_size:]


def prefill(model: Any, prefix_ids: Tensor, prefix_mask: Tensor) -> DynamicCache:
    """Return the keys and values of U prefixes.

    Args:
        model: Causal language model, possibly wrapped.
        prefix_ids: (U, P − 1) distinct prompts without their last token, left-padded, P ≥ 2.
        prefix_mask: (U, P − 1) mask, 0 at padding.
    """
    cache = DynamicCache()
    model(
        input_ids=prefix_ids,
        attention_mask=prefix_mask,
        use_cache=True,
        logits_to_keep=one_place(prefix_ids),
        **as_argument(cache, model),
    )
    return cache


def one_place(ids: Tensor) -> Tensor:
    """Return the last place, as `logits_to_keep` of a pass whose logits nobody reads.

    A number selects a view that is not contiguous. On a CPU, its product with a head that is not trained, as under
    LoRA, copies the head for every row.
    """
    return torch.tensor([-1], device=ids.device)


def as_argument(cache: DynamicCache, model: Any) -> dict[str, DynamicCache]:
    """Return a cache under the model's argument name: transformers 5.24 renamed `past_key_values` to `cache`.

    Args:
        cache: Cache to pass on.
        model: Causal language model, possibly wrapped.
    """
    parameters = inspect.signature(extract_model_from_parallel(model).get_decoder().forward).parameters
    return {"cache" if "cache" in parameters else "past_key_values": cache}
