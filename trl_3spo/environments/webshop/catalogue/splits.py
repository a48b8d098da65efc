"""Which goals to train on, and which to keep for evaluation."""

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

from trl_3spo.environments.webshop.catalogue.goals import Goals

_Item = TypeVar("_Item", int, str)

SPLITS = ("train", "eval", "test")


def split_goals(goals: Goals, num_test: int, num_eval: int, by: str, seed: int) -> Mapping[str, Sequence[int]]:
    """Return the indices of each split's goals.

    With `goal`, the first goals are the test split, the next the eval split and the others the train split, as in
    WebShop's baselines. One product's goals may be in all three. With `product`, each split has the same share of the
    products, with all of their goals.

    Args:
        goals: Goals in their order.
        num_test: Size of the test split, by goal.
        num_eval: Size of the eval split, by goal.
        by: `goal` or `product`.
        seed: Seed for the choice of products.

    Raises:
        ValueError: A size is negative, or `by` is something else.
    """
    if num_test < 0 or num_eval < 0:
        raise ValueError(f"num_test={num_test}, num_eval={num_eval}: neither may be negative.")
    if by == "goal":
        return _cut(range(len(goals)), num_test, num_eval)
    if by != "product":
        raise ValueError(f"split_by is {by!r}; required is goal or product.")
    products = sorted({goals.product(index).asin for index in range(len(goals))})
    random.Random(seed).shuffle(products)
    share = len(products) / max(len(goals), 1)
    parts = _cut(products, round(num_test * share), round(num_eval * share))
    split_of = {asin: name for name, asins in parts.items() for asin in asins}
    splits: dict[str, list[int]] = {name: [] for name in SPLITS}
    for index in range(len(goals)):
        splits[split_of[goals.product(index).asin]].append(index)
    return splits


def _cut(items: Sequence[_Item], num_test: int, num_eval: int) -> dict[str, Sequence[_Item]]:
    end = num_test + num_eval
    return {"test": items[:num_test], "eval": items[num_test:end], "train": items[end:]}
