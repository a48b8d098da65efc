"""Keys and values of conversations, kept between generations while the weights stay the same."""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trl_3spo.prefix_sharing.trie import num_shared

Ids = tuple[int, ...]
Layers = list[tuple[Tensor, Tensor]]
"""(H, T, D) keys and values of one sequence, per layer."""


MIN_KNOWN = 0.5
"""Smallest share of prompt tokens found in the cache at which keeping is worth its copies."""

PROBATION = 20_000
"""Number of prompt tokens before that share is checked."""


class Match(NamedTuple):
    """Known beginning of a prompt.

    Args:
        size: Number of known tokens.
        layers: Keys and values of a sequence that begins with these tokens.
    """

    size: int
    layers: Layers


class KeptPrefixes:
    """Sequences with their keys and values. A sequence also serves all its prefixes, so branches share them.

    Args:
        max_bytes: Largest size of keys and values in bytes. Above it, the least recently used sequences are dropped.
    """

    def __init__(self, max_bytes: int) -> None:
        self.num_bytes = self.num_asked = self.num_known = 0
        self._max_bytes = max_bytes
        self._layers: OrderedDict[Ids, Layers] = OrderedDict()
        self._sorted: list[Ids] = []
        self._weights: object = None

    def __len__(self) -> int:
        """Return the number of kept sequences."""
        return len(self._sorted)

    def drop_if_changed(self, weights: object) -> None:
        """Drop everything that was computed with other weights.

        Args:
            weights: Mark of the current weights, see `mark_of`.
        """
        if weights != self._weights:
            self.clear()
            self._weights = weights

    def clear(self) -> None:
        """Drop everything, and reset the counts."""
        self._layers.clear()
        self._sorted.clear()
        self.num_bytes = self.num_asked = self.num_known = 0

    @property
    def is_worth_it(self) -> bool:
        """Whether at least half of the prompt tokens was known, or few prompts have been looked up yet."""
        return self.num_asked < PROBATION or self.num_known >= MIN_KNOWN * self.num_asked

    def match(self, ids: Sequence[int]) -> Match:
        """Return the longest known beginning of a prompt, perhaps empty."""
        prompt = tuple(ids)
        place = bisect_left(self._sorted, prompt)
        # In sorted order, one of a prompt's two neighbors shares the longest beginning with it.
        neighbours = [(num_shared(prompt, known), known) for known in self._sorted[max(place - 1, 0) : place + 1]]
        size, known = max(neighbours, default=(0, ()))
        self.num_asked += len(prompt)
        self.num_known += size
        if size == 0:
            return Match(0, [])
        self._layers.move_to_end(known)
        return Match(size, self._layers[known])

    def keep(self, ids: Sequence[int], layers: Layers) -> None:
        """Keep a sequence instead of its prefixes; a known sequence is unchanged.

        Args:
            ids: T token ids.
            layers: Keys and values of the tokens.
        """
        new = tuple(ids)
        place = bisect_left(self._sorted, new)
        if place < len(self._sorted) and self._sorted[place][: len(new)] == new:
            return
        while place > 0 and new[: len(self._sorted[place - 1])] == self._sorted[place - 1]:
            place -= 1
            self._drop(self._sorted[place])
        insort(self._sorted, new)
        self._layers[new] = layers
        self.num_bytes += size_of(layers)
        while self.num_bytes > self._max_bytes:
            self._drop(next(iter(self._layers)))

    def _drop(self, known: Ids) -> None:
        self.num_bytes -= size_of(self._layers.pop(known))
        del self._sorted[bisect_left(self._sorted, known)]


def mark_of(model: torch.nn.Module, num_updates: int) -> object:
    """Return a mark that changes with a model's weights.

    It is made of the number of updates, torch's counts of in-place changes, and one number of each trained tensor.
    Fused optimizers do not change torch's counts.

    Args:
        model: The model.
        num_updates: Number of optimizer steps so far.
    """
    parameters = list(model.parameters())
    some = [x.detach().flatten()[:1].float() for x in parameters if x.requires_grad and x.numel()]
    values = torch.cat(some).tolist() if some else []
    return num_updates, [x._version for x in parameters], values


def size_of(layers: Layers) -> int:
    """Return the size of keys and values in bytes."""
    return sum(tensor.nbytes for pair in layers for tensor in pair)


def layers_of(cache: Any, row: int, places: Tensor) -> Layers:
    """Return a copy of the keys and values of one row of a cache, at some of its positions.

    Args:
        cache: Cache with `layers`, each with (B, H, S, D) `keys` and `values`.
        row: Number of the row.
        places: (T,) positions.
    """
    return [(layer.keys[row][:, places], layer.values[row][:, places]) for layer in cache.layers]
