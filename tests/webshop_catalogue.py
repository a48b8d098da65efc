"""A few products, each with something of its own, in WebShop's file formats."""

import json
from pathlib import Path
from typing import Any

from trl_3spo.environments.webshop import World

Record = dict[str, Any]


def product(asin: str, name: str = "Shoe", **fields: Any) -> Record:
    """Return a record of the product file; `options` are its options by name, in short."""
    options = fields.pop("options", {})
    choices = {name: values and [{"value": value} for value in values] for name, values in options.items()}
    record = {"asin": asin, "name": name, "full_description": "", "small_description": ["one"], "pricing": "$10.00"}
    more = {"category": "fashion", "query": "shoes", "product_category": "Clothing › Men › Shoes"}
    return record | more | {"customization_options": choices} | fields


def wish(*attributes: str, instruction: str | None = "Find me shoes", has: tuple[str, ...] = ()) -> Record:
    """Return a record of the attribute file; `has` are attributes nobody asks for."""
    entry: Record = {"attributes": [*attributes, *has], "instruction_attributes": list(attributes)}
    return entry if instruction is None else entry | {"instruction": instruction}


def write(folder: Path, items: Any, attributes: Any = None, human: Any = None) -> list[Path]:
    """Write the files, texts as they are, and return their paths."""
    contents = {"items.json": items, "attributes.json": attributes or {}, "human.json": human}
    paths = []
    for name, content in contents.items():
        if content is not None:
            paths.append(folder / name)
            paths[-1].write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return paths


def load(folder: Path, items: Any, attributes: Any = None, human: Any = None, **options: Any) -> World:
    return World.from_files(*write(folder, items, attributes, human), **options)


ITEMS = [
    product("B01", "Red Running Shoe", options={"Color": ["Red", "Dark Blue"], "Size": ["7", "8", "9"]}),
    product("B02", "Blue Walking Shoe", options={"Size": ["7", "8"], "Width": ["Wide"]}, pricing="$20.00 - $35.50"),
    product("B03", "Desk Lamp", category="home", query="lamps", product_category="Home › Lamps › Desk", pricing=""),
    product("B04", "Garden Hose", category="garden", query="hoses", product_category="Garden", pricing="$985.00"),
]
ATTRIBUTES = {
    "B01": wish("rubber sole", has=("light weight",)),
    "B02": wish("rubber sole", "water resistant", instruction="Find me walking shoes"),
    "B03": wish("easy assemble", instruction="Find me a lamp"),
    "B04": wish("easy clean", instruction=None),
}
HUMAN = {
    "B01": [
        {
            "instruction": "i want red shoes..",
            "instruction_attributes": ["rubber sole"],
            "instruction_options": ["red"],
        },
        {"instruction": "anything", "instruction_attributes": [], "instruction_options": []},
    ]
}
