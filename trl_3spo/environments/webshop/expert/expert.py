"""A customer who searches, compares, chooses and buys: it knows the pages it has seen, and nothing else.

It reads observations and chooses among admissible actions, as a policy does, so that a policy can imitate it. It goes
on from anywhere: what others did in between, it reads in the episode's turns.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from trl_3spo.environments.base import Observation, Turn
from trl_3spo.environments.webshop.expert.reading import (
    Listing,
    Page,
    head_of,
    listing_of,
    options_of,
    read_page,
    results_of,
)
from trl_3spo.environments.webshop.expert.request import Request, read_request, words_of

SECTIONS = ("features", "description")
"""Pages that say more about a product, in the order in which they are read."""

BUTTONS = frozenset(["back to search", "< prev", *SECTIONS, "reviews", "attributes", "buy now"])
"""What can be clicked on a product's page and is no value, even where a value has the same name."""

NUM_OPTIONS = 2
"""Options to expect where a request does not name them."""

MIN_STEPS = 4
"""Search, open, choose an option, buy."""

_CLICK = re.compile(r"click\[(.+)\]")
_IMPOSSIBLE = 100
"""Faults of a product that costs too much or does not come as it is wanted: more than a request has words."""


class ShoppingExpert:
    """Plays WebShop by reading.

    It searches for everything in the instruction and opens products within the price, the best title first. It reads
    about each until it has found every word of the instruction or knows that one is missing. It buys the first product
    that has everything. When time runs out, it buys the product that lacks least.

    Args:
        max_steps: Steps of an episode, for its plan.

    Raises:
        ValueError: `max_steps` is less than `MIN_STEPS`.
    """

    def __init__(self, max_steps: int = 15) -> None:
        if max_steps < MIN_STEPS:
            raise ValueError(f"max_steps is {max_steps}; at least {MIN_STEPS} are required: search, open, choose, buy.")
        self._max_steps = max_steps

    def act(self, observation: Observation, turns: Sequence[Turn] = ()) -> str:
        """Return the next action: a pure function of what an agent has seen.

        Args:
            observation: Current observation.
            turns: Turns so far, oldest first.

        Raises:
            ValueError: The episode has ended, or its observations are not `observation="text"`.
        """
        page = read_page(observation.text)
        if page.kind == "done":
            raise ValueError("the purchase is made; ask for actions before the end of the episode")
        shopper = _Shopper(read_request(page.instruction), self._max_steps - len(turns))
        action = ""
        for turn in turns:
            shopper.see(read_page(turn.observation), _clicked(action))
            action = turn.action
        shopper.see(page, _clicked(action))
        return shopper.decide(page, [_clicked(action) for action in observation.admissible_actions])


def _clicked(action: str) -> str:
    match = _CLICK.search(action.lower())
    return match[1] if match else ""


@dataclass
class _Product:
    """What is known of a product.

    Args:
        listing: Entry in the results.
        parts: Parts of its page before the price; empty until the page is opened.
        sections: Text of each further page, by its name.
        clicks: Clicks since its page was opened.
    """

    listing: Listing
    parts: tuple[str, ...] = ()
    sections: dict[str, str] = field(default_factory=dict)
    clicks: list[str] = field(default_factory=list)

    @property
    def unread(self) -> list[str]:
        """What there is to read about it."""
        return [name for name in SECTIONS if name not in self.sections]

    def words(self) -> set[str]:
        """Return every word read about it."""
        return set(words_of(" ".join([self.listing.title, *self.parts, *self.sections.values()])))


