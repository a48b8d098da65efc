"""The generated catalogue: in the original's form, attainable to the last goal, and hard to shop in."""

import json
import os
import re
import subprocess
import sys

import pytest

from trl_3spo.environments.webshop.catalogue.catalogue import generate_catalogue, write_catalogue
from trl_3spo.environments.webshop.catalogue.wares import WARES
from trl_3spo.environments.webshop.scoring.matching import is_match, normalize_color
from trl_3spo.environments.webshop.scoring.reward import score_purchase
from trl_3spo.environments.webshop.scoring.title_nouns import title_nouns
from trl_3spo.environments.webshop.world import World

WARE_BY_QUERY = {ware.query: ware for ware in WARES}


@pytest.fixture(scope="module")
def catalogue():
    return generate_catalogue()


@pytest.fixture(scope="module")
def world():
    return World.bundled()


def price_of(item):
    return float(item["pricing"].rpartition("$")[2])


def groups_of(catalogue):
    return [catalogue.items[i : i + 4] for i in range(0, len(catalogue.items), 4)]


def values_of(item):
    options = item["customization_options"].items()
    return {name: [choice["value"] for choice in choices] for name, choices in options if choices is not None}


def wanted(catalogue, item):
    return set(catalogue.attributes[item["asin"]]["instruction_attributes"])


def test_size_and_categories(catalogue):
    assert 300 <= len(catalogue.items) <= 500
    assert len({item["category"] for item in catalogue.items}) >= 5
    assert {item["query"] for item in catalogue.items} == set(WARE_BY_QUERY)
    assert len({item["asin"] for item in catalogue.items}) == len(catalogue.items)
    assert all(re.fullmatch("[A-Z0-9]{10}", item["asin"]) for item in catalogue.items)


def test_bundled_is_the_default_catalogue_through_the_loader(catalogue, world, tmp_path):
    items, attributes, human = write_catalogue(catalogue, tmp_path)
    loaded = World.from_files(items, attributes, goal_order_seed=0)
    assert [product.asin for product in world.products] == [product.asin for product in loaded.products]
    assert [goal.id for goal in world.goals] == [goal.id for goal in loaded.goals]
    assert [goal.id for goal in World.bundled().goals] == [goal.id for goal in world.goals]
    assert len(World.from_files(items, attributes, human).goals) == len(catalogue.items)


def test_bundled_keeps_products_apart_and_has_no_goal_out_of_reach(world):
    splits = {split: {goal.partition("-")[2][:10] for goal in ids(world, split)} for split in ("train", "eval", "test")}
    assert all(len(products) > 40 for products in splits.values())
    assert len(set.union(*splits.values())) == sum(map(len, splits.values())) == len(world.products)
    assert not world.unattainable


def ids(world, split):
    return [task.id for task in world.tasks(split)]


@pytest.mark.parametrize("form", ["synthetic", "human"])
def test_every_goal_can_be_reached_and_no_other_value_will_do(form, catalogue, world, tmp_path):
    goals = world.goals
    if form == "human":
        goals = World.from_files(*write_catalogue(catalogue, tmp_path)).goals
    for goal in goals:
        chosen = choices_for(goal)
        assert score_purchase(goal, goal.product, chosen, title_nouns).total == 1.0
        for name, value in chosen.items():
            for other in set(goal.product.options[name]) - {value}:
                assert score_purchase(goal, goal.product, chosen | {name: other}, title_nouns).total < 1.0


def choices_for(goal):
    """The options of a goal by name; a human goal names values only."""
    if not isinstance(goal.options[0], str):
        return dict(goal.options)
    return {next(name for name, values in goal.product.options.items() if v in values): v for v in goal.options}


