"""A catalogue to shop in, generated from a seed in the three file formats of WebShop's data.

Products come in groups of four that are hard to tell apart. Their titles have the same words except for the brand. The
second lacks a requested attribute, and the third does not come in the requested values. The fourth costs a little more
than any limit of the first one's customers. Every attribute can be read in the title, features or description. As in
the original's data, some products have no description or a single feature. There are also price ranges, options without
values, and values listed twice.
"""

import json
import random
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trl_3spo.environments.webshop.catalogue.wares import WARES, Ware

_STARTS = ("Al", "Be", "Dor", "El", "Fa", "Gri", "Jo", "Kel", "Lu", "Mar", "Nor", "Pel", "Ros", "Tor", "Ver", "Zel")
_MIDDLES = ("ba", "cor", "da", "fen", "gi", "ko", "li", "mo", "na", "pra", "re", "si", "ta", "ven", "vi", "za")
_ENDS = ("dia", "field", "len", "lux", "mar", "nest", "nia", "ra", "rook", "son", "tis", "vale", "wood")
_EDITIONS = ("Basic", "Classic", "Everyday", "Essential", "Premium", "Signature", "Select", "Original")
_OCCASIONS = ("daily use", "busy weeks", "beginners", "gift giving", "demanding customers", "the whole year")
_REMARKS = (
    "checked in every batch",
    "what our customers ask for most",
    "no compromise here",
    "the difference you notice first",
    "made to last",
    "improved since last season",
    "as you would expect from us",
    "the reason it sells so well",
)
_ASSURANCES = (
    "Thirty days to return it",
    "Friendly support by mail or telephone",
    "Ships in a plain box without waste",
    "Designed by a family business",
)
_REQUESTS = (
    "i need {query}, {first} and {second}, in {values}",
    "looking for {first} {query}, also {second}. should be {values}.",
    "please find {query} that is {second} and {first}. i want {values}",
)


class Catalogue(NamedTuple):
    """The contents of WebShop's three files.

    Args:
        items: Products, in shop order.
        attributes: ASIN -> the product's attributes and, where customers ask for it, an instruction.
        human: ASIN -> instructions in free words.
    """

    items: list[dict[str, Any]]
    attributes: dict[str, dict[str, Any]]
    human: dict[str, list[dict[str, Any]]]


class _Draft(NamedTuple):
    """A product before it is put into words. Customers ask for the `wanted` attributes, the first is in the title."""

    ware: Ware
    edition: str
    wanted: tuple[str, str]
    extra: str
    options: Mapping[str, tuple[str, ...]]
    price: float


def generate_catalogue(num_products: int = 480, seed: int = 0, *, num_instructed: int | None = None) -> Catalogue:
    """Return a catalogue. The first n products are the same for every number of products.

    Args:
        num_products: Number of products, at least 1. The kinds of `WARES` take turns, four products at a time.
        seed: Seed of the catalogue. Equal seeds give equal catalogues, in every process.
        num_instructed: So many products, the first ones, have instructions, in the catalogue and of a human; all of
            them by default.

    Raises:
        ValueError: A number is out of its range.
    """
    num_instructed = num_products if num_instructed is None else num_instructed
    if not 1 <= num_instructed <= num_products:
        raise ValueError(
            f"num_products is {num_products} and num_instructed {num_instructed}: at least one product is required, "
            "and at least one of them to be asked for."
        )
    rng = random.Random(seed)
    catalogue = Catalogue([], {}, {})
    for number, draft in zip(range(num_products), _drafts(rng), strict=False):
        item = _item(rng, draft, number)
        asin = item["asin"]
        catalogue.items.append(item)
        catalogue.attributes[asin] = {"attributes": [*draft.wanted, draft.extra]}
        if number < num_instructed:
            catalogue.attributes[asin] |= _instruction(rng, draft)
            catalogue.human[asin] = [_request(rng, draft, asin)]
    return catalogue


def write_catalogue(catalogue: Catalogue, folder: str | Path) -> tuple[Path, Path, Path]:
    """Write the three files and return their paths, in the order in which `World.from_files` takes them."""
    items, attributes, human = (Path(folder) / f"{name}.json" for name in catalogue._fields)
    for path, content in zip((items, attributes, human), catalogue, strict=True):
        path.write_text(json.dumps(content), encoding="utf-8")
    return items, attributes, human


def _drafts(rng: random.Random) -> Iterator[_Draft]:
    """Draw groups of four without end."""
    while True:
        for ware in WARES:
            yield from _group(rng, ware)


