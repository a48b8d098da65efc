"""Tries of rows of tokens: every distinct prefix once, and in blocks every pair that sees each other."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_3spo.prefix_sharing.trie import blocks_of, cut_by_size, trie_of

ROWS = st.lists(st.lists(st.integers(0, 2), max_size=8), min_size=1, max_size=12)


def test_a_trie_by_hand():
    trie = trie_of([[7, 8, 9], [7, 8], [5], [7, 6]])
    assert trie.tokens.tolist() == [5, 7, 6, 8, 9]
    assert trie.depths.tolist() == [0, 0, 1, 1, 2]
    assert trie.ends.tolist() == [1, 5, 3, 5, 5]
    assert [path.tolist() for path in trie.paths] == [[1, 3, 4], [1, 3], [0], [1, 2]]
    assert (len(trie), trie.num_row_tokens) == (5, 8)


@given(ROWS)
def test_positions_are_the_distinct_prefixes(rows):
    trie = trie_of(rows)
    prefixes = {tuple(row[:size]) for row in rows for size in range(1, len(row) + 1)}
    assert len(trie) == len(prefixes)
    for row, path in zip(rows, trie.paths, strict=True):
        assert trie.tokens[path].tolist() == row
        assert trie.depths[path].tolist() == list(range(len(row)))


@given(ROWS)
def test_a_position_is_seen_from_what_begins_with_it_and_nowhere_else(rows):
    trie = trie_of(rows)
    prefix_of = {
        int(i): tuple(row[: n + 1]) for row, path in zip(rows, trie.paths, strict=True) for n, i in enumerate(path)
    }
    for i in range(len(trie)):
        for q in range(len(trie)):
            begins_with = prefix_of[q][: len(prefix_of[i])] == prefix_of[i]
            assert (i <= q < trie.ends[i]) == begins_with


@given(ROWS, st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=200)
def test_blocks_hold_every_position_once_and_all_it_sees(rows, max_size, min_size):
    trie = trie_of(rows)
    blocks = blocks_of(trie, max_size, min_size) if len(trie) else []
    assert [i for block in blocks for i in range(*block.queries)] == list(range(len(trie)))
    for block in blocks:
        size, ancestors = block.queries.size, [i for span in block.ancestors for i in range(*span)]
        if block.is_causal:
            assert block.queries.start == 0
            assert size > max_size
            assert trie.depths[:size].tolist() == list(range(size))
            assert block.num_pairs == sum(range(1, size + 1))
        else:
            assert 1 <= size <= max_size
            assert block.num_pairs == size * (size + len(ancestors))
        for query in range(*block.queries):
            seen = np.flatnonzero((np.arange(len(trie)) <= query) & (trie.ends > query))
            assert set(seen.tolist()) <= {*ancestors, *range(*block.queries)}


def test_a_chain_of_branches_computes_hardly_more_than_the_pairs_that_see_each_other():
    rows = [[*range(step * 60), 10_000 + step] for step in range(1, 41)]
    trie = trie_of(rows)
    seen = int(trie.depths.sum()) + len(trie)
    assert sum(block.num_pairs for block in blocks_of(trie, 256, 64)) < 1.05 * seen


def test_one_path_is_one_causal_block():
    (block,) = blocks_of(trie_of([list(range(1000))]), 256, 64)
    assert block.is_causal
    first, *others = blocks_of(trie_of([[*range(500)], [*range(300), *range(1000, 1400)]]), 256, 64)
    assert (first.queries, first.is_causal) == ((0, 500), True)
    assert [(block.queries.size, block.ancestors[0]) for block in others] == [(256, (0, 300)), (144, (0, 300))]


def test_small_trees_share_a_block_and_larger_ones_do_not():
    trie = trie_of([[tree, *range(100, 130)] for tree in range(4)])
    assert [block.queries.size for block in blocks_of(trie, 256, 64)] == [93, 31]
    assert [block.queries.size for block in blocks_of(trie, 256, 1)] == [31] * 4


def test_rows_are_cut_by_the_size_of_their_trie_by_hand():
    rows = [[7, 8, 9], [5], [7, 8], [7, 6, 6, 6], [7, 8, 1]]
    assert cut_by_size(rows, 100) == [[1, 3, 2, 4, 0]]
    assert cut_by_size(rows, 5) == [[1, 3], [2, 4, 0]]
    assert cut_by_size(rows, 3) == [[1], [3], [2, 4, 0]]  # the longest row has four


def test_a_conversation_longer_than_the_limit_stays_one_trie():
    steps = [[*range(size)] for size in range(1, 9)]
    assert cut_by_size(steps, 3) == [[*range(8)]]
    other = [[*range(4), *range(100, 100 + size)] for size in range(1, 5)]
    assert cut_by_size(steps + other, 3) == [[*range(8)], [*range(8, 12)]]


@given(ROWS, st.integers(1, 12))
def test_rows_are_cut_into_tries_that_are_full_and_no_larger(rows, max_size):
    lists = cut_by_size(rows, max_size)
    limit = max(max_size, *map(len, rows))
    assert sorted(number for numbers in lists for number in numbers) == list(range(len(rows)))
    for numbers in lists:
        assert len(trie_of([rows[number] for number in numbers])) <= limit
    for numbers, (first, *_) in pairwise(lists):
        assert len(trie_of([rows[number] for number in [*numbers, first]])) > limit
