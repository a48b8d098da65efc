"""From files to products, and what is said of files that are none."""

import json
from pathlib import Path
from typing import Any

import pytest

from trl_3spo.environments.webshop import Product, World
from trl_3spo.environments.webshop.catalogue.files import read_products
from webshop_catalogue import ATTRIBUTES, HUMAN, ITEMS, load, product, wish, write


def only(folder: Path, record: dict[str, Any], entry: dict[str, Any] | None = None) -> Product:
    asin = record["asin"]
    (made,) = load(folder, [record], {} if entry is None else {asin: entry}).products
    return made


def test_a_product_by_hand(tmp_path: Path) -> None:
    options = {"Color": ["Red/Blue", " Spaced  Out "], "SIZE": [], "Empty": None, "size": ["XL"]}
    record = product("B01", "A Shoe", pricing="$1,234.50 - $7.5 - $3", query=" Men's Shoes ", options=options)
    made = only(tmp_path, record | {"small_description": ["", " b"]}, {"attributes": ["light"], "instruction": None})
    assert (made.title, made.description, made.bullets, made.attributes) == ("A Shoe", "", ("", " b"), ("light",))
    # A later name that is equal in lower case takes over in the first one's place.
    assert list(made.options.items()) == [("color", ("red | blue", "spaced  out")), ("size", ("xl",))]
    assert (made.price_tag, made.query) == ("$1234.5 to $7.5", "men's shoes")
    assert 7.5 <= made.price <= 1234.5
    assert made.searched_text == "a shoe   color: red | blue, spaced  out, and size: xl"


@pytest.mark.parametrize(
    ("pricing", "price", "tag"),
    [("$877.80", 877.8, "$877.8"), ("", 100.0, "$100.0"), (None, 100.0, "$100.0"), ("was $0.00", 0.0, "$0.0")],
)
def test_prices(pricing: str | None, price: float, tag: str, tmp_path: Path) -> None:
    made = only(tmp_path, product("B01", pricing=pricing))
    assert (made.price, made.price_tag) == (price, tag)


def test_products_may_lack_almost_everything(tmp_path: Path) -> None:
    made = only(tmp_path, {"asin": "B01", "name": "Shoe"})
    assert (made.price, made.options, made.bullets, made.attributes) == (100.0, {}, ("",), ("DUMMY_ATTR",))
    assert only(tmp_path, product("B01", small_description=[])).bullets == ("",)
    assert only(tmp_path, product("B01", small_description="one text")).bullets == ("one text",)
    assert only(tmp_path, product("B01", customization_options="")).options == {}
    assert only(tmp_path, product("B01"), {"attributes": []}).attributes == ()


def test_some_records_are_no_products_and_the_first_of_an_asin_counts(tmp_path: Path) -> None:
    items = [product(asin, asin) for asin in ("nan", "B0000000012", "b1", "B1")] + [product("B1", "again")]
    assert [made.title for made in load(tmp_path, items).products] == ["b1", "B1"]


def test_records_are_counted_before_any_is_passed_over(tmp_path: Path) -> None:
    items = [product("nan"), product("B01"), product("B02"), product("B03")]
    assert [made.asin for made in load(tmp_path, items, num_products=3).products] == ["B01", "B02"]
    with pytest.raises(ValueError, match="num_products is 0; it must be at least 1"):
        load(tmp_path, items, num_products=0)


def test_only_the_records_asked_for_are_read(tmp_path: Path) -> None:
    (path, _) = write(tmp_path, json.dumps([product("B01"), product("B02")])[:-1] + ", {{{ broken")
    assert [record["asin"] for record in read_products(path, 2)] == ["B01", "B02"]
    with pytest.raises(ValueError, match="cut off or damaged after 2 records"):
        list(read_products(path))