class _Shopper:
    """One decision: what the pages so far have told about the products, and what follows from it.

    Args:
        request: Product to buy.
        num_left: Steps left in the episode.
    """

    def __init__(self, request: Request, num_left: int) -> None:
        self._request = request
        self._num_left = num_left
        self._products: dict[str, _Product] = {}
        self._listed: list[_Product] = []
        self._opened = ""

    def see(self, page: Page, clicked: str) -> None:
        """Take in a page and what was clicked to get there."""
        if page.kind == "results":
            listings = results_of(page)
            self._listed = [self._products.setdefault(listing.asin, _Product(listing)) for listing in listings]
        elif page.kind == "item":
            self._see_item(page, clicked)
        elif page.kind == "details" and self._opened in self._products:
            self._products[self._opened].sections[clicked] = " ".join(page.parts)

    def _see_item(self, page: Page, clicked: str) -> None:
        if clicked in self._products:
            self._opened = clicked
            self._products[clicked].clicks.clear()
        # Where the episode's beginning is not known, the product is taken from its page.
        product = self._products.setdefault(self._opened, _Product(listing_of(page)))
        product.parts = head_of(page)
        product.clicks.append(clicked)

    def decide(self, page: Page, clickable: Collection[str]) -> str:
        """Return the next action on a page."""
        if page.kind == "index":
            return f"search[{self._request.query}]"
        if page.kind == "results":
            return f"click[{self._choose_product(clickable)}]"
        if page.kind == "item":
            return f"click[{self._consider(page, clickable)}]"
        return "click[< prev]"

    def _choose_product(self, clickable: Collection[str]) -> str:
        """Return a product to open, or the way to others."""
        listed = [product for product in self._listed if product.listing.asin in clickable]
        if not listed:
            return "back to search"
        affordable = [product for product in listed if self._is_affordable(product)]
        # Two steps more than a purchase takes: time to read a page.
        has_time = self._num_left >= self._num_purchase_steps + 2
        if has_time and not affordable:
            return "next >"
        if has_time and "< prev" in clickable and self._has_left_behind():
            return "< prev"
        unknown = [product for product in affordable if self._is_unknown(product)]
        is_settled = any(product.parts and not self._faults(product) for product in affordable)
        if unknown and has_time and not is_settled:
            return self._best(unknown)
        return self._best(affordable or listed)

    def _is_unknown(self, product: _Product) -> bool:
        """Return whether reading on might show that a product has everything."""
        return not product.parts or (0 < self._faults(product) < _IMPOSSIBLE and bool(product.unread))

    def _has_left_behind(self) -> bool:
        """Return whether pages before this one, which list what fits better, have products within the price."""
        here = {product.listing.asin for product in self._listed}
        return any(asin not in here and self._is_affordable(product) for asin, product in self._products.items())

    def _best(self, products: Collection[_Product]) -> str:
        return min(products, key=self._faults).listing.asin

    def _consider(self, page: Page, clickable: Collection[str]) -> str:
        """Return what to do on a product's page: read more, go back, choose an option or buy."""
        product = self._products[self._opened]
        faults = self._faults(product)
        # A value that is chosen already is no longer offered as an action.
        options = options_of(page, {*clickable, *product.clicks} - BUTTONS)
        to_choose = [value for value in self._to_choose(product, options) if value in clickable]
        if self._is_unknown(product) and self._num_left >= len(to_choose) + 3:
            return product.unread[0]
        if faults and self._num_left > self._num_purchase_steps and self._has_better(product, faults):
            return "< prev"
        return to_choose[0] if to_choose else "buy now"

    def _has_better(self, product: _Product, faults: int) -> bool:
        others = [other for other in self._listed if other is not product and self._is_affordable(other)]
        return any(self._is_unknown(other) or self._faults(other) < faults for other in others)

    def _to_choose(self, product: _Product, options: dict[str, list[str]]) -> list[str]:
        """Return the wanted values that are not chosen yet."""
        wanted = {name: self._wanted(name, values) for name, values in options.items()}
        chosen = {click: name for name, values in options.items() for click in values}
        latest = {chosen[click]: click for click in product.clicks if click in chosen}
        return [value for name, value in wanted.items() if value and latest.get(name) != value]

    def _wanted(self, name: str, values: Sequence[str]) -> str:
        """Return the value of an option that the request asks for; empty if it asks for none of them."""
        if self._request.options:
            value = self._request.options.get(name, "")
            return value if value in values else ""
        named = [value for value in values if set(words_of(value)) <= set(self._request.words)]
        return max(named, key=len, default="")

    def _faults(self, product: _Product) -> int:
        """Return how many things asked for have not been found, as far as is known."""
        lacks_value = any(value not in product.parts for value in self._request.options.values())
        is_impossible = (product.parts and lacks_value) or not self._is_affordable(product)
        num_missing = len(set(self._request.words) - product.words())
        return num_missing + _IMPOSSIBLE * is_impossible

    def _is_affordable(self, product: _Product) -> bool:
        return product.listing.price <= self._request.limit

    @property
    def _num_purchase_steps(self) -> int:
        """Steps from a list of results to the end: open, choose, buy."""
        return 2 + (len(self._request.options) or NUM_OPTIONS)
