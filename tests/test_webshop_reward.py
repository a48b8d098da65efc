"""What purchases are worth, worked by hand."""

from pathlib import Path
from typing import Any

import pytest

from trl_3spo.environments.webshop import World
from trl_3spo.environments.webshop.catalogue.goals import Goal
from trl_3spo.environments.webshop.scoring.matching import is_match, normalize_color, token_set_ratio
from trl_3spo.environments.webshop.scoring.reward import Reward, has_attribute, score_purchase
from trl_3spo.environments.webshop.scoring.title_nouns import title_nouns
from webshop_catalogue import ATTRIBUTES, HUMAN, ITEMS, load, product, wish


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return load(tmp_path_factory.mktemp("shop"), ITEMS, ATTRIBUTES, title_nouns=str.split)


def goal_of(world: World, asin: str, *options: Any) -> Goal:
    return next(goal for goal in world.goals if goal.product.asin == asin and goal.options == options)


def score(world: World, goal: Goal, asin: str, **options: str) -> Reward:
    return score_purchase(goal, world.by_asin[asin], options, str.split)


def test_the_right_product_with_the_right_options_is_worth_one(world: World) -> None:
    goal = goal_of(world, "B01", ("color", "dark blue"), ("size", "8"))
    reward = score(world, goal, "B01", color="dark blue", size="8")
    assert reward.total == 1.0
    assert reward.as_original() == {
        "r_type": 1.0,
        "r_att": 1.0,
        "w_att": 1 / 4,
        "query_match": True,
        "category_match": True,
        "title_score": 1.0,
        "r_option": 1.0,
        "w_option": 2 / 4,
        "r_price": True,
        "w_price": 1 / 4,
    }
    assert score(world, goal, "B01", size="8").total == 3 / 4
    assert score(world, goal, "B01").total == 2 / 4
    # Names do not matter, and one value serves one wanted option only if it is that option.
    assert score(world, goal, "B01", size="dark blue", color="8").total == 1.0


def test_another_product_of_the_type(world: World) -> None:
    goal = goal_of(world, "B01", ("color", "red"), ("size", "8"))
    reward = score(world, goal, "B02", size="8")
    assert reward.title_score == 1 / 3  # of Red Running Shoe it shares Shoe
    # Attribute and size count, the colour does not; whether the price does was drawn.
    assert reward.total == (2 + (world.by_asin["B02"].price <= goal.price_limit)) / 4


def test_wrong_type_by_hand(world: World) -> None:
    goal = goal_of(world, "B03")
    assert score(world, goal, "B03").total == 1.0
    lamp_for_shoe = score(world, goal_of(world, "B01", ("color", "red"), ("size", "8")), "B03")
    assert (lamp_for_shoe.type_factor, lamp_for_shoe.total) == (0.0, 0.0)
    assert "r_option" not in score(world, goal, "B01").as_original()


@pytest.mark.parametrize(
    ("wanted", "bought", "is_related", "factor", "title_score"),
    [
        ("a b c d", "a", False, 1.0, 0.25),
        ("a b c d e", "a", False, 0.5, 0.2),
        ("a b c d e", "a", True, 1.0, 0.2),
        ("a b c d e f g h i j k", "a", True, 0.1, 1 / 11),
        ("a", "b", True, 0.0, 0.0),
        ("", "b", False, 0.5, 0.2),
        ("a a b", "a b", False, 1.0, 2 / 3),
    ],
)
@pytest.mark.parametrize("relation", ["query", "product_category"])
def test_type_factor(
    wanted: str, bought: str, is_related: bool, factor: float, title_score: float, relation: str, tmp_path: Path
) -> None:
    other = {"query": "other", "product_category": "x › y"}
    related = {relation: product("B2")[relation]} if is_related else {}
    items = [product("B1", wanted), product("B2", bought) | other | related]
    world = load(tmp_path, items, {"B1": wish("light")}, title_nouns=str.split)
    reward = score(world, world.goals[0], "B2")
    assert (reward.type_factor, reward.title_score) == (factor, title_score)
    assert reward.total == factor * (0 + 1) / 2
    assert (reward.query_match, reward.category_match) == (
        is_related and relation == "query",
        is_related and relation == "product_category",
    )


