"""What a purchase is worth."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from trl_3spo.environments.webshop.catalogue.goals import Goal
from trl_3spo.environments.webshop.catalogue.products import Product
from trl_3spo.environments.webshop.scoring.matching import is_match, normalize_color

TitleNouns = Callable[[str], Sequence[str]]
"""Gives the lower-case nouns of a title in their order, repeated ones repeated."""


class Reward(NamedTuple):
    """The parts of a purchase's reward.

    total = type · (attributes + options + price) / (wanted attributes + wanted options + 1)

    Args:
        total: Reward in [0, 1].
        type_factor: Factor of 1 for a product of the wanted type, then 0.5, 0.1 and 0 as the titles share less.
        query_match: Whether both products are found by the same query.
        category_match: Whether both are in two categories together.
        title_score: Share of the wanted product's title nouns in the other title.
        num_attributes: Wanted attributes the product has.
        num_options: Wanted options that were chosen.
        is_affordable: Whether the price is within the limit.
        num_wanted_attributes: Number of attributes of the goal.
        num_wanted_options: Number of options of the goal.
    """

    total: float
    type_factor: float
    query_match: bool
    category_match: bool
    title_score: float
    num_attributes: int
    num_options: int
    is_affordable: bool
    num_wanted_attributes: int
    num_wanted_options: int

    def as_original(self) -> dict[str, Any]:
        """Return the parts under the names and in the form WebShop reports them."""
        num_parts = self.num_wanted_attributes + self.num_wanted_options + 1
        parts: dict[str, Any] = {
            "r_type": self.type_factor,
            "r_att": self.num_attributes / self.num_wanted_attributes,
            "w_att": self.num_wanted_attributes / num_parts,
            "query_match": self.query_match,
            "category_match": self.category_match,
            "title_score": self.title_score,
            "r_price": self.is_affordable,
            "w_price": 1 / num_parts,
        }
        if self.num_wanted_options:
            parts["r_option"] = self.num_options / self.num_wanted_options
            parts["w_option"] = self.num_wanted_options / num_parts
        return parts


def score_purchase(goal: Goal, product: Product, options: Mapping[str, str], title_nouns: TitleNouns) -> Reward:
    """Return what buying a product with some options is worth for a goal.

    Args:
        goal: Goal of the episode.
        product: Product that is bought.
        options: Chosen values by name; the names do not matter.
        title_nouns: Function that gives a title's nouns.
    """
    wanted = goal.product
    query_match = product.query == wanted.query
    category_match = len(_categories(product) & _categories(wanted)) >= 2
    title_score = _title_score(title_nouns(product.title), title_nouns(wanted.title))
    type_factor = _type_factor(title_score, query_match or category_match)
    num_attributes = sum(has_attribute(product, attribute) for attribute in goal.attributes)
    num_options = _count_options(tuple(options.values()), goal)
    is_affordable = product.price <= goal.price_limit
    num_wanted = len(goal.attributes), len(goal.options)
    share = (num_attributes + num_options + is_affordable) / (sum(num_wanted) + 1)
    parts = (query_match, category_match, title_score, num_attributes, num_options, is_affordable)
    return Reward(share * type_factor, type_factor, *parts, *num_wanted)


def _categories(product: Product) -> set[str]:
    return {part.strip() for part in product.product_category.split("›")}


def _title_score(nouns: Sequence[str], wanted: Sequence[str]) -> float:
    return len(set(nouns) & set(wanted)) / len(wanted) if wanted else 0.2


def _type_factor(title_score: float, is_related: bool) -> float:
    if title_score == 0:
        return 0.0
    if title_score < 0.1:
        return 0.1
    return 1.0 if is_related or title_score > 0.2 else 0.5


def has_attribute(product: Product, attribute: str) -> bool:
    """Return whether a product is known to have an attribute, or says so in its title, features or description."""
    if any(is_match(known, attribute) for known in product.attributes):
        return True
    texts = (product.title, " ".join(product.bullets), product.description)
    return any(attribute in text.lower() for text in texts)


def _count_options(chosen: Sequence[str], goal: Goal) -> int:
    normalized = [normalize_color(value) for value in chosen]
    wanted = [normalize_color(option) for option in goal.options]
    return sum(any(is_match(value, option) for value in normalized) for option in wanted)