def _group(rng: random.Random, ware: Ware) -> Iterator[_Draft]:
    """Draw a product and the three that are easily taken for it."""
    visible, hidden, extra, other = rng.sample(ware.attributes, 4)
    options = {name: _some(rng, values, min(len(values) // 2, 4)) for name, values in ware.options.items()}
    model = _Draft(ware, rng.choice(_EDITIONS), (visible, hidden), extra, options, rng.uniform(*ware.prices))
    yield model
    yield model._replace(wanted=(visible, other), price=model.price * rng.uniform(0.8, 1))
    name = rng.choice(list(options))
    absent = tuple(value for value in ware.options[name] if value not in options[name])
    others = {**options, name: _some(rng, absent, len(options[name]))}
    yield model._replace(options=others, price=model.price * rng.uniform(0.8, 1))
    # A limit is one of the first four multiples of ten above the price.
    yield model._replace(price=model.price // 10 * 10 + 40 + rng.uniform(0.5, 5))


def _some(rng: random.Random, values: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Draw values, in their own order."""
    chosen = rng.sample(values, count)
    return tuple(value for value in values if value in chosen)


def _item(rng: random.Random, draft: _Draft, number: int) -> dict[str, Any]:
    """Return a product as it stands in the file of items. Every so often it has one of the oddities of real data."""
    ware = draft.ware
    brand = rng.choice(_STARTS) + rng.choice(_MIDDLES) + rng.choice(_ENDS)
    title = f"{brand} {string.capwords(ware.query)}, {string.capwords(draft.wanted[0])}, {draft.edition} {ware.synonym}"
    features, description = _texts(rng, draft, brand)
    if number % 9 == 4:
        features, description = features + [text.rstrip(".") for text in description[1:]], []
    options: dict[str, Any] = {string.capwords(name): _values(values) for name, values in draft.options.items()}
    if number % 13 == 6:
        options["Material"] = None
    if number % 17 == 8:
        next(iter(options.values())).append(*_values(next(iter(draft.options.values()))[:1]))
    low = f"${draft.price * 0.9:.2f} - " if number % 12 == 5 else ""
    return {
        "asin": _asin(number),
        "name": title,
        "pricing": f"{low}${draft.price:.2f}",
        "small_description": features[0] if len(features) == 1 else features,
        "full_description": " ".join(description),
        "images": [""],
        "category": ware.category,
        "query": ware.query,
        "product_category": " › ".join(ware.path),
        "customization_options": options,
    }


def _texts(rng: random.Random, draft: _Draft, brand: str) -> tuple[list[str], list[str]]:
    """Return the features and the sentences of the description; what the title does not say is in one of them."""
    ware = draft.ware
    features: list[str] = []
    description = [f"{ware.synonym} by {brand} for {rng.choice(_OCCASIONS)}."]
    for attribute in rng.sample((draft.wanted[1], draft.extra), 2):
        text = f"{attribute.capitalize()}: {rng.choice(_REMARKS)}"
        if rng.random() < 0.75:
            features.append(text)
        else:
            description.append(text + ".")
    features.append(rng.choice(_ASSURANCES))
    return features, description


def _values(values: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"value": value, "image": None, "is_selected": False, "url": None} for value in values]


def _asin(number: int) -> str:
    """Return ten characters that differ for different numbers and do not follow their order."""
    digits, rest = "", number * 1_234_567_891 % 36**8
    for _ in range(8):
        rest, digit = divmod(rest, 36)
        digits += (string.digits + string.ascii_uppercase)[digit]
    return "B0" + digits


def _instruction(rng: random.Random, draft: _Draft) -> dict[str, Any]:
    attributes = rng.sample(draft.wanted, 2)
    text = f"Find me {attributes[0]}, {attributes[1]} {draft.ware.query}"
    return {"instruction": text, "instruction_attributes": attributes}


def _request(rng: random.Random, draft: _Draft, asin: str) -> dict[str, Any]:
    """Return a human instruction, which names option values but not options."""
    first, second = rng.sample(draft.wanted, 2)
    chosen = {name: rng.choice(values) for name, values in draft.options.items()}
    form = rng.choice(_REQUESTS)
    text = form.format(query=draft.ware.query, first=first, second=second, values=" and ".join(chosen.values()))
    return {
        "asin": asin,
        "instruction": text,
        "attributes": [*draft.wanted, draft.extra],
        "options": [f"{name}: {value}" for name, value in chosen.items()],
        "instruction_attributes": [first, second],
        "instruction_options": list(chosen.values()),
        "assignment_id": f"{asin}-1",
        "worker_id": "generated",
    }