@pytest.mark.parametrize("indent", [None, 2])
def test_large_files_are_read_in_pieces(indent: int | None, tmp_path: Path) -> None:
    items = [product(f"B{number}", "ü" * number, full_description="x" * 3000) for number in range(900)]
    path = tmp_path / "items.json"
    path.write_text(json.dumps(items, indent=indent, ensure_ascii=False), encoding="utf-8")
    assert path.stat().st_size > 2_500_000
    assert list(read_products(path)) == items


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("", r"items.json: it begins with ''; required is a JSON list of products"),
        ("<html>quota exceeded", r"begins with '<html>quota"),
        ('{"B01": {}}', r"begins with '\{"),
        ('[{"asin": "B01", "na', "cut off or damaged after 0 records"),
        ('[{"asin": "B01", "name": "Shoe"}', "cut off or damaged after 1 records"),
        ("[1]", "record 0 is '1'; required is every record is an object with an asin"),
        ('[{"name": "Shoe"}]', "record 0 is"),
        ('[{"asin": 7}]', "record 0 is"),
    ],
)
def test_bad_product_files(items: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load(tmp_path, items)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": None}, "name of product B01 is 'None'; required is a text"),
        ({"full_description": 3}, "full_description of product B01 is '3'"),
        ({"pricing": "ten dollars"}, r"pricing of product B01 is 'ten dollars'; required is empty, \$5.00, or"),
        ({"pricing": "$1.2.3"}, "pricing of product B01"),
        ({"pricing": 5}, "pricing of product B01 is '5'"),
        ({"small_description": [1]}, "small_description of product B01"),
        ({"customization_options": {"Color": ["red"]}}, "customization_options of product B01"),
        ({"customization_options": [1]}, "customization_options of product B01"),
        ({"customization_options": {"Color": [{"value": None}]}}, "customization_options of product B01"),
    ],
)
def test_bad_products(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load(tmp_path, [product("B01") | fields])


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ("[]", "attributes.json: it holds a list; required is a JSON object"),
        ('{"B01"', "attributes.json: it is no JSON"),
        ({"B01": ["light"]}, r"the entry of B01 is .*; required is a JSON object that has a dict for each asin"),
        ({"B01": {"attributes": "light"}}, "attributes.json: attributes of product B01 is 'light'; required is a list"),
        ({"B01": wish("light", instruction=3)}, "instruction of product B01 is '3'; required is a text"),
        ({"B01": wish()}, "instruction_attributes of product B01 is empty"),
        ({"B01": {"instruction": "Find me shoes"}}, "instruction_attributes of product B01 is 'None'"),
    ],
)
def test_bad_attributes(attributes: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load(tmp_path, [product("B01")], attributes)


@pytest.mark.parametrize(
    ("human", "message"),
    [
        ("[]", "human.json: it holds a list"),
        ({"B01": {}}, "the entry of B01 is '{}'; required is a JSON object that has a list"),
        ({"B01": ["shoes"]}, "an instruction of product B01 is 'shoes'; required is an object"),
        ({"B01": [{"instruction": "x", "instruction_attributes": ["a"]}]}, "instruction_options of product B01"),
        ({"B01": [{"instruction_attributes": ["a"], "instruction_options": []}]}, "instruction of product B01"),
    ],
)
def test_bad_human_instructions(human: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load(tmp_path, [product("B01")], {}, human)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    paths = write(tmp_path, ITEMS, ATTRIBUTES)
    for path in paths:
        content = path.read_bytes()
        path.write_bytes(content[:40] + b"\xff\xfe" + content[40:])
        with pytest.raises(ValueError, match=rf"{path.name}: it is no (UTF-8|JSON) text \('utf-8' codec"):
            World.from_files(*paths)
        path.write_bytes(content)


def test_a_damaged_release_is_told_from_the_whole_one(tmp_path: Path) -> None:
    items, attributes = write(tmp_path, json.dumps(ITEMS)[:99], ATTRIBUTES)
    released = items.rename(tmp_path / "items_shuffle_1000.json")
    message = r"has 4,467,013 bytes and sha256 30a4765c.*this file has 99 bytes\. Download it"
    with pytest.raises(ValueError, match=message):
        World.from_files(released, attributes)


def test_missing_files(tmp_path: Path) -> None:
    items, attributes, human = write(tmp_path, ITEMS, ATTRIBUTES, HUMAN)
    nothing = tmp_path / "nothing.json"
    for paths in ((nothing, attributes, human), (items, nothing, human), (items, attributes, nothing)):
        with pytest.raises(FileNotFoundError, match=r"no file .*nothing.json.*items_shuffle"):
            World.from_files(*paths)
