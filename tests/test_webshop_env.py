"""The environment: its contract, what the sane shop does otherwise, and the oddities of the original."""

import pickle
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_3spo.environments.base import Observation, StepResult, Task
from trl_3spo.environments.webshop import WebShopEnv, World
from trl_3spo.environments.webshop.state import read_action
from trl_3spo.testing import check_environment
from webshop_catalogue import ATTRIBUTES, ITEMS, load, product, wish, write

SEARCHES = ("search[shoe]", "search[walking shoe 8]", "search[lamp]", "search[zebra]")
ODD = product(
    "B0odd", "Odd Shoe", options={"Café": ["Ünï", "“q”", '5" x 7"', "[x]", "a\nb", "search_results", "next >"]}
)
MANY = [product(f"B{number}", f"Sock {number}", query="socks") for number in range(100, 125)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("shop")
    entries = ATTRIBUTES | {"B0odd": wish("odd", instruction="Find me odd shoes")}
    return load(folder, [*ITEMS, ODD, *MANY], entries, num_test=3, num_eval=2)


def play(env: WebShopEnv, *actions: str, task: int = 0) -> StepResult:
    result = StepResult(env.reset(task))
    for action in actions:
        result = env.step(action)
    return result


def goal_index(world: World, asin: str, *options: Any) -> int:
    goals = enumerate(world.goals)
    return next(i for i, goal in goals if goal.product.asin == asin and goal.options == options)


@pytest.mark.parametrize("observation", ["text", "text_rich"])
@pytest.mark.parametrize("mode", ["sane", "compat"])
def test_contract(world: World, mode: str, observation: str) -> None:
    env = WebShopEnv(world, mode=mode, observation=observation, split=None, shows_attributes=True)
    report = check_environment(env, tasks=8, steps=15, actions=SEARCHES)
    assert report.num_ends == 8
    assert report.num_revisits > 10
    assert report.remarks == ()
    check_environment(WebShopEnv(world))


def test_an_episode_by_hand(world: World) -> None:
    env = WebShopEnv(world, split=None)
    task = env.tasks()[goal_index(world, "B01", ("color", "red"), ("size", "8"))]
    instruction = world.goals[task.data].instruction
    first = env.reset(task)
    assert first == env.reset(task.data) == env.reset(np.int64(task.data))
    assert first.text == f"WebShop [SEP] Instruction: [SEP] {instruction} [SEP] Search"
    assert (first.admissible_actions, env.clickables()) == ((), ("search",))
    shown = env.step("search[Red Running SHOES]").observation
    assert shown.text.startswith(
        f"Instruction: [SEP] {instruction} [SEP] Back to Search [SEP] Page 1 (Total results: 3)"
    )
    assert shown.admissible_actions[:3] == ("click[back to search]", "click[next >]", "click[b01]")
    shown = env.step("click[b01]").observation
    assert shown.text.endswith(
        "< Prev [SEP] color [SEP] red [SEP] dark blue [SEP] size [SEP] 7 [SEP] 8 [SEP] 9 [SEP] Red Running Shoe [SEP] "
        "Price: $10.0 [SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
    )
    assert "click[red]" in shown.admissible_actions
    env.step("click[8]")
    shown = env.step("click[red]").observation
    assert " [SEP] Selected options: color: red, size: 8 [SEP] Red Running Shoe [SEP] " in shown.text
    assert "click[red]" not in shown.admissible_actions
    assert env.step("click[features]").observation.text.endswith("Selected options: color: red, size: 8 [SEP] one")
    assert env.step("click[< prev]").observation.text == shown.text
    last = env.step("click[buy now]")
    assert (last.reward, last.terminated, last.truncated, last.success) == (1.0, True, False, True)
    assert last.info["r_option"] == 1.0
    assert "Your score (min 0.0, max 1.0) [SEP] 1.0" in last.observation.text
    assert last.observation.admissible_actions == env.clickables() == ()


@pytest.mark.parametrize(("reward", "expected"), [("score", 0.5), ("success", 0.0)])
def test_rewards_of_an_incomplete_purchase(world: World, reward: str, expected: float) -> None:
    env = WebShopEnv(world, split=None, reward=reward)
    index = goal_index(world, "B01", ("color", "red"), ("size", "8"))
    result = play(env, "search[running shoe]", "click[b01]", "click[buy now]", task=index)
    assert (result.reward, result.terminated, result.success) == (expected, True, False)
    result = play(env, "search[running shoe]", "click[b01]", "click[8]", "click[red]", "click[buy now]", task=index)
    assert (result.reward, result.success) == (1.0, True)


def test_episodes_are_cut_off(world: World) -> None:
    env = WebShopEnv(world, split=None, max_steps=2)
    assert not play(env, "search[shoe]").is_final
    result = env.step("click[b01]")
    assert (result.truncated, result.terminated, result.reward) == (True, False, 0.0)
    with pytest.raises(RuntimeError, match="has ended"):
        env.step("click[8]")
    assert play(WebShopEnv(world, split=None, max_steps=3), "search[shoe]", "click[b01]", "click[buy now]").terminated


def test_nothing_can_be_done_before_the_first_reset(world: World) -> None:
    for call in (WebShopEnv(world).snapshot, WebShopEnv(world).clickables, lambda: WebShopEnv(world).step("search[a]")):
        with pytest.raises(RuntimeError, match=r"call reset\(\)"):
            call()


@pytest.mark.parametrize("task", [-1, 999, Task("0-B01-00000000"), Task("x"), Task(""), Task("²-B01")])
def test_unknown_tasks(world: World, task: Any) -> None:
    with pytest.raises(ValueError, match=r"no task .* among the 16 of this world"):
        WebShopEnv(world).reset(task)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "original"}, "mode is 'original'; required is sane or compat"),
        ({"observation": "html"}, "observation is 'html'; required is text or text_rich"),
        ({"reward": "raw"}, "reward is 'raw'; required is score or success"),
        ({"prompt_format": "chat"}, "prompt_format is 'chat'; required is think or action"),
        ({"max_steps": 0}, "max_steps=0: at least 1"),
        ({"history_length": -1}, "history_length is -1"),
    ],
)
def test_bad_options(world: World, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WebShopEnv(world, **options)


def test_the_former_name_of_an_option_is_refused_with_the_new_one(world: World) -> None:
    with pytest.raises(TypeError, match="no option show_attributes: write shows_attributes=True"):
        WebShopEnv(world, show_attributes=True)  # type: ignore[arg-type]


def test_an_environment_of_files(tmp_path: Path) -> None:
    items, attributes = write(tmp_path, ITEMS, ATTRIBUTES)[:2]
    env = WebShopEnv.from_files(str(items), str(attributes), split=None, max_steps=3)
    assert [task.id for task in env.tasks()] == [task.id for task in load(tmp_path, ITEMS, ATTRIBUTES).tasks()]
    assert env.max_steps == 3
    assert len(WebShopEnv.from_files(split=None).world.products) == 480
    with pytest.raises(ValueError, match="name both files, or neither"):
        WebShopEnv.from_files(str(items))


def test_snapshots_are_kept_and_can_be_pickled(world: World) -> None:
    env = WebShopEnv(world, split=None, observation="text_rich")
    play(env, "search[shoe]", "click[b01]", "click[dark blue]")
    before = env.snapshot()
    bought = env.step("click[buy now]")
    play(env, "search[lamp]", task=3)
    assert env.restore(pickle.loads(pickle.dumps(before))) == before.observation
    assert env.step("click[buy now]") == bought
    other = WebShopEnv(world, split=None, observation="text_rich")
    other.restore(before)
    assert other.step("click[buy now]") == bought


def test_the_order_of_choosing_is_no_part_of_the_state(world: World) -> None:
    env = WebShopEnv(world, split=None)
    first = play(env, "search[shoe]", "click[b01]", "click[7]", "click[red]").observation
    assert play(env, "search[shoe]", "click[b01]", "click[8]", "click[red]", "click[7]").observation.state_key == (
        first.state_key
    )
    again = play(env, "search[shoe]", "click[b01]", "click[red]", "click[7]").observation
    assert again == first


def test_states_differ_where_the_original_shows_no_difference(world: World) -> None:
    shown = []
    for options in ({}, {"shows_selected_options": False}, {"mode": "compat"}):
        env = WebShopEnv(world, split=None, **options)
        before = play(env, "search[shoe]", "click[b01]").observation
        after = env.step("click[red]").observation
        assert before.state_key != after.state_key
        shown.append(before.text != after.text)
    assert shown == [True, False, False]


def test_score_keys_hold_the_time_and_how_far_the_purchase_has_come(world: World) -> None:
    env = WebShopEnv(world, split=None, max_steps=10)
    index = goal_index(world, "B01", ("color", "red"), ("size", "8"))

    def keys(*actions: str) -> tuple[Any, ...]:
        return play(env, *actions, task=index).observation.score_keys

    exact, wanted, coarse, page, time = keys("search[running shoe]", "click[b01]", "click[8]")
    assert exact == (env.snapshot().observation.state_key, 3)
    assert wanted == ("B01", *coarse)
    assert coarse == ("item_page", "", 1, False, 1.0, 0, 1, True, 3)
    assert (page, time) == (("item_page", 3), (3,))
    # What is chosen does not matter as long as as much is lacking, and all of it differs a step later.
    assert keys("search[running shoe]", "click[b01]", "click[red]")[1:] == (wanted, coarse, page, time)
    later = keys("search[running shoe]", "nothing", "click[b01]", "click[8]")
    assert [key[:-1] for key in later] == [key[:-1] for key in (exact, wanted, coarse, page, time)]
    assert {key[-1] for key in later} == {4}
    assert keys("search[running shoe]")[2] == ("search_results", "", 1, True, 1)
    assert keys("search[lamp]")[2] == ("search_results", "", 1, False, 1)


@pytest.mark.parametrize("observation", ["text", "text_rich"])
def test_the_sane_shop_does_what_it_shows_and_nothing_else(world: World, observation: str) -> None:
    env = WebShopEnv(world, split=None, observation=observation)
    for actions, why in (
        (["search[shoe]", "search[lamp]"], "no search bar"),
        (["search[shoe]", "click[b01]", "search[lamp]"], "no search bar"),
        (["search[" + "x" * 501 + "]"], "501 characters; at most 500"),
        (["click[search]"], "no such thing"),
        (["search[shoe]", "click[b03]"], "no such thing"),
        (["search[]"], "An action is"),
        (["buy now"], "An action is"),
        (["Search[shoe]"], "An action is"),
    ):
        before = play(env, *actions[:-1]).observation
        result = env.step(actions[-1])
        assert why in result.info["no_op"]
        assert (result.reward, result.is_final) == (0.0, False)
        assert (result.observation.text, result.observation.state_key) == (before.text, before.state_key)
    assert "Total results: 0" in play(env, "search[<r>]").observation.text
    assert "Total results: 26" in play(env, "search[<q> socks]").observation.text
    assert play(env, "search[" + "sock " * 100 + "]").info == {}


def test_a_product_with_small_letters_can_be_opened_in_the_sane_shop(world: World) -> None:
    path = "search[odd]", "click[b0odd]"
    assert "Odd Shoe" in play(WebShopEnv(world, split=None), *path).observation.text
    result = play(WebShopEnv(world, split=None, mode="compat"), *path)
    assert "leads nowhere" in result.info["no_op"]
    assert "click[b0odd]" not in result.observation.admissible_actions


def test_rich_observations_mark_what_is_chosen(world: World) -> None:
    env = WebShopEnv(world, split=None, observation="text_rich")
    text = play(env, "search[odd]", "click[b0odd]", "click[ünï]").observation.text
    assert text.startswith("You have clicked ünï.\nInstruction:\n")
    assert (
        '\n  [clicked button] ünï [clicked button_]\n  [button] “q” [button_]\n  [button] 5" x 7" [button_]\n' in text
    )
    text = play(env, "search[walking 8]", "click[b02]", "click[8]", "click[< prev]").observation.text
    assert "\n[clicked button] B02 [clicked button_]\n" in text
    assert "\n[button] B01 [button_]\n" in text
    assert "clicked" not in play(env, "search[walking 8]", "click[b02]", "click[back to search]").observation.text


def compat(world: World, *actions: str, observation: str = "text") -> WebShopEnv:
    env = WebShopEnv(world, split=None, mode="compat", observation=observation, max_steps=99)
    play(env, *actions)
    return env


def test_the_original_searches_anywhere_and_forgets_the_options(world: World) -> None:
    env = compat(world, "search[shoe]", "click[b01]", "click[red]", "click[features]", "search[lamp]")
    assert "Desk Lamp" in env.snapshot().observation.text
    assert env.snapshot().state[:5] == ("search_results", "lamp", 1, None, ())


def test_the_original_routes_by_its_addresses(world: World) -> None:
    # A query with `search_results` in it turns pages where there are none to turn, down to page 0.
    env = compat(world, "search[shoe search_results]", "click[b01]", "click[< prev]")
    assert "Page 0 (Total results: 3) [SEP] Next > [SEP]" not in env.snapshot().observation.text
    assert env.snapshot().observation.text.endswith("Page 0 (Total results: 3) [SEP] Next >")
    assert env.clickables() == ("back to search", "next >")
    # A query with `item_page` in it leads from a sub page to the results.
    env = compat(world, "search[shoe item_page]", "click[b01]", "click[features]", "click[< prev]")
    assert env.snapshot().state.page == "search_results"
    env = compat(world, "search[shoe]", "click[b01]", "click[features]", "click[< prev]")
    assert env.snapshot().state.page == "item_page"


def test_the_original_marks_what_its_addresses_hold_in_quotation_marks(world: World) -> None:
    def text(*actions: str) -> str:
        return compat(world, *actions, observation="text_rich").snapshot().observation.text

    assert text("search[shoe]", "click[b01]", "click[dark blue]").count("[clicked button]") == 1
    assert text('search[shoe "red"]', "click[b01]").startswith("You have clicked red.\n")


def test_special_queries_of_the_original(world: World) -> None:
    def total(query: str, world: World = world) -> str:
        env = compat(world, f"search[{query}]")
        return env.snapshot().observation.text.partition("Total results: ")[2].partition(")")[0]

    assert (total("<c> garden"), total("<c> garden hose"), total("<c> nothing"), total("<c> ")) == ("1", "1", "0", "0")
    assert (total("<q> socks"), total("<q>  SOCKS "), total("<q>")) == ("25", "25", "0")
    env = compat(world, "search[<q> socks]", "click[next >]", "click[next >]", "click[next >]")
    assert env.clickables() == ("back to search", "< prev", "next >")


def test_random_products_of_the_original_stay_the_same(tmp_path: Path) -> None:
    world = load(tmp_path, [product(f"B{n}") for n in range(60)], {"B7": wish("light")})
    random.seed(1)
    env = compat(world, "search[<r>]")
    before = env.snapshot().observation
    assert "Total results: 50" in before.text
    random.seed(2)
    env.step("click[next >]")
    assert env.step("click[< prev]").observation.text == before.text


@pytest.mark.parametrize("query", ["<a>", "<a> light", "<c>", "<r>", " ".join(f"w{n}" for n in range(1025))])
def test_nothing_happens_where_the_original_raises(world: World, query: str) -> None:
    env = compat(world, "search[shoe]")
    before = env.snapshot()
    result = env.step(f"search[{query}]")
    assert result.info["no_op"].startswith("WebShop raises an error")
    assert result.observation.state_key == before.observation.state_key


WORDS = ("shoe", "b01", "b0odd", "next >", "< prev", "back to search", "buy now", "features", "description", "red", "8")
ODDITIES = ("<r>", "<q> socks", "<c>", "ünï", "“q”", "search_results", "\n", "\x00", "\ud800", "İ")
PIECES = st.sampled_from(("search[", "click[", "]", "[", *WORDS, *ODDITIES))
ACTIONS = st.lists(PIECES | st.text(max_size=5), max_size=6).map("".join)
CLICKS = st.sampled_from(["search[shoe]", "search[odd]", "click[b01]", "click[b0odd]", "click[8]", "click[features]"])


@given(
    st.lists(ACTIONS | CLICKS, max_size=12), st.sampled_from(["sane", "compat"]), st.sampled_from(["text", "text_rich"])
)
def test_any_string_is_an_action(world: World, actions: list[str], mode: str, observation: str) -> None:
    env = WebShopEnv(world, split=None, mode=mode, observation=observation, max_steps=12)
    before: Observation = env.reset(0)
    generators = random.getstate(), np.random.get_state()[1].tolist()
    for action in actions:
        listed = action in before.admissible_actions
        result = env.step(action)
        changed = result.observation.state_key != before.state_key
        assert changed or not listed
        assert bool(result.info.get("no_op")) <= (not changed)
        assert 0 <= result.reward <= 1
        before = result.observation
        if result.is_final:
            break
    assert (random.getstate(), np.random.get_state()[1].tolist()) == generators


@given(st.text(st.sampled_from("ab[]\nclick") | st.characters(), max_size=12) | st.just("click[[a]] b"))
def test_actions_are_read_as_the_original_reads_them(text: str) -> None:
    for written in (text, f"click[{text}", f"search[{text}]x"):
        match = re.match(r"(.+)\[(.+)\]", written)
        expected = (match[1], match[2].lower()) if match and match[1] in ("search", "click") else None
        assert read_action(written) == expected


def test_two_worlds_do_not_influence_each_other(tmp_path: Path) -> None:
    def walk(env: WebShopEnv) -> list[Any]:
        results = [play(env)] + [env.step(action) for action in path]
        return [(result.observation, result.reward) for result in results]

    path = ("search[shoe]", "click[b01]", "click[8]", "click[features]", "click[< prev]", "click[buy now]")
    worlds = [load(tmp_path, ITEMS, ATTRIBUTES, seed=seed) for seed in (1, 2)]
    alone = [walk(WebShopEnv(load(tmp_path, ITEMS, ATTRIBUTES, seed=seed), split=None)) for seed in (1, 2)]
    envs = [WebShopEnv(shop, split=None) for shop in worlds]
    together = [[(play(env).observation, 0.0)] for env in envs]
    for action in path:
        for env, seen in zip(envs, together, strict=True):
            result = env.step(action)
            seen.append((result.observation, result.reward))
    assert together == alone
    assert alone[0] != alone[1]


def test_environments_of_one_world_share_it(world: World) -> None:
    envs = [WebShopEnv(world) for _ in range(3)]
    assert envs[0].world is envs[1].world is envs[2].world
    assert envs[0].tasks() is envs[1].tasks()
    play(envs[0], "search[shoe]", task=1)
    play(envs[1], "search[lamp]", task=2)
    assert envs[0].snapshot().state.query == "shoe"
