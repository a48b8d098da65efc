"""The parts of a shop that never change: its catalogue, search index and goals."""

import operator
import random
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from trl_3spo.environments.base import Task
from trl_3spo.environments.webshop.catalogue import files, goals
from trl_3spo.environments.webshop.catalogue.catalogue import generate_catalogue, write_catalogue
from trl_3spo.environments.webshop.catalogue.goals import Goal, Goals
from trl_3spo.environments.webshop.catalogue.products import Product, is_sold, make_product
from trl_3spo.environments.webshop.catalogue.splits import SPLITS, split_goals
from trl_3spo.environments.webshop.scoring.reward import Reward, TitleNouns, score_purchase
from trl_3spo.environments.webshop.scoring.title_nouns import title_nouns as nouns_by_rule
from trl_3spo.environments.webshop.search.index import SearchIndex
from trl_3spo.environments.webshop.shop.choices import best_options

MAX_HITS = 50
"""Products a search finds, at most."""


class World:
    """A catalogue with its search index and its goals; shared by any number of environments, none of which changes it.

    Args:
        products: Products in catalogue order.
        goals: Goals in their order.
        splits: Indices of the goals of `train`, `eval` and `test`.
        title_nouns: Function that gives the nouns of a title.
        index_cache: Folder in which the search index is kept, if any.
    """

    def __init__(
        self,
        products: Sequence[Product],
        goals: Goals,
        splits: Mapping[str, Sequence[int]],
        *,
        title_nouns: TitleNouns = nouns_by_rule,
        index_cache: Path | None = None,
    ) -> None:
        self.products = tuple(products)
        self.goals = goals
        self.by_asin: Mapping[str, Product] = {product.asin: product for product in self.products}
        # Hits of equal score are ordered by asin.
        self._searched = sorted(self.products, key=lambda product: product.asin)
        self._index = SearchIndex(lambda: (product.searched_text for product in self._searched), index_cache)
        self._title_nouns = lru_cache(maxsize=1 << 16)(title_nouns)
        self.goal = lru_cache(maxsize=1 << 14)(goals.__getitem__)
        self.task_id = lru_cache(maxsize=1 << 14)(self._task_id)
        self.search = lru_cache(maxsize=1 << 12)(self._search)
        self.score = lru_cache(maxsize=1 << 14)(self._score)
        self._splits = splits
        self._tasks: dict[tuple[str | None, bool], tuple[Task, ...]] = {}

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
        num_test: int = 500,
        num_eval: int = 1000,
        split_by: str = "goal",
        title_nouns: TitleNouns = nouns_by_rule,
        index_cache: str | Path | None = None,
    ) -> "World":
        """Load WebShop's data files.

        Args:
            items: Products, such as `items_shuffle_1000.json`.
            attributes: Their attributes and instructions, such as `items_ins_v2_1000.json`.
            human: Instructions that people wrote, such as `items_human_ins.json`. They replace the catalogue's own.
            seed: Seed for prices drawn from a range and for price limits.
            goal_order_seed: Seed for the goals' order and for the splits.
            num_products: Number of records to read from `items`, all by default.
            num_test: Goals in the split `test`. The defaults come from WebShop's baselines on its 12,087 human goals.
            num_eval: Goals in the split `eval`.
            split_by: `goal`, or `product` for splits that share no product; see `splits.split_goals`.
            title_nouns: Function that gives the lower-case nouns of a title, with repetitions.
            index_cache: Folder for the search index, which is then read instead of built the next time.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file is damaged or of another kind, the attributes belong to other products, or
                `num_products` is below 1.
        """
        if num_products is not None and num_products < 1:
            raise ValueError(f"num_products is {num_products}; it must be at least 1, or None for all.")
        items, attributes = Path(items), Path(attributes)
        rng = random.Random(seed)
        entries = files.read_object(attributes, dict)
        products: dict[str, Product] = {}
        for record in files.read_products(items, num_products):
            asin = record["asin"]
            if is_sold(asin) and asin not in products:
                entry = entries.get(asin, {})
                known = files.texts(entry, "attributes", asin, attributes) if "attributes" in entry else ["DUMMY_ATTR"]
                products[asin] = make_product(record, known, rng, items)
        files.refuse_foreign(products, entries, items, attributes)
        if human is None:
            made = goals.catalogue_goals(products.values(), entries, attributes, rng, goal_order_seed)
        else:
            path = Path(human)
            made = goals.human_goals(products.values(), files.read_object(path, list), path, rng, goal_order_seed)
        splits = split_goals(made, num_test, num_eval, split_by, goal_order_seed)
        cache = None if index_cache is None else Path(index_cache).expanduser()
        return cls(tuple(products.values()), made, splits, title_nouns=title_nouns, index_cache=cache)

    @classmethod
    def bundled(cls, seed: int = 0) -> "World":
        """Make a shop without any files: 480 generated products in six categories, and goals that can all be reached.

        A tenth of the products, with their goals, are the split `test`, another tenth the split `eval`.

        Args:
            seed: Seed for the catalogue, prices, order of the goals and splits. Equal seeds give equal shops.
        """
        with TemporaryDirectory() as folder:
            items, attributes, _ = write_catalogue(generate_catalogue(seed=seed), folder)
            return cls.from_files(
                items, attributes, seed=seed, goal_order_seed=seed, num_test=270, num_eval=270, split_by="product"
            )

    def tasks(self, split: str | None = None, *, only_attainable: bool = False) -> tuple[Task, ...]:
        """Return the tasks of a split, `train`, `eval` or `test`, or of all goals.

        Args:
            split: Name of a split; `None` for all goals.
            only_attainable: Whether to leave out the goals of `unattainable`.

        Raises:
            ValueError: There is no such split, or it is empty.
        """
        key = split, only_attainable
        if key not in self._tasks:
            indices = self._indices(split)
            if only_attainable:
                left_out = set(self.unattainable)
                indices = [index for index in indices if index not in left_out]
            if not indices:
                raise ValueError(self._explain_empty(split, only_attainable))
            self._tasks[key] = tuple(map(self.task, indices))
        return self._tasks[key]

    def task(self, index: int) -> Task:
        """Return the task of the goal with an index."""
        return Task(self.task_id(index), self.goals.product(index).category, index)

    def _indices(self, split: str | None) -> Sequence[int]:
        if split is None:
            return range(len(self.goals))
        if split not in self._splits:
            raise ValueError(f"There is no split {split!r}: choose one of {', '.join(SPLITS)}, or None for all goals.")
        return self._splits[split]

    def _explain_empty(self, split: str | None, only_attainable: bool) -> str:
        if not self.goals:
            return "This world has no goals: no product it loaded has an instruction. Load more products."
        sizes = ", ".join(f"{len(self._splits[name]):,} of {name}" for name in SPLITS)
        which = "attainable goals" if only_attainable else "goals"
        return (
            f"The split {split!r} has no {which}; of the {len(self.goals):,} goals there are {sizes}. Load more "
            "products, give from_files smaller splits such as num_test=3, num_eval=3, or take split=None for all goals."
        )

    @cached_property
    def unattainable(self) -> tuple[int, ...]:
        """Indices of the goals for which no choice of options makes their own product worth the full reward.

        Options are compared in a way that some values fail with themselves; others no click can choose.
        """
        return tuple(index for index, goal in enumerate(self.goals) if self._best_score(goal).total < 1)

    def _best_score(self, goal: Goal) -> Reward:
        return score_purchase(goal, goal.product, best_options(goal), self._title_nouns)

    def _task_id(self, index: int) -> str:
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
        return score_purchase(goal, product, dict(options), self._title_nouns)

    def _search(self, query: str) -> tuple[Product, ...]:
        """Return the best products for a lower-case query, best first, at most `MAX_HITS`.

        Raises:
            ValueError: The query has more than 1,024 distinct terms.
        """
        return tuple(self._searched[position] for position in self._index.search(query, MAX_HITS))
