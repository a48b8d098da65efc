"""What customers want: goals, their order, their splits, and those that cannot be had."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_3spo.environments.webshop import WebShopEnv, World
from trl_3spo.environments.webshop.shop.choices import best_options, selectable_options
from webshop_catalogue import ATTRIBUTES, HUMAN, ITEMS, load, product, wish

Load = Callable[..., World]


@pytest.fixture
def shop(tmp_path: Path) -> Load:
    def make(items: Any = ITEMS, attributes: Any = ATTRIBUTES, human: Any = None, **options: Any) -> World:
        return load(tmp_path, items, attributes, human, **options)

    return make


def test_goals_of_a_catalogue_by_hand(shop: Load) -> None:
    world = shop()
    # Two colours times three sizes; two sizes times one width; one lamp; the hose is not asked for.
    assert sorted(goal.product.asin for goal in world.goals) == ["B01"] * 6 + ["B02"] * 2 + ["B03"]
    assert len({goal.id for goal in world.goals}) == 9
    by_options = {goal.options: goal for goal in world.goals if goal.product.asin == "B01"}
    goal = by_options[("color", "dark blue"), ("size", "9")]
    assert goal.instruction.startswith("Find me shoes with color: dark blue, and size: 9, and price lower than ")
    assert goal.instruction.endswith(f"{goal.price_limit:.2f} dollars")
    assert {goal.price_limit for goal in by_options.values()} <= {30.0, 40.0, 50.0}
    assert len({goal.price_limit for goal in by_options.values()}) == 1
    # Of eight goals with a rubber sole, two also want to be water resistant.
    assert goal.weight == 1 / 8
    assert {goal.weight for goal in world.goals if goal.product.asin == "B02"} == {(1 / 8 + 1 / 2) / 2}


def test_goals_of_people_by_hand(shop: Load) -> None:
    (goal,) = shop(human=HUMAN).goals
    assert goal.instruction == f"i want red shoes, and price lower than {goal.price_limit:.2f} dollars"
    assert (goal.options, goal.attributes, goal.weight) == (("red",), ("rubber sole",), 1.0)


def test_limits_are_among_the_next_four_tens(shop: Load) -> None:
    prices = {"B1": "$9.99", "B2": "$10.00", "B3": "$955.00", "B4": "$979.00", "B5": "$980.00", "B6": "$985.00"}
    items = [product(asin, pricing=pricing) for asin, pricing in prices.items()]
    limits: dict[str, set[float]] = {asin: set() for asin in prices}
    for seed in range(40):
        for goal in shop(items, {asin: wish("light") for asin in prices}, seed=seed).goals:
            limits[goal.product.asin].add(goal.price_limit)
    assert limits == {
        "B1": {20.0, 30.0, 40.0},
        "B2": {30.0, 40.0, 50.0},
        "B3": {970.0, 980.0, 990.0},
        "B4": {990.0},
        "B5": {1_000_000.0},
        "B6": {1_000_000.0},
    }
    (goal,) = shop([items[-1]], {"B6": wish("light")}).goals
    assert goal.instruction == "Find me shoes"


def test_an_option_without_values_leaves_no_goal_but_draws_its_limit(shop: Load) -> None:
    items = [product("B1", options={"Color": []}), product("B2", pricing="$20.00")]
    entries = {"B1": wish("light"), "B2": wish("light")}
    (goal,) = shop(items, entries, seed=3).goals
    rng = random.Random(3)
    rng.sample(range(4), 2)
    assert goal.price_limit == max(rng.sample((30.0, 40.0, 50.0, 60.0), 2))


def test_seeds_decide_prices_and_order_and_nothing_global_does(shop: Load) -> None:
    def told(world: World) -> list[Any]:
        return [(goal.instruction, goal.product.price) for goal in world.goals]

    first = told(shop(seed=1))
    random.seed(99)
    before = random.getstate()
    assert told(shop(seed=1)) == first
    assert random.getstate() == before
    assert told(shop(seed=2)) != first
    assert [text.partition(", and price")[0] for text, _ in told(shop(seed=2))] == (
        [text.partition(", and price")[0] for text, _ in first]
    )
    assert sorted(told(shop(seed=1, goal_order_seed=7))) == sorted(first)
    assert told(shop(seed=1, goal_order_seed=7)) != first


def test_goals_are_a_sequence(shop: Load) -> None:
    goals = shop().goals
    assert [goal.id for goal in goals[2:5]] == [goals[i].id for i in (2, 3, 4)]
    assert goals[-1].id == goals[8].id
    with pytest.raises(IndexError):
        goals[9]


def many(shop: Load, num_products: int = 30, **options: Any) -> World:
    items = [product(f"B{i}", options={"Size": [str(size) for size in range(1 + i % 7)]}) for i in range(num_products)]
    return shop(items, {item["asin"]: wish("light") for item in items}, **options)


def products_of(world: World, split: str) -> set[str]:
    return {world.goals[task.data].product.asin for task in world.tasks(split)}


def test_splits_by_goal_are_ranges_of_the_order(shop: Load) -> None:
    world = many(shop, num_test=20, num_eval=10)
    assert [task.data for task in world.tasks("test")] == list(range(20))
    assert [task.data for task in world.tasks("eval")] == list(range(20, 30))
    assert [task.data for task in world.tasks("train")] == list(range(30, len(world.goals)))
    assert [task.data for task in world.tasks()] == list(range(len(world.goals)))
    assert products_of(world, "train") & products_of(world, "test")


def test_splits_by_product_share_none_and_lose_nothing(shop: Load) -> None:
    world = many(shop, num_test=30, num_eval=20, split_by="product")
    parts = [products_of(world, split) for split in ("train", "eval", "test")]
    # 30 products of 115 goals: 30 and 20 goals are the shares of 7.8 and 5.2 products.
    assert (len(world.goals), [len(part) for part in parts]) == (115, [17, 5, 8])
    assert sum(map(len, parts)) == len(set.union(*parts))
    tasks = [task.data for split in ("train", "eval", "test") for task in world.tasks(split)]
    assert sorted(tasks) == list(range(len(world.goals)))
    again = many(shop, num_test=30, num_eval=20, split_by="product", seed=5)
    assert [products_of(again, split) for split in ("train", "eval", "test")] == parts


def test_an_empty_split_says_what_there_is_and_what_to_do(shop: Load) -> None:
    world = shop(human=HUMAN)
    message = r"'train' has no goals; of the 1 goals there are 0 of train, 0 of eval, 1 of test\. Load more.*num_test=3"
    with pytest.raises(ValueError, match=message):
        WebShopEnv(world)
    assert len(WebShopEnv(world, split="test").tasks()) == len(WebShopEnv(world, split=None).tasks()) == 1
    with pytest.raises(ValueError, match="'valid': choose one of train, eval, test, or None"):
        WebShopEnv(world, split="valid")
    with pytest.raises(ValueError, match="no goals: no product it loaded has an instruction"):
        WebShopEnv(shop(attributes={}), split=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_test": -1}, "num_test=-1, num_eval=1000: neither may be negative"),
        ({"split_by": "asin"}, "split_by is 'asin'; required is goal or product"),
    ],
)
def test_bad_split_options(options: Any, message: str, shop: Load) -> None:
    with pytest.raises(ValueError, match=message):
        shop(**options)


def test_tasks_are_named_by_place_and_content(shop: Load) -> None:
    tasks = shop().tasks()
    assert len({task.id for task in tasks}) == 9
    assert {task.kind for task in tasks} == {"fashion", "home"}
    assert [task.id for task in shop().tasks()] == [task.id for task in tasks]
    # Another seed draws other price limits, so these are other tasks.
    assert not {task.id for task in shop(seed=4).tasks()} >= {task.id for task in tasks}


def test_some_values_no_click_can_choose(shop: Load) -> None:
    values = ["Red", "Search", "Buy Now", "< Prev", "Features", "[x]", "a]", "next >", "", "a\nb", "7"]
    world = shop([product("B1", options={"Color": values, "Size": ["7", "8"]})], {})
    assert selectable_options(world.products[0]) == {
        "red": "color",
        "a]": "color",
        "next >": "color",
        "7": "size",
        "8": "size",
    }


def test_unattainable_goals_by_hand(shop: Load) -> None:
    # `fashion black` is reduced to the first colour word of the list in it, `ash`, which is not in the wanted pair;
    # `search` is taken for the button.
    options = {"Color": ["fashion black", "navy blue", "Red", "Search"]}
    world = shop([product("B1", options=options)], {"B1": wish("light")})
    lost = {dict(world.goals[index].options)["color"] for index in world.unattainable}
    assert lost == {"fashion black", "search"}
    assert {task.data for task in world.tasks(only_attainable=True)} == set(range(4)) - set(world.unattainable)
    assert len(WebShopEnv(world, split=None, only_attainable=True).tasks()) == 2


def test_attributes_a_product_lacks_make_a_goal_unattainable(shop: Load) -> None:
    items = [product("B1", "Shoe of leather"), product("B2")]
    world = shop(items, {asin: wish("leather") | {"attributes": ["light"]} for asin in ("B1", "B2")})
    assert [world.goals[index].product.asin for index in world.unattainable] == ["B2"]
    with pytest.raises(ValueError, match="has no attainable goals"):
        WebShopEnv(shop(items[1:], {"B2": wish("leather") | {"attributes": []}}), split=None, only_attainable=True)


NAMES = st.sampled_from(["Color", "Size", "Style"])
VALUES = st.lists(st.sampled_from(["red", "dark red", "7", "8", "standard", "x-large", "large", "search"]), max_size=3)


@given(options=st.dictionaries(NAMES, VALUES, min_size=1, max_size=3))
def test_no_choice_is_better_than_the_best(options: dict[str, list[str]], tmp_path_factory: Any) -> None:
    world = load(tmp_path_factory.mktemp("shop"), [product("B1", options=options)], {"B1": wish("light")})
    selectable = selectable_options(world.products[0])
    choices: list[dict[str, str]] = [{}]
    for value, name in selectable.items():
        choices += [choice | {name: value} for choice in choices if name not in choice]
    for index, goal in enumerate(world.goals):
        scores = [world.score(index, "B1", tuple(sorted(choice.items()))).total for choice in choices]
        best = best_options(goal)
        assert all(selectable[value] == name for name, value in best.items())
        assert world.score(index, "B1", tuple(sorted(best.items()))).total == max(scores)
        assert (index in world.unattainable) == (max(scores) < 1)
