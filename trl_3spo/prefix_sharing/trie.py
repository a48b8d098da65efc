"""Rows of token ids as a trie: every distinct prefix once, in the order of a depth-first walk."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Trie:
    """S distinct prefixes, each at the position of its last token. A prefix comes before its continuations.

    Args:
        tokens: (S,) token ids.
        depths: (S,) numbers of tokens before each on its path.
        ends: (S,) ends of the subtrees: only positions i to ends[i] − 1 attend to position i.
        paths: (T,) positions of the tokens, for every row.
    """

    tokens: Positions
    depths: Positions
    ends: Positions
    paths: list[Positions]

    def __len__(self) -> int:
        """Return S."""
        return len(self.tokens)

    @cached_property
    def num_row_tokens(self) -> int:
        """Number of tokens in all rows; shared tokens count once per row."""
        return sum(map(len, self.paths))


def trie_of(rows: Sequence[Sequence[int]]) -> Trie:
    """Return the trie of some rows. In sorted order a row shares most with the row before it.

    Args:
        rows: Lists of token ids, of any lengths.
    """
    paths: list[Positions] = [np.zeros(0, np.int64)] * len(rows)
    tokens: list[Positions] = []
    depths: list[Positions] = []
    ends = np.zeros(sum(map(len, rows)), np.int64)
    row = path = np.zeros(0, np.int64)
    size = 0
    for index in sorted_by_prefix(rows):
        before, row = row, np.asarray(rows[index], np.int64)
        common = num_shared(before, row)
        ends[path[common:]] = size
        path = np.concatenate([path[:common], np.arange(size, size + len(row) - common)])
        paths[index] = path
        tokens.append(row[common:])
        depths.append(np.arange(common, len(row)))
        size += len(row) - common
    ends[path] = size
    return Trie(np.concatenate([*tokens, row[:0]]), np.concatenate([*depths, row[:0]]), ends[:size], paths)


def sorted_by_prefix(rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the numbers of rows in an order in which rows with the same beginning are neighbors."""
    return sorted(range(len(rows)), key=lambda number: list(rows[number]))


def cut_by_size(rows: Sequence[Sequence[int]], max_size: int) -> list[list[int]]:
    """Return the numbers of the rows in lists. The trie of each list has at most `max_size` tokens.

    Rows that share most are neighbors, so that few lists share tokens. If the longest row has more than `max_size`
    tokens, its length is the limit. That row goes through the model whole, and a trie of its size costs no more.

    Args:
        rows: Lists of token ids, of any lengths.
        max_size: Largest number of tokens in a trie, at least 1.
    """
    limit = max(max_size, *map(len, rows), 1)
    lists: list[list[int]] = []
    before: Sequence[int] = ()
    size = 0
    for number in sorted_by_prefix(rows):
        row = rows[number]
        size += len(row) - num_shared(before, row)
        if not lists or size > limit:
            lists.append([])
            size = len(row)
        lists[-1].append(number)
        before = row
    return lists


def num_shared(one: Sequence[int] | Positions, other: Sequence[int] | Positions) -> int:
    """Return the length of the common beginning of two rows, in tokens."""
    size = min(len(one), len(other))
    differing = np.flatnonzero(np.asarray(one[:size]) != np.asarray(other[:size]))
    return int(differing[0]) if len(differing) else size


class Span(NamedTuple):
    """Positions from `start` to `stop` − 1."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of positions."""
        return self.stop - self.start


class Block(NamedTuple):
    """Successive positions, with the positions before them that they attend to.

    Args:
        queries: Positions of the block.
        ancestors: Positions before the block that its first position attends to, in order. The block's other positions
            attend to no further ones before it: the subtree of such a position would include the first one too.
        is_causal: Whether every position attends to all positions up to itself, so that no mask is needed.
    """

    queries: Span
    ancestors: list[Span]
    is_causal: bool = False

    @property
    def num_pairs(self) -> int:
        """Number of pairs of positions in the attention, including masked pairs."""
        size = self.queries.size
        return size * (size + 1) // 2 if self.is_causal else size * (size + sum(span.size for span in self.ancestors))


def blocks_of(trie: Trie, max_size: int, min_size: int = 1) -> list[Block]:
    """Cut a trie into blocks, so that attention computes few masked pairs.

    The first path, from the root to its leaf, is one block without a mask, if it is long. Any other block ends where
    the subtree of its first position ends, because later positions attend to less of it. Small subtrees are put
    together.

    Args:
        trie: Trie with at least one token.
        max_size: Largest number of positions in a block with a mask, at least 1.
        min_size: Number of positions up to which subtrees are put together, at least 1.
    """
    leaf = np.flatnonzero(np.diff(trie.depths) != 1)
    size = int(leaf[0]) + 1 if len(leaf) else len(trie)
    start = size if size > max_size else 0
    blocks = [Block(Span(0, start), [], is_causal=True)] if start else []
    while start < len(trie):
        stop = int(trie.ends[start])
        while stop - start < min_size and stop < len(trie):
            stop = int(trie.ends[stop])
        queries = Span(start, min(stop, start + max_size))
        blocks.append(Block(queries, _spans(np.flatnonzero(trie.ends[:start] > start))))
        start = queries.stop
    return blocks


def _spans(positions: Positions) -> list[Span]:
    """Return increasing positions as the fewest spans."""
    cuts = np.flatnonzero(np.diff(positions) > 1) + 1
    return [Span(int(run[0]), int(run[-1]) + 1) for run in np.split(positions, cuts) if len(run)]
