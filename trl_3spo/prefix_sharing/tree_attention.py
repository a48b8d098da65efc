"""Attention in which every position of a trie attends only to its ancestors: in blocks by SDPA, or by FlexAttention.

It is registered with transformers under `TREE_ATTENTION`. Without a layout it equals transformers' SDPA, including
masks, so a model can keep it all the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trl_3spo.prefix_sharing.trie import Block, Span, Trie

TREE_ATTENTION = "sdpa_tree"

FLEX_BLOCK = 128
"""Number of positions in a block of FlexAttention: what its kernels are built for."""


@dataclass(eq=False)
class TreeLayout:
    """Blocks of queries and pieces of keys for the positions of a trie.

    Args:
        ends: (S,) ends of the subtrees, on the model's device.
        blocks: Blocks in order; together they cover all positions.
        piece_sizes: Sizes of the pieces of keys; the keys of each block are whole pieces.
        pieces: Numbers of the pieces that each block attends to.
        flex_mask: Mask for FlexAttention; `None` computes the blocks by SDPA.
        num_calls: Number of attention calls with this layout.
    """

    ends: Tensor
    blocks: list[Block]
    piece_sizes: list[int]
    pieces: list[list[int]]
    flex_mask: BlockMask | None = None
    num_calls: int = 0

    @property
    def block_sizes(self) -> list[int]:
        """Sizes of the blocks."""
        return [block.queries.size for block in self.blocks]

    def visible(self, number: int) -> Tensor | None:
        """Return a block's (1, 1, Q, K) mask, true where the query of the third axis sees the key of the fourth.

        `None` is causal.
        """
        queries, ancestors, is_causal = self.blocks[number]
        if is_causal:
            return None
        keys = torch.cat([torch.arange(*span, device=self.ends.device) for span in [*ancestors, queries]])
        rows = torch.arange(*queries, device=self.ends.device)[:, None]
        return ((keys <= rows) & (rows < self.ends[keys]))[None, None]


def layout_of(trie: Trie, blocks: list[Block] | None, device: torch.device) -> TreeLayout:
    """Return the layout of attention over a trie.

    Args:
        trie: Trie with at least one token.
        blocks: Blocks of the trie for SDPA; `None` leaves the attention to FlexAttention.
        device: Device of the model.
    """
    ends = torch.tensor(trie.ends, device=device)
    if blocks is None:
        return TreeLayout(ends, [], [], [], flex_mask_of(ends))
    spans = [[*block.ancestors, block.queries] for block in blocks]
    # Keys are split once, at the borders of all spans. Slices would each need a gradient of the size of all keys.
    borders = sorted({border for of_block in spans for span in of_block for border in span})
    numbers = {border: number for number, border in enumerate(borders)}
    sizes = [after - before for before, after in pairwise(borders)]
    return TreeLayout(ends, blocks, sizes, [_pieces(x, numbers) for x in spans])


def _pieces(spans: Sequence[Span], numbers: dict[int, int]) -> list[int]:
    return [number for span in spans for number in range(numbers[span.start], numbers[span.stop])]


def flex_mask_of(ends: Tensor) -> BlockMask:
    """Return which blocks of keys FlexAttention computes for each block of queries, and the mask within them.

    Args:
        ends: (S,) ends of the subtrees.
    """
    size = len(ends)
    starts = torch.arange(0, size, FLEX_BLOCK, device=ends.device)
    stops = (starts + FLEX_BLOCK).clamp(max=size)
    of_block = torch.nn.functional.pad(ends, (0, -size % FLEX_BLOCK)).view(-1, FLEX_BLOCK)
    # Some query of a block sees some key of another, or every query every key.
    some = (starts <= starts[:, None]) & (of_block.amax(1) > starts[:, None])
    every = (starts < starts[:, None]) & (of_block.amin(1) >= stops[:, None])

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < ends[key])

    return BlockMask.from_kv_blocks(
        *_numbered(some & ~every), *_numbered(every), BLOCK_SIZE=FLEX_BLOCK, mask_mod=sees, seq_lengths=(size, size)
    )


def _numbered(is_computed: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each row how many entries are true, and the numbers of all, true ones first."""
    numbers = is_computed.int().argsort(dim=1, descending=True, stable=True)
    return is_computed.sum(1).int()[None, None], numbers.int()[None, None]


@cache
def _compiled_flex_attention() -> Any:
    return torch.compile(flex_attention, dynamic=True)


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
    if tree.flex_mask is not None:
        # Only compiled does it leave blocks out; on a CPU, where it has no gradients, tests call it as it is.
        attend = _compiled_flex_attention() if query.is_cuda else flex_attention
        is_grouped = query.size(1) != key.size(1)
        output = attend(
            query, key, value, block_mask=tree.flex_mask, scale=kwargs.get("scaling"), enable_gqa=is_grouped
        )
        return output.transpose(1, 2).contiguous(), None
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
