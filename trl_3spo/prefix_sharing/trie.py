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
    """S distinct prefixes, each at the position of its last token; a prefix comes before all that begin with it.

    Args:
        tokens: (S,) token ids.
        depths: (S,) how many tokens come before each on its path.
        ends: (S,) ends of the subtrees: position i is seen from i to ends[i] − 1 and from nowhere else.
        paths: For every row the (T,) positions of its tokens.
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
        """How many tokens the rows have, those that several rows share counted for each."""
        return sum(map(len, self.paths))


def trie_of(rows: Sequence[Sequence[int]]) -> Trie:
    """Return the trie of some rows. In sorted order a row shares most with the one before it.

    Args:
        rows: Lists of token ids, of any sizes.
    """
    paths: list[Positions] = [np.zeros(0, np.int64)] * len(rows)
    tokens: list[Positions] = []
    depths: list[Positions] = []
    ends = np.zeros(sum(map(len, rows)), np.int64)
    row = path = np.zeros(0, np.int64)
    size = 0
    for index in sorted(range(len(rows)), key=lambda index: list(rows[index])):
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


def num_shared(one: Sequence[int] | Positions, other: Sequence[int] | Positions) -> int:
    """Return how many tokens two rows begin with in common."""
    size = min(len(one), len(other))
    differing = np.flatnonzero(np.asarray(one[:size]) != np.asarray(other[:size]))
    return int(differing[0]) if len(differing) else size


class Span(NamedTuple):
    """Positions from `start` to `stop` − 1."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many they are."""
        return self.stop - self.start


class Block(NamedTuple):
    """Successive positions with what any of them sees before them.

    Args:
        queries: The positions.
        ancestors: Those before the block that its first position sees, in order. The others see no more: what lies
            before the block and is seen from within it has a subtree that reaches into it, beginning at its first.
    """

    queries: Span
    ancestors: list[Span]

    @property
    def num_pairs(self) -> int:
        """How many pairs of positions attention computes, those that do not see each other among them."""
        return self.queries.size * (self.queries.size + sum(span.size for span in self.ancestors))


def blocks_of(trie: Trie, max_size: int, min_size: int = 1) -> list[Block]:
    """Cut a trie into blocks, so that attention computes little more than the pairs that see each other.

    A block ends where the subtree of its first position ends, since what follows sees less of it; small subtrees are
    put together.

    Args:
        trie: With at least one token.
        max_size: Most positions of a block, at least 1.
        min_size: Positions up to which subtrees are put together, at least 1.
    """
    blocks = []
    start = 0
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
