"""A shop that a small model can learn in minutes: few words, every product described by its title."""

import math
import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from demo_world import DemoWorld, Tasks

from trl_3spo.environments.webshop import WebShopEnv, World
from trl_3spo.environments.webshop.catalogue.catalogue import Catalogue, write_catalogue

NUM_UNSEEN, NUM_GOALS = 200, 1800
MAX_COMPLETION_LENGTH = 10

KINDS = {
    "clothing": ("boots", "jacket", "gloves", "scarf"),
    "furniture": ("sofa", "stool", "shelf", "rug"),
    "outdoor": ("tent", "backpack", "bottle", "hammock"),
}
ATTRIBUTES = (
    *("breathable", "foldable", "handmade", "padded", "quiet"),
    *("recycled", "sturdy", "vintage", "washable", "waterproof"),
)
COLORS = ("black", "burgundy", "charcoal", "mustard", "navy", "olive", "purple", "white")
SIZES = ("giant", "jumbo", "large", "medium", "mini", "small")
NUM_VALUES = 3
"""Colours and sizes of a product."""

GOALS_PER_GROUP = 4 * NUM_VALUES**2
NUM_NAMES = 4 * NUM_GOALS // GOALS_PER_GROUP
"""Smaller shops call their products by the demo's names too, so that a model has met all of these. Larger ones have
more names."""


class _Draft(NamedTuple):
    category: str
    kind: str
    attributes: tuple[str, str]
    colors: tuple[str, ...]
    sizes: tuple[str, ...]
    price: int


def _group(rng: random.Random) -> Iterator[_Draft]:
    """Draw a product, one that lacks an attribute, one in other colours, and one that costs too much."""
    category = rng.choice(list(KINDS))
    first, second, other = rng.sample(ATTRIBUTES, 3)
    colors = tuple(rng.sample(COLORS, 2 * NUM_VALUES))
    sizes = tuple(rng.sample(SIZES, NUM_VALUES))
    price = rng.randrange(15, 60, 5)
    model = _Draft(category, rng.choice(KINDS[category]), (first, second), colors[:NUM_VALUES], sizes, price)
    yield model
    yield model._replace(attributes=(first, other))
    yield model._replace(colors=colors[NUM_VALUES:])
    # A limit is one of the first four multiples of ten above the price.
    yield model._replace(price=price // 10 * 10 + 45)


def generate_small_catalogue(num_groups: int, seed: int) -> Catalogue:
    """Return a catalogue of groups of four products that are easily mistaken for each other."""
    rng = random.Random(seed)
    catalogue = Catalogue([], {}, {})
    # Hits of equal score come in the order of asins.
    numbers = rng.sample(range(max(NUM_NAMES, 4 * num_groups)), 4 * num_groups)
    for group in range(num_groups):
        for number, draft in zip(numbers[4 * group :], _group(rng), strict=False):
            asin = f"b{number}"
            catalogue.items.append(_item(asin, draft))
            wish = rng.sample(draft.attributes, 2)
            catalogue.attributes[asin] = {
                "attributes": list(draft.attributes),
                "instruction": " ".join([*wish, draft.kind]),
                "instruction_attributes": wish,
            }
    return catalogue


def _item(asin: str, draft: _Draft) -> dict[str, Any]:
    options = {"color": draft.colors, "size": draft.sizes}
    return {
        "asin": asin,
        "name": " ".join([*draft.attributes, draft.kind]),
        "pricing": f"${draft.price}",
        "small_description": [],
        "full_description": "",
        "category": draft.category,
        "query": draft.kind,
        "product_category": f"{draft.category} › {draft.kind}",
        "customization_options": {name: [{"value": value} for value in values] for name, values in options.items()},
    }


def make_world(num_goals: int, seed: int) -> World:
    """Return a shop with at least so many goals, split by product."""
    with TemporaryDirectory() as folder:
        catalogue = generate_small_catalogue(math.ceil(num_goals / GOALS_PER_GROUP), seed)
        items, attributes, _ = write_catalogue(catalogue, folder)
        return World.from_files(
            items, attributes, seed=seed, goal_order_seed=seed, num_test=NUM_UNSEEN + 9, num_eval=0, split_by="product"
        )


def make_env(num_goals: int, seed: int, *, split: str | None = None) -> WebShopEnv:
    """Return the goals of a shop, in few tokens."""
    return WebShopEnv(
        make_world(num_goals, seed),
        split=split,
        max_steps=15,
        prompt_format="action",
        history_length=0,
        shows_admissible_actions=False,
    )


def make_tasks(seed: int, num_goals: int = NUM_GOALS) -> Tasks:
    """Return the demo's goals; the unseen ones are for products that no training goal was made for."""
    env = make_env(num_goals, seed, split="train")
    return Tasks(env, train=env.tasks(), unseen=env.tasks("test")[:NUM_UNSEEN])


WEBSHOP = DemoWorld(
    make_tasks,
    unseen="unseen products",
    warm_start=Path(__file__).parent / "warm_start" / "webshop",
    max_steps=150,
    options={"max_completion_length": MAX_COMPLETION_LENGTH},
)
