"""WebShop's files that do not belong together, or stand in each other's place."""

from pathlib import Path

import pytest

from trl_3spo.environments.webshop import World
from trl_3spo.environments.webshop.catalogue.catalogue import generate_catalogue, write_catalogue
from webshop_catalogue import ATTRIBUTES, ITEMS, load, product, wish


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> tuple[Path, Path, Path]:
    return write_catalogue(generate_catalogue(120), tmp_path_factory.mktemp("shop"))


def test_the_attributes_of_another_catalogue_are_refused_with_the_share_that_is_missing(tmp_path, paths):
    _, attributes, human = write_catalogue(generate_catalogue(50), tmp_path)
    for files in ((paths[0], attributes), (paths[0], attributes, human)):
        with pytest.raises(ValueError, match=r"attributes.json has no entry for 70 of the 120 products .* \(58%\)"):
            World.from_files(*files)


def test_so_are_those_of_other_products_however_few(tmp_path):
    others = {f"X{asin}": entry for asin, entry in ATTRIBUTES.items()}
    with pytest.raises(ValueError, match=r"4 of the 4 products .* \(100%\), such as B01, .* of another catalogue"):
        load(tmp_path, ITEMS, others)


def test_more_attributes_than_products_belong_to_them(tmp_path, paths):
    assert len(World.from_files(*paths[:2], num_products=10).products) == 10
    assert len(load(tmp_path, [product("B1"), product("B2"), product("B3")], {"B2": wish("light")}).products) == 3


@pytest.mark.parametrize(
    ("order", "given", "content"),
    [
        ((1, 0), "attributes", "items"),
        ((1, 0, 2), "attributes", "items"),
        ((2, 1), "items", "human"),
        ((1, 1), "items", "attributes"),
        ((0, 2), "attributes", "human"),
        ((0, 2, 1), "attributes", "human"),
        ((0, 1, 1), "human", "attributes"),
        ((0, 1, 0), "human", "items"),
    ],
)
def test_files_in_each_others_place_are_known_by_their_content(paths, order, given, content):
    sentence = f"By its content it is what {content} stands for, and was given as {given}: swap the two"
    with pytest.raises(ValueError, match=sentence) as raised:
        World.from_files(*(paths[i] for i in order))
    assert "Download it again" not in str(raised.value)


def test_a_swapped_released_file_is_not_to_be_downloaded_again(tmp_path, paths):
    items, attributes = tmp_path / "items_shuffle_1000.json", tmp_path / "items_ins_v2_1000.json"
    items.write_text(paths[0].read_text())
    attributes.write_text(paths[1].read_text())
    with pytest.raises(ValueError, match="swap the two") as raised:
        World.from_files(attributes, items)
    assert "Download it again" not in str(raised.value)


@pytest.mark.parametrize("depth", [3000, 200_000])
def test_nesting_without_end_is_named(tmp_path, depth):
    with pytest.raises(ValueError, match=r"attributes\.json"):
        load(tmp_path, ITEMS, '{"B01": ' + "[" * depth)
    with pytest.raises(ValueError, match=r"items\.json"):
        load(tmp_path, '[{"asin": ' + "[" * depth)
