"""Mode `compat` against transcripts of the original, step by step."""

from typing import Any

import pytest

from trl_3spo.environments.base import StepResult
from trl_3spo.environments.webshop import WebShopEnv
from trl_3spo.environments.webshop.scoring.matching import COLOR_WORDS, normalize_color, token_set_ratio
from trl_3spo.environments.webshop.shop.original import url
from trl_3spo.environments.webshop.state import INDEX
from webshop_fixtures import needs_fixtures, read, transcripts, world

pytestmark = needs_fixtures


def tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize("observation", ["text", "text_rich"])
def test_every_transcript_replays_without_a_difference(observation: str) -> None:
    episodes = transcripts()
    assert len(episodes) == 150
    for number, episode in enumerate(episodes):
        human = bool(episode["human"])
        options = {"mode": "compat", "observation": observation, "shows_attributes": human, "split": None}
        env = WebShopEnv(world(human=human), max_steps=len(episode["steps"]), **options)
        first, *others = episode["steps"]
        result = StepResult(env.reset(episode["goal_index"]))
        compare(env, result, first, episode["goal_index"], f"episode {number}")
        for step, expected in enumerate(others, 1):
            before, result = result, env.step(expected["action"])
            if "exception" in expected:
                assert result.info["no_op"]
                assert result.observation.state_key == before.observation.state_key
            else:
                compare(env, result, expected, episode["goal_index"], f"episode {number}, step {step}")


def compare(env: WebShopEnv, result: StepResult, expected: dict[str, Any], index: int, where: str) -> None:
    state = env.snapshot().state
    is_rich = env.observation == "text_rich"
    assert result.observation.text == expected["obs_rich" if is_rich else "obs"], where
    assert list(env.clickables()) == expected["clickables"], where
    assert (state.page == INDEX) == expected["has_search_bar"], where
    assert (result.reward, result.terminated) == (expected["reward"], expected["done"]), where
    assert session(state) == expected["session"], where
    assert url(index, state) == expected["url"], where
    if is_rich:
        assert state.visited == set(expected["asins"]), where


def session(state: Any) -> dict[str, Any]:
    keywords = None if state.query is None else state.query.split(" ")
    return {"asin": state.asin, "options": dict(state.options), "page": state.page_number, "keywords": keywords}


@pytest.mark.parametrize("human", [False, True])
def test_goals_and_prices_of_a_seed(human: bool) -> None:
    expected = read("goals_human.json" if human else "goals_synthetic.json")
    shop = world(human=human)
    assert {product.asin: product.price for product in shop.products} == expected["prices"]
    for goal, wanted in zip(shop.goals, expected["goals"], strict=True):
        options = wanted["goal_options"]
        assert goal.options == tuple(options.items() if isinstance(options, dict) else options)
        assert goal.product.asin == wanted["asin"]
        assert goal.instruction == wanted["instruction_text"]
        assert list(goal.attributes) == wanted["attributes"]
        assert (goal.price_limit, goal.weight) == (wanted["price_upper"], wanted["weight"])


def test_fuzzy_scores() -> None:
    samples = read("token_set_ratio.json")
    assert len(samples) == 400
    for first, second, score in samples:
        assert token_set_ratio(tupled(first), tupled(second)) == score, (first, second)


def test_colors() -> None:
    assert list(COLOR_WORDS) == read("color_words_ordered.json")
    samples = read("normalize_color.json")
    assert len(samples) == 300
    for value, color in samples:
        assert normalize_color(tupled(value)) == tupled(color), value
