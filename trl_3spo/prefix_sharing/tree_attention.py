"""Attention in which every position of a trie attends only to its ancestors, computed in blocks by SDPA.

It is registered with transformers under `TREE_ATTENTION`. Without a layout it equals transformers' SDPA, including
masks, so a model can keep it all the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trl_3spo.prefix_sharing.trie import Block, Span, Trie

TREE_ATTENTION = "sdpa_tree"


@dataclass(eq=False)
class TreeLayout:
    """Blocks of queries and pieces of keys for the positions of a trie.

    Args:
        ends: (S,) ends of the subtrees, on the model's device.
        blocks: Blocks in order; together they cover all positions.
        piece_sizes: Sizes of the pieces of keys; the keys of each block are whole pieces.
        pieces: Numbers of the pieces that each block attends to.
        num_calls: Number of attention calls with this layout.
    """

    ends: Tensor
    blocks: list[Block]
    piece_sizes: list[int]
    pieces: list[list[int]]
    num_calls: int = 0

    @property
    def block_sizes(self) -> list[int]:
        """Sizes of the blocks."""
        return [block.queries.size for block in self.blocks]

    def visible(self, number: int) -> Tensor:
        """Return a block's (1, 1, Q, K) mask, true where the query of the third axis sees the key of the fourth."""
        queries, ancestors = self.blocks[number]
        keys = torch.cat([torch.arange(*span, device=self.ends.device) for span in [*ancestors, queries]])
        rows = torch.arange(*queries, device=self.ends.device)[:, None]
        return ((keys <= rows) & (rows < self.ends[keys]))[None, None]


def layout_of(trie: Trie, blocks: list[Block], device: torch.device) -> TreeLayout:
    """Return the layout of attention over a trie.

    Args:
        trie: Trie with at least one token.
        blocks: Blocks of the trie.
        device: Device of the model.
    """
    spans = [[*block.ancestors, block.queries] for block in blocks]
    # Keys are split once, at the borders of all spans. Slices would each need a gradient of the size of all keys.
    borders = sorted({border for of_block in spans for span in of_block for border in span})
    numbers = {border: number for number, border in enumerate(borders)}
    sizes = [after - before for before, after in pairwise(borders)]
    return TreeLayout(torch.tensor(trie.ends, device=device), blocks, sizes, [_pieces(x, numbers) for x in spans])


def _pieces(spans: Sequence[Span], numbers: dict[int, int]) -> list[int]:
    return [number for span in spans for number in range(numbers[span.start], numbers[span.stop])]


def tree_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    tree: TreeLayout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Compute attention over one row, a trie; see `sdpa_attention_forward`.

    Args:
        module: Attention module of the layer.
        query: (1, H, S, D) queries.
        key: (1, H', S, D) keys.
        value: (1, H', S, D) values.
        attention_mask: Mask; ignored with a layout.
        tree: Layout of the row; `None` is plain SDPA.
        **kwargs: Arguments of `sdpa_attention_forward`.

    Returns:
        (1, S, H, D) outputs, and no weights.
    """
    if tree is None:
        plain: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return plain
    tree.num_calls += 1
    keys, values = (torch.split(x, tree.piece_sizes, dim=2) for x in (key, value))
    outputs = []
    for number, (queries, pieces) in enumerate(zip(torch.split(query, tree.block_sizes, 2), tree.pieces, strict=True)):
        seen = (torch.cat([part[i] for i in pieces], dim=2) for part in (keys, values))
        outputs.append(sdpa_attention_forward(module, queries, *seen, tree.visible(number), **kwargs)[0])
    return torch.cat(outputs, dim=1), None


AttentionInterface.register(TREE_ATTENTION, tree_attention)
AttentionMaskInterface.register(TREE_ATTENTION, sdpa_mask)


def use_tree_attention(model: Any) -> None:
    """Replace a model's SDPA by `tree_attention`, which is the same without a layout."""
    if model.config._attn_implementation != TREE_ATTENTION:
        model.set_attn_implementation(TREE_ATTENTION)


def require_used(tree: TreeLayout, num_layers: int) -> None:
    """Raise a RuntimeError unless every layer has computed its attention with a layout."""
    if tree.num_calls != num_layers:
        raise RuntimeError(
            f"{tree.num_calls} of {num_layers} layers computed attention over the trie of the batch. The model does "
            "not hand on what its attention is told, so its output is wrong. Set prefix_sharing='cache' or 'off'."
        )
