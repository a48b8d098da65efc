"""A product as WebShop shows, sells and scores it."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from sys import intern
from typing import Any

from trl_3spo.environments.webshop.catalogue import files

DEFAULT_PRICE = 100.0
"""Price of a product without one."""

MAX_ASIN_LENGTH = 10
"""Records with a longer asin are passed over."""

_NOT_IN_A_PRICE = re.compile(r"[^\d.]")


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """One product.

    Args:
        asin: Identity of the product.
        title: Name of the product.
        description: May be empty.
        bullets: The features, of which the first is searched.
        price: Price in dollars; for a range of prices, one drawn from it.
        price_tag: Price or range as it is shown.
        options: Choices by lower-case name, lower-case values in their order; a choice may have no values.
        attributes: Known attributes, which are compared with a goal's.
        category: Department, such as `fashion`.
        query: The search it was found by; products with the same one count as one type.
        product_category: Path of categories, separated by `›`.
    """

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    price: float
    price_tag: str
    options: Mapping[str, tuple[str, ...]]
    attributes: tuple[str, ...]
    category: str
    query: str
    product_category: str

    @property
    def searched_text(self) -> str:
        """The lower-case text a search looks in: title, description, first feature and options."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        return f"{self.title} {self.description} {self.bullets[0]} {options}".lower()


def is_sold(asin: str) -> bool:
    """Return whether a record of this asin is a product at all."""
    return asin != "nan" and len(asin) <= MAX_ASIN_LENGTH


def make_product(record: Mapping[str, Any], attributes: Sequence[str], rng: random.Random, path: Path) -> Product:
    """Return the product of a record.

    Args:
        record: Record of the product file.
        attributes: Known attributes of the product.
        rng: Generator that draws a price from a range.
        path: The product file, for messages.

    Raises:
        ValueError: A field is not what it has to be.
    """
    asin = record["asin"]
    text = partial(files.text, record, asin=asin, path=path)
    prices = _prices(text("pricing", default=""), asin, path)
    # What many of a hundred thousand products share is interned: their values, attributes and categories.
    return Product(
        asin=asin,
        title=text("name"),
        description=text("full_description", default=""),
        bullets=_bullets(record, path),
        price=prices[0] if len(prices) == 1 else rng.uniform(*prices),
        price_tag=" to ".join(f"${price}" for price in prices),
        options=_options(record, path),
        attributes=tuple(map(intern, attributes)),
        category=intern(text("category", default="")),
        query=intern(text("query", default="").lower().strip()),
        product_category=intern(text("product_category", default="")),
    )


def _prices(pricing: str, asin: str, path: Path) -> list[float]:
    """Return one price, or the ends of a range, which need not be in order."""
    if not pricing:
        return [DEFAULT_PRICE]
    try:
        prices = [float(_NOT_IN_A_PRICE.sub("", piece)) for piece in pricing.split("$")[1:]]
    except ValueError:
        prices = []
    if not prices:
        files.fail(path, f"pricing of product {asin} is {pricing!r}", "empty, $5.00, or $5.00 - $15.50")
    return prices[:2]


def _bullets(record: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    if isinstance(record.get("small_description"), list):
        return files.texts(record, "small_description", record["asin"], path) or ("",)
    return (files.text(record, "small_description", record["asin"], path, default=""),)


def _options(record: Mapping[str, Any], path: Path) -> dict[str, tuple[str, ...]]:
    choices = record.get("customization_options") or {}
    try:
        return {
            intern(name.lower()): tuple(intern(_option_value(choice["value"])) for choice in values)
            for name, values in choices.items()
            if values is not None
        }
    except (AttributeError, KeyError, TypeError):
        required = 'nothing, or {"Color": [{"value": "red"}, …], …}'
        files.fail(path, f"customization_options of product {record['asin']} is {str(choices)[:60]!r}", required)


def _option_value(value: str) -> str:
    return value.strip().replace("/", " | ").lower()
