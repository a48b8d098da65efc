"""Parser of the shop's pages, as an agent has to read them.

The texts come from `observation="text"`: the parts of a page with ` [SEP] ` between them.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

_RESULTS = re.compile(r"Page \d+ \(Total results: \d+\)")
_AMOUNT = re.compile(r"\d+(?:\.\d+)?")
_HEAD = 3
"""Parts at the head of every page of a product: `Instruction:`, the instruction, `Back to Search`."""


class Listing(NamedTuple):
    """A product in a list of results. Of a price range the lower end counts."""

    asin: str
    title: str
    price: float


class Page(NamedTuple):
    """What a text shows.

    Args:
        kind: `index`, `results`, `item`, `details` (description, features, …) or `done`.
        instruction: Empty on the last page, which does not repeat it.
        parts: Parts of the page after the buttons at its head.
    """

    kind: str
    instruction: str
    parts: tuple[str, ...] = ()


def read_page(text: str) -> Page:
    """Tell what page a text is.

    Raises:
        ValueError: It is none, as far as its beginning tells.
    """
    parts = [part.strip() for part in text.split(" [SEP] ")]
    if parts[0] == "WebShop" and len(parts) > 2:
        return Page("index", parts[2])
    if parts[0] == "Thank you for shopping with us!":
        return Page("done", "")
    if parts[0] != "Instruction:" or len(parts) < _HEAD:
        raise ValueError(f"{text[:60]!r} begins no page of WebShop; make the environment with observation='text'.")
    instruction, rest = parts[1], tuple(parts[_HEAD:])
    if rest and _RESULTS.fullmatch(rest[0]):
        return Page("results", instruction, rest)
    return Page("item" if rest[-1:] == ("Buy Now",) else "details", instruction, rest[1:])


def results_of(page: Page) -> list[Listing]:
    """Return what a page of results lists, in order."""
    products = page.parts[page.parts.index("Next >") + 1 :]
    return [_listing(*products[i : i + 3]) for i in range(0, len(products) - 2, 3)]


def listing_of(page: Page) -> Listing:
    """Return a product as its own page shows it, without its asin."""
    place = _place_of_price(page)
    return _listing("", page.parts[place - 1], page.parts[place])


def head_of(page: Page) -> tuple[str, ...]:
    """Return the parts of a product's page before its price: options, values and the title."""
    return page.parts[: _place_of_price(page)]


def options_of(page: Page, values: Collection[str]) -> dict[str, list[str]]:
    """Return the options on a product's page, name -> values, given all values: names look no different."""
    options: dict[str, list[str]] = {}
    name = ""
    for part in head_of(page)[:-1]:
        if part in values:
            options.setdefault(name, []).append(part)
        else:
            name = part
    return options


def _listing(asin: str, title: str, tag: str) -> Listing:
    amounts = [float(amount) for amount in _AMOUNT.findall(tag)] or [0.0]
    return Listing(asin.lower(), title, min(amounts))


def _place_of_price(page: Page) -> int:
    return max((i for i, part in enumerate(page.parts) if part.startswith("Price: ")), default=1)
