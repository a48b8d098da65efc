import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_3spo.environments.base import Turn
from trl_3spo.environments.prompting import PROMPT_FORMATS
from trl_3spo.environments.webshop import WebShopEnv, World
from trl_3spo.environments.webshop.prompting import action_prompt, parse_action, think_prompt
from webshop_catalogue import ATTRIBUTES, ITEMS, load

TURNS = [Turn("WebShop [SEP] Instruction: [SEP] a lamp [SEP] Search", "search[lamp]"), Turn("Results", "click[b01]")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return load(tmp_path_factory.mktemp("shop"), ITEMS, ATTRIBUTES)


def test_think_prompt_has_every_part_once() -> None:
    prompt = think_prompt("a lamp", 7, TURNS, "Instruction: [SEP] a lamp [SEP] B03 [SEP] Lamp", ["click[b03]"])
    for part in ("a lamp", ": 7.", "You saw:\nWebShop [SEP] Search\nYou did: search[lamp]\n", "do now:\nclick[b03]\n"):
        assert prompt.count(part) == 1, part
    assert prompt.index("search[lamp]") < prompt.index("Results") < prompt.index("B03 [SEP] Lamp")
    assert prompt.endswith("<think>your thoughts</think><action>your action</action>")


def test_action_prompt_is_short() -> None:
    page = "Instruction: [SEP] a lamp [SEP] B03 [SEP] Lamp"
    assert action_prompt("a lamp", 2, TURNS, page, ["click[b03]", "click[next >]"]) == (
        "Task: a lamp\nStep: 2\nWebShop [SEP] Search\n> search[lamp]\nResults\n> click[b01]\nB03 [SEP] Lamp\n"
        "Actions: click[b03] | click[next >]\nAnswer with one action."
    )


def test_where_nothing_can_be_clicked_a_search_is_offered() -> None:
    assert "Actions: search[keywords]\n" in action_prompt("t", 0, [], "o", [])
    assert "search[keywords]" in think_prompt("t", 0, [], "o", [])
    assert "Actions" not in action_prompt("t", 0, [], "o", None)
    assert "click[text]" in think_prompt("t", 0, [], "o", None)


@pytest.mark.parametrize("observation", ["text", "text_rich"])
@pytest.mark.parametrize("prompt_format", PROMPT_FORMATS)
def test_environment_says_the_instruction_once(world: World, prompt_format: str, observation: str) -> None:
    env = WebShopEnv(world, split=None, prompt_format=prompt_format, observation=observation, history_length=1)
    task = env.tasks()[0]
    turns: list[Turn] = []
    shown = env.reset(task)
    for action in ("search[shoe]", "click[b01]", "click[red]"):
        turns.append(Turn(shown.text, action))
        shown = env.step(action).observation
        (message,) = env.prompt(task, shown, turns)
        assert message["role"] == "user"
        assert message["content"].count(world.goals[0].instruction) == 1
        assert all(listed in message["content"] for listed in shown.admissible_actions)
    assert "search[shoe]" not in message["content"]
    assert "click[red]" in message["content"]


@pytest.mark.parametrize(
    ("completion", "action"),
    [
        ("<think>hm</think><action>search[red shoe]</action>", "search[red shoe]"),
        ("<think>[no] click[x]</think>\n<action> Click[ Buy Now ].</action> and more", "click[buy now]"),
        ("<action>search[a]</action><action>click[b]</action>", "search[a]"),
        ("<think>hm</think> I will click[< prev], then", "click[< prev]"),
        ("<action>click [b01]", ""),
        ("<action>click[spaced  out]</action>", "click[spaced  out]"),
        ("<action>click[a]]</action>", "click[a]]"),
        ("<action>Buy  now</action>", "buy now"),
        ("", ""),
    ],
)
def test_parser_of_thoughts(completion: str, action: str) -> None:
    assert parse_action(completion, "think") == action


@pytest.mark.parametrize(
    ("completion", "action"),
    [
        ("search[red shoe]", "search[red shoe]"),
        ("\n > Click[B01].\nResults: click[b02]\n", "click[b01]"),
        ("<action>\nclick[b01]\n</action>", "click[b01]"),
        (" \n ", ""),
    ],
)
def test_parser_of_actions_takes_the_first_line(completion: str, action: str) -> None:
    assert parse_action(completion, "action") == action


PIECES = st.sampled_from(
    ["<think>", "</think>", "<action>", "</action>", "\n", "Click[a]", "search[", "]", "\x00", "\ud800", "İ"]
)


@given(st.lists(PIECES | st.text(), max_size=12).map("".join), st.sampled_from(PROMPT_FORMATS))
def test_parser_is_total_and_stable(completion: str, prompt_format: str) -> None:
    action = parse_action(completion, prompt_format)
    assert len(action) <= 2000
    if "<" not in action:
        assert parse_action(action, prompt_format) == action


@given(st.sampled_from(PROMPT_FORMATS), st.data())
def test_parser_gives_back_what_the_prompt_lists(world: World, prompt_format: str, data: st.DataObject) -> None:
    env = WebShopEnv(world, split=None)
    env.reset(0)
    shown = env.step("search[shoe]").observation
    for _ in range(3):
        action = data.draw(st.sampled_from(shown.admissible_actions))
        form = "<think>{}</think><action>{}</action>" if prompt_format == "think" else "{1}"
        assert parse_action(form.format("so", action.upper()), prompt_format) == action
        result = env.step(action)
        shown = result.observation
        if not shown.admissible_actions:
            break
