"""Keys and values of conversations that may go on, kept from one generation to the next while the weights stay."""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trl_3spo.prefix_sharing.trie import num_shared

Ids = tuple[int, ...]
Layers = list[tuple[Tensor, Tensor]]
"""For every layer the keys and the values of one sequence, each (H, T, D)."""


MIN_KNOWN = 0.5
"""Share of prompts' tokens that has to be known for keeping to be worth its copies."""

PROBATION = 20_000
"""Tokens of prompts until which that is not looked at."""


class Match(NamedTuple):
    """What is known of the beginning of a prompt.

    Args:
        size: How many of its tokens.
        layers: Keys and values of a sequence that begins with them.
    """

    size: int
    layers: Layers


class KeptPrefixes:
    """Sequences with their keys and values. A sequence stands for all its prefixes, so branches share what they can.

    Args:
        max_bytes: Most that keys and values may take; the least recently used sequences are dropped for it.
    """

    def __init__(self, max_bytes: int) -> None:
        self.num_bytes = self.num_asked = self.num_known = 0
        self._max_bytes = max_bytes
        self._layers: OrderedDict[Ids, Layers] = OrderedDict()
        self._sorted: list[Ids] = []
        self._weights: object = None

    def __len__(self) -> int:
        """Return how many sequences are kept."""
        return len(self._sorted)

    def drop_if_changed(self, weights: object) -> None:
        """Drop everything that was computed with other weights.

        Args:
            weights: Tells these from all others, see `mark_of`.
        """
        if weights != self._weights:
            self.clear()
            self._weights = weights

    def clear(self) -> None:
        """Drop everything, and begin to count anew."""
        self._layers.clear()
        self._sorted.clear()
        self.num_bytes = self.num_asked = self.num_known = 0

    @property
    def is_worth_it(self) -> bool:
        """Whether at least half of what was asked for was known, or hardly anything has been asked for yet."""
        return self.num_asked < PROBATION or self.num_known >= MIN_KNOWN * self.num_asked

    def match(self, ids: Sequence[int]) -> Match:
        """Return the longest beginning of a prompt that is known, which may be nothing."""
        prompt = tuple(ids)
        place = bisect_left(self._sorted, prompt)
        # In sorted order no sequence shares more with a prompt than one of its two neighbours.
        neighbours = [(num_shared(prompt, known), known) for known in self._sorted[max(place - 1, 0) : place + 1]]
        size, known = max(neighbours, default=(0, ()))
        self.num_asked += len(prompt)
        self.num_known += size
        if size == 0:
            return Match(0, [])
        self._layers.move_to_end(known)
        return Match(size, self._layers[known])

    def keep(self, ids: Sequence[int], layers: Layers) -> None:
        """Keep a sequence, in place of those that it goes on from; one that is known already is left as it is.

        Args:
            ids: T token ids.
            layers: Their keys and values.
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
    """Return what changes with a model's weights.

    These are the updates, torch's counts of changes in place, which fused optimizers leave as they are, and a number of
    each tensor that is trained.

    Args:
        model: The model.
        num_updates: Optimizer steps so far.
    """
    parameters = list(model.parameters())
    some = [x.detach().flatten()[:1].float() for x in parameters if x.requires_grad and x.numel()]
    values = torch.cat(some).tolist() if some else []
    return num_updates, [x._version for x in parameters], values


def size_of(layers: Layers) -> int:
    """Return the bytes of keys and values."""
    return sum(tensor.nbytes for pair in layers for tensor in pair)


def layers_of(cache: Any, row: int, places: Tensor) -> Layers:
    """Return a copy of the keys and values of one row of a cache, at some of its positions.

    Args:
        cache: Has `layers` with `keys` and `values`, each (B, H, S, D).
        row: The row.
        places: (T,) positions.
    """
    return [(layer.keys[row][:, places], layer.values[row][:, places]) for layer in cache.layers]
