"""The catalogue, what it is searched with, and what customers want: everything that never changes."""

import operator
import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from trl_3spo.environments.base import Task
from trl_3spo.environments.webshop import files, goals, reward
from trl_3spo.environments.webshop.goals import Goals
from trl_3spo.environments.webshop.index import SearchIndex
from trl_3spo.environments.webshop.products import Product, is_sold, make_product
from trl_3spo.environments.webshop.reward import Reward, TitleNouns
from trl_3spo.environments.webshop.title_nouns import title_nouns as nouns_by_rule

MAX_HITS = 50
"""Products a search finds, at most."""


class World:
    """A catalogue with its search index and its goals; shared by any number of environments, none of which changes it.

    Args:
        products: In catalogue order.
        goals: In their order.
        title_nouns: Gives the nouns of a title.
        index_cache: Folder in which the search index is kept, if any.
    """

    def __init__(
        self,
        products: Sequence[Product],
        goals: Goals,
        *,
        title_nouns: TitleNouns = nouns_by_rule,
        index_cache: str | Path | None = None,
    ) -> None:
        self.products = tuple(products)
        self.goals = goals
        self.by_asin: Mapping[str, Product] = {product.asin: product for product in self.products}
        self._index = SearchIndex(
            [product.asin for product in self.products],
            [product.searched_text for product in self.products],
            None if index_cache is None else Path(index_cache).expanduser(),
        )
        self._title_nouns = lru_cache(maxsize=1 << 16)(title_nouns)
        self.goal = lru_cache(maxsize=1 << 14)(goals.__getitem__)
        self.search = lru_cache(maxsize=1 << 12)(self._search)
        self.score = lru_cache(maxsize=1 << 14)(self._score)
        self._tasks: dict[str | None, tuple[Task, ...]] = {}

    @classmethod
    def from_files(
        cls,
        items: str | Path,
        attributes: str | Path,
        human: str | Path | None = None,
        *,
        seed: int = 0,
        goal_order_seed: int = 233,
        num_products: int | None = None,
        title_nouns: TitleNouns = nouns_by_rule,
        index_cache: str | Path | None = None,
    ) -> "World":
        """Load WebShop's data files.

        Args:
            items: Products, such as `items_shuffle_1000.json`.
            attributes: Their attributes and instructions, such as `items_ins_v2_1000.json`.
            human: Instructions that people wrote, such as `items_human_ins.json`. They replace the catalogue's own.
            seed: Of the prices drawn from a range and of the price limits.
            goal_order_seed: Of the goals' order, and so of the splits.
            num_products: Number of records to read from `items`, all by default.
            title_nouns: Gives the lower-case nouns of a title, repeated ones repeated.
            index_cache: Folder in which the search index is kept, to be read instead of built the next time.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file is damaged or no such file, or `num_products` is below 1.
        """
        if num_products is not None and num_products < 1:
            raise ValueError(f"num_products is {num_products}; it must be at least 1, or None for all.")
        items, attributes = Path(items), Path(attributes)
        rng = random.Random(seed)
        entries = files.read_object(attributes)
        products: dict[str, Product] = {}
        for record in files.read_products(items, num_products):
            asin = record["asin"]
            if is_sold(asin) and asin not in products:
                products[asin] = make_product(record, entries.get(asin, {}), rng, items)
        if human is None:
            made = goals.catalogue_goals(products.values(), entries, attributes, rng, goal_order_seed)
        else:
            path = Path(human)
            made = goals.human_goals(products.values(), files.read_object(path), path, rng, goal_order_seed)
        return cls(tuple(products.values()), made, title_nouns=title_nouns, index_cache=index_cache)

    def tasks(self, split: str | None) -> tuple[Task, ...]:
        """Return the tasks of a split, `train`, `eval` or `test`, or all of them.

        Raises:
            ValueError: There is no such split, or it is empty.
        """
        if split not in self._tasks:
            self._tasks[split] = tuple(
                Task(self.task_id(index), self.goals.product(index).category, index) for index in self._split(split)
            )
        return self._tasks[split]

    def _split(self, split: str | None) -> Sequence[int]:
        num_goals = len(self.goals)
        splits = {
            None: range(num_goals),
            "test": range(min(500, num_goals)),
            "eval": range(min(500, num_goals), min(1500, num_goals)),
            "train": range(min(1500, num_goals), num_goals),
        }
        if split not in splits:
            raise ValueError(f"There is no split {split!r}: choose train, eval, test or None.")
        if not splits[split]:
            raise ValueError(f"The split {split!r} is empty.")
        return splits[split]

    def task_id(self, index: int) -> str:
        """Return the name of a goal: its place in the order and a hash of what it says."""
        return f"{index}-{self.goal(index).id}"

    def goal_index(self, task: int | str) -> int:
        """Return the index of a goal that is given by its index or by its task's id.

        Raises:
            ValueError: There is no such goal.
        """
        if isinstance(task, str):
            prefix = task.partition("-")[0]
            index = int(prefix) if prefix.isdecimal() else -1
            is_known = 0 <= index < len(self.goals) and self.task_id(index) == task
        else:
            index = operator.index(task)
            is_known = 0 <= index < len(self.goals)
        if not is_known:
            raise ValueError(f"There is no task {task!r} among the {len(self.goals):,} of this world: use tasks().")
        return index

    def _score(self, goal_index: int, asin: str, options: tuple[tuple[str, str], ...]) -> Reward:
        """Return what buying a product with some options is worth for a goal."""
        goal, product = self.goal(goal_index), self.by_asin[asin]
        return reward.score_purchase(goal, product, dict(options), self._title_nouns)

    def _search(self, query: str) -> tuple[Product, ...]:
        """Return the best products for a lower-case query, best first, at most `MAX_HITS`.

        Raises:
            ValueError: The query has more than 1,024 distinct terms.
        """
        return tuple(self.products[position] for position in self._index.search(query, MAX_HITS))