def test_two_categories_have_to_be_shared(tmp_path: Path) -> None:
    paths = {"B1": "A › B › C", "B2": "C ›  A", "B3": "A", "B4": "", "B5": "A›A"}
    items = [product(asin, product_category=path, query=asin) for asin, path in paths.items()]
    world = load(tmp_path, items, {"B1": wish("x"), "B4": wish("x")})
    goals = {goal.product.asin: goal for goal in world.goals}
    assert [asin for asin in paths if score(world, goals["B1"], asin).category_match] == ["B1", "B2"]
    assert not score(world, goals["B4"], "B4").category_match


def test_prices_at_the_limit_are_affordable(tmp_path: Path) -> None:
    items = [product("B1", pricing="$10.00"), *(product(f"C{n}", pricing=f"${n}.00") for n in (20, 30, 40, 50))]
    world = load(tmp_path, [*items, product("D1", pricing="$51.00")], {"B1": wish("light")})
    goal = world.goals[0]
    bought = {asin: score(world, goal, asin).is_affordable for asin in world.by_asin}
    limit = f"C{goal.price_limit:.0f}"
    assert bought[limit]
    assert [asin for asin, is_affordable in bought.items() if is_affordable][-1] == limit
    assert not bought["D1"]


def test_attributes_count_if_similar_or_written_anywhere(tmp_path: Path) -> None:
    texts = {"full_description": "Very SOFT inside", "small_description": ["machine", "wash"]}
    items = [product("B1", "Lamp with Stand", **texts)]
    shown = load(tmp_path, items, {"B1": {"attributes": ["easy to clean"]}}).products[0]
    for attribute in ("easy clean", "clean easy to", "soft", "with stand", "machine wash"):
        assert has_attribute(shown, attribute), attribute
    for attribute in ("SOFT", "hard", "easy", "stand lamp"):
        assert has_attribute(shown, attribute) == (attribute == "easy"), attribute


def test_human_options_are_values(tmp_path: Path) -> None:
    world = load(tmp_path, ITEMS, ATTRIBUTES, HUMAN)
    assert score(world, world.goals[0], "B01", color="red").total == 1.0
    assert score(world, world.goals[0], "B01", color="dark blue").total == 2 / 3


def test_fuzzy_scores_by_hand() -> None:
    # Common words first: `a b` against `a b c` and `a b d`; the best of the three pairs counts.
    assert token_set_ratio("b a a", "a b") == 100
    assert token_set_ratio("red shoe", "SHOE") == 100
    assert token_set_ratio("abcd", "abce") == 75  # 2 * 3 / 8
    assert token_set_ratio("large", "x-large") == 100
    assert token_set_ratio("naïve", "nave") == 100  # 128 to 255 are deleted
    assert token_set_ratio("日本", "日本") == 100
    assert token_set_ratio("", "") == token_set_ratio("!", "!") == token_set_ratio("a", "") == 0
    assert token_set_ratio("navy blue", ("color", "navy blue")) == 100
    assert not is_match("ash", ("color", "fashion black"))


def test_a_cutoff_changes_no_score_above_it() -> None:
    samples = ["red shoe", "red shoes", "shoe", "x-large", "large", "", "blue | green", "a", "abcdefgh", "abcdefgi"]
    for first in samples:
        for second in samples:
            exact = token_set_ratio(first, second)
            assert is_match(first, second) == (exact > 85)
            for cutoff in (1, 50, 86, 100):
                assert token_set_ratio(first, second, cutoff) in ({exact} if exact >= cutoff else {exact, 0})


def test_colors_by_hand() -> None:
    assert normalize_color("dark red") == "dark"  # the list's order, not the text's
    assert normalize_color("standard") == "tan"
    assert normalize_color("10 wide") == "10 wide"
    assert normalize_color(("color", "red")) == "red"
    assert normalize_color(("color", "dark red")) == ("color", "dark red")


@pytest.mark.parametrize(
    ("title", "nouns"),
    [
        ("Men's Red Running Shoe, Size 7.5 (Pack of 2)", "men red running shoe size pack"),
        ("The best lamp with a lamp for your home", "lamp lamp home"),
        ("12 oz 100% é", "é"),
        ("", ""),
    ],
)
def test_title_nouns_by_rule(title: str, nouns: str) -> None:
    assert list(title_nouns(title)) == nouns.split()