def test_the_file_says_of_every_product_exactly_the_attributes_it_has(catalogue):
    for item in catalogue.items:
        attributes = catalogue.attributes[item["asin"]]["attributes"]
        features = item["small_description"]
        features = features if isinstance(features, list) else [features]
        texts = [item["name"].lower(), " ".join(features).lower(), item["full_description"].lower()]
        said = {a for a in WARE_BY_QUERY[item["query"]].attributes if any(a in text for text in texts)}
        assert said == set(attributes)
        assert len(attributes) == 3


@pytest.mark.parametrize("ware", WARES, ids=lambda ware: ware.query)
def test_no_attribute_or_value_of_a_ware_passes_for_another(ware):
    for first in ware.attributes:
        assert [second for second in ware.attributes if is_match(first, second)] == [first]
    wanted = [(name, value) for name, values in ware.options.items() for value in values]
    for name, value in wanted:
        assert [pair for pair in wanted if is_match(normalize_color(value), normalize_color(pair))] == [(name, value)]


def test_each_product_has_three_beside_it_that_are_easily_taken_for_it(catalogue):
    for model, other_attribute, other_value, dearer in groups_of(catalogue):
        titles = [item["name"].split()[1:] for item in (model, other_attribute, other_value, dearer)]
        assert all(title == titles[0] for title in titles)
        assert len(wanted(catalogue, model) & wanted(catalogue, other_attribute)) == 1
        assert values_of(model).keys() == values_of(other_value).keys()
        offered = [(set(values), set(values_of(other_value)[name])) for name, values in values_of(model).items()]
        assert any(not first & second for first, second in offered)
        assert max(price_of(other_attribute), price_of(other_value)) <= price_of(model)
        assert price_of(model) // 10 * 10 + 40 < price_of(dearer) < price_of(model) // 10 * 10 + 46


def test_the_dearer_product_is_over_the_limit_of_every_goal_of_its_model(catalogue, world):
    dearer = {group[0]["asin"]: world.by_asin[group[3]["asin"]] for group in groups_of(catalogue)}
    goals = [goal for goal in world.goals if goal.product.asin in dearer]
    assert len(goals) > 500
    for goal in goals:
        product = dearer[goal.product.asin]
        score = score_purchase(goal, product, dict(goal.options), title_nouns)
        assert not score.is_affordable
        assert score.total == pytest.approx(1 - 1 / (len(goal.attributes) + len(goal.options) + 1))


def test_the_oddities_of_real_data_are_there(catalogue):
    items = catalogue.items
    assert any(not item["full_description"] for item in items)
    assert any(isinstance(item["small_description"], str) for item in items)
    assert any(" - " in item["pricing"] for item in items)
    assert any(None in item["customization_options"].values() for item in items)
    assert any(len(set(values)) < len(values) for item in items for values in values_of(item).values())


def test_more_products_begin_with_the_same_ones(catalogue):
    assert generate_catalogue(30).items == catalogue.items[:30]


def test_fewer_instructed_products_leave_the_others_without_an_instruction():
    catalogue = generate_catalogue(40, num_instructed=8)
    instructed = [item["asin"] for item in catalogue.items if "instruction" in catalogue.attributes[item["asin"]]]
    assert instructed == [item["asin"] for item in catalogue.items[:8]]
    assert list(catalogue.human) == instructed


@pytest.mark.parametrize("hash_seed", ["1", "77"])
def test_equal_seeds_give_equal_catalogues_in_every_process(hash_seed):
    script = (
        "import json; from trl_3spo.environments.webshop.catalogue.catalogue import generate_catalogue;"
        "print(json.dumps(generate_catalogue(50, seed=3)))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    output = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True).stdout
    assert json.loads(output) == list(generate_catalogue(50, seed=3))
    assert json.loads(output) != list(generate_catalogue(50, seed=4))


@pytest.mark.parametrize(("num_products", "num_instructed"), [(0, None), (10, 0), (10, 11)])
def test_numbers_out_of_range_are_refused(num_products, num_instructed):
    with pytest.raises(ValueError, match=f"num_products is {num_products}"):
        generate_catalogue(num_products, num_instructed=num_instructed)
