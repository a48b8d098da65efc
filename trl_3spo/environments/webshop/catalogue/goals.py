"""What a customer wants: an instruction, and what it is scored by."""

import hashlib
import itertools
import math
import random
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from trl_3spo.environments.webshop.catalogue import files
from trl_3spo.environments.webshop.catalogue.products import Product
from trl_3spo.environments.webshop.scoring.matching import Option

NO_LIMIT = 1_000_000.0
"""Price limit of goals that state none."""

_LIMITS = tuple(10.0 * tens for tens in range(1, 100))


@dataclass(frozen=True, slots=True, eq=False)
class Goal:
    """One task of the shop.

    Args:
        product: The product it was made for. Another one that fits can be bought as well.
        instruction: Text of the customer, with the price limit.
        attributes: Wanted attributes.
        options: Wanted choices: (name, value) pairs in goals made from the catalogue, values in people's goals.
        price_limit: Highest price in dollars; `NO_LIMIT` if the instruction states none.
        weight: Relative frequency with which WebShop draws the goal.
    """

    product: Product
    instruction: str
    attributes: tuple[str, ...]
    options: tuple[Option, ...]
    price_limit: float
    weight: float = 1.0

    @property
    def id(self) -> str:
        """A name made of the asin and a hash of what is wanted, prices included."""
        content = repr((self.instruction, self.attributes, self.options, self.price_limit))
        return f"{self.product.asin}-{hashlib.sha256(content.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class _Family:
    """The goals of one instruction: one that a person wrote, or one for every combination of the product's choices."""

    product: Product
    instruction: str
    attributes: tuple[str, ...]
    price_limit: float
    wanted: tuple[str, ...] | None = None

    def choices(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return the names and values to combine."""
        return sorted(self.product.options.items()) if self.wanted is None else []

    def __len__(self) -> int:
        return math.prod(len(values) for _, values in self.choices())

    def goal(self, number: int, weight: float) -> Goal:
        """Return the goal of a combination; they are numbered with the last choice changing fastest."""
        pairs: list[tuple[str, str]] = []
        for name, values in reversed(self.choices()):
            number, position = divmod(number, len(values))
            pairs.insert(0, (name, values[position]))
        stated = " with " + ", and ".join(f"{name}: {value}" for name, value in pairs) if pairs else ""
        limit = "" if self.price_limit == NO_LIMIT else f", and price lower than {self.price_limit:.2f} dollars"
        instruction = self.instruction + stated + limit
        options = tuple(pairs) if self.wanted is None else self.wanted
        return Goal(self.product, instruction, self.attributes, options, self.price_limit, weight)


class Goals(Sequence[Goal]):
    """All goals of a `World` in their order. Each is made on request, because a catalogue has very many.

    Args:
        families: Instructions in catalogue order.
        seed: Seed for the order.
        weighted: Whether goals with frequent attributes are drawn less often, like WebShop's goals from the catalogue.
    """

    def __init__(self, families: Sequence[_Family], seed: int, *, weighted: bool) -> None:
        self._families = families
        self._starts = list(itertools.accumulate(map(len, families), initial=0))
        order = list(range(self._starts[-1]))
        random.Random(seed).shuffle(order)
        self._order = array("i", order)
        self._counts: Counter[str] = Counter()
        for family in families if weighted else ():
            self._counts.update(dict.fromkeys(family.attributes, 0))
            for attribute in family.attributes:
                self._counts[attribute] += len(family)

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Goal: ...
    @overload
    def __getitem__(self, index: slice) -> list[Goal]: ...
    def __getitem__(self, index: int | slice) -> Goal | list[Goal]:
        """Return a goal by its place in the order."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        family, number = self._locate(index)
        return family.goal(number, self._weight(family))

    def product(self, index: int) -> Product:
        """Return the product a goal was made for, without making the goal."""
        return self._locate(index)[0].product

    def _locate(self, index: int) -> tuple[_Family, int]:
        position = self._order[index]
        family = bisect_right(self._starts, position) - 1
        return self._families[family], position - self._starts[family]

    def _weight(self, family: _Family) -> float:
        if not self._counts:
            return 1.0
        return sum(1 / self._counts[attribute] for attribute in family.attributes) / len(family.attributes)


def catalogue_goals(
    products: Iterable[Product], entries: Mapping[str, Any], path: Path, rng: random.Random, seed: int
) -> Goals:
    """Make goals of the instructions in a file of attributes, one for every combination of a product's options.

    Args:
        products: Products in catalogue order.
        entries: Contents of the file.
        path: The file, for messages.
        rng: Draws the price limits.
        seed: Seed for the goals' order.

    Raises:
        ValueError: An instruction or its attributes are not what they have to be.
    """
    families = []
    for product in products:
        entry = entries.get(product.asin, {})
        if entry.get("instruction") is None:
            continue
        attributes = files.texts(entry, "instruction_attributes", product.asin, path)
        if not attributes:
            files.fail(path, f"instruction_attributes of product {product.asin} is empty", "at least one attribute")
        instruction = files.text(entry, "instruction", product.asin, path)
        families.append(_Family(product, instruction, attributes, _draw_limit(product.price, rng)))
    return Goals(families, seed, weighted=True)


def human_goals(
    products: Iterable[Product], entries: Mapping[str, Any], path: Path, rng: random.Random, seed: int
) -> Goals:
    """Make goals of the instructions people wrote, but for those without attributes; see `catalogue_goals`."""
    families = []
    for product in products:
        for entry in entries.get(product.asin, ()):
            if not isinstance(entry, dict):
                files.fail(path, f"an instruction of product {product.asin} is {str(entry)[:60]!r}", "an object")
            attributes = files.texts(entry, "instruction_attributes", product.asin, path)
            if not attributes:
                continue
            instruction = files.text(entry, "instruction", product.asin, path).strip(".")
            wanted = files.texts(entry, "instruction_options", product.asin, path)
            families.append(_Family(product, instruction, attributes, _draw_limit(product.price, rng), wanted))
    return Goals(families, seed, weighted=False)


def _draw_limit(price: float, rng: random.Random) -> float:
    """Return the larger of two of the next four multiples of ten dollars."""
    candidates = [limit for limit in _LIMITS if limit > price][:4]
    return max(rng.sample(candidates, 2)) if len(candidates) > 1 else NO_LIMIT
