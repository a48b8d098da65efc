"""Attention in which every position of a trie sees its ancestors alone, computed block by block by SDPA.

Registered with transformers under `TREE_ATTENTION`. Without a layout it is transformers' own SDPA, masks included, so
that a model can keep it for everything it does.
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
    """How the positions of a trie are cut into blocks of queries and pieces of keys.

    Args:
        ends: (S,) ends of the subtrees, on the model's device.
        blocks: The blocks, in order; together they are all positions.
        piece_sizes: Sizes of the pieces that keys are split into, so that every block's are some of them.
        pieces: For every block the numbers of the pieces that it attends to.
        num_calls: How often attention has been computed by it.
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
    """Return how attention over a trie is computed.

    Args:
        trie: With at least one token.
        blocks: The blocks that it is cut into.
        device: The model's.
    """
    spans = [[*block.ancestors, block.queries] for block in blocks]
    # Keys are split once, at every border of any span: splitting by slices would have a gradient of all keys for each.
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
        module: The layer's attention.
        query: (1, H, S, D).
        key: (1, H', S, D).
        value: (1, H', S, D).
        attention_mask: Not looked at where there is a layout.
        tree: Layout of the row; `None` is plain SDPA.
        **kwargs: Of `sdpa_attention_forward`.

    Returns:
        (1, S, H, D), and no weights.
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
    """Exchange a model's SDPA for `tree_attention`, which is the same without a layout."""
    if model.config._attn_implementation != TREE_ATTENTION:
        model.set_attn_implementation(TREE_ATTENTION)


def require_used(tree: TreeLayout, num_layers: int) -> None:
    """Raise a RuntimeError unless every layer has computed its attention by a layout."""
    if tree.num_calls != num_layers:
        raise RuntimeError(
            f"{tree.num_calls} of {num_layers} layers computed attention over the trie of the batch. The model does "
            "not hand on what its attention is told, so its output is wrong. Set prefix_sharing='cache' or 'off'."
        )
