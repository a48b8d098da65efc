"""ALFWorld and WebShop as conversations: every turn is said once, and prompts begin with the ones before them."""

import pytest

from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.expert.demonstrations import demonstrate
from trl_3spo.environments.base import Turn
from trl_3spo.environments.webshop import WebShopEnv, World
from trl_3spo.testing import check_environment

STYLES = {"prompt_style": "conversation"}


def alfworld(**options):
    return AlfworldEnv(generated=2, seed=1, num_receptacles=(4, 6), max_steps=10, **options)


def webshop(**options):
    return WebShopEnv(World.bundled(), **options)


@pytest.fixture(params=[alfworld, webshop], ids=["alfworld", "webshop"])
def make_env(request):
    return request.param


def prompts(env, answers):
    """Return the prompt before each of some answers, and the one after the last."""
    task = env.tasks()[0]
    observation, turns, found = env.reset(task), [], []
    for answer in answers:
        found.append(env.prompt(task, observation, turns))
        turns.append(Turn(observation.text, env.parse_action(answer), answer, observation.messages))
        observation = env.step(turns[-1].action).observation
    return [*found, env.prompt(task, observation, turns)]


@pytest.mark.parametrize("prompt_format", ["think", "action"])
def test_every_prompt_begins_with_the_one_before_and_its_answer(make_env, prompt_format):
    answers = ["<think>Where?</think><action>look</action>", "search[red shoes]", "inventory"]
    first, *later = prompts(make_env(prompt_format=prompt_format, **STYLES), answers)
    assert [message["role"] for message in first] == ["system", "user"]
    before = first
    for answer, prompt in zip(answers, later, strict=True):
        assert prompt[: len(before) + 1] == [*before, {"role": "assistant", "content": answer}]
        assert [message["role"] for message in prompt[len(before) + 1 :]] == ["user"]
        before = prompt


def test_alfworld_says_the_task_once_and_what_can_be_done_at_every_turn():
    env = alfworld(**STYLES)
    task = env.tasks()[0]
    first = env.reset(task)
    system, user = env.prompt(task, first, [])
    sentence = env.game(task.id).task
    assert system["content"].startswith("You are an agent in a household")
    assert f"Your task: {sentence}\n" in system["content"]
    assert system["content"].endswith("<think>your thoughts</think><action>your action</action>")
    assert sentence not in user["content"]
    actions = [action for action in first.admissible_actions if action != "help"]
    assert user["content"].endswith("\n\nWhat you can do now:\n" + "\n".join(actions))


def test_webshop_says_the_instruction_once():
    env = webshop(prompt_format="action", **STYLES)
    task = env.tasks()[0]
    system, user = env.prompt(task, env.reset(task), [])
    instruction = env.world.goal(env.world.goal_index(task.id)).instruction
    assert system["content"] == f"Task: {instruction}\nAnswer with one action."
    assert instruction not in user["content"]
    assert user["content"].endswith("\nActions: search[keywords]")


def test_without_actions_their_forms_are_named(make_env):
    env = make_env(shows_admissible_actions=False, **STYLES)
    task = env.tasks()[0]
    text = env.prompt(task, env.reset(task), [])[-1]["content"]
    assert "What you can do now" not in text
    assert "search[keywords]" in text or "go to" in text


def test_a_conversation_keeps_the_contract(make_env):
    check_environment(make_env(**STYLES), tasks=2, steps=10)


def test_an_expert_shows_conversations():
    env = alfworld(**STYLES)
    rows = list(demonstrate(env, env.tasks(), plays_by_prompt=True))
    assert rows
    longest = max(rows, key=lambda row: len(row["prompt"]))
    assert [message["role"] for message in longest["prompt"][:4]] == ["system", "user", "assistant", "user"]


def test_an_unknown_style_is_refused(make_env):
    with pytest.raises(ValueError, match="prompt_style is 'chat'; required is window or conversation"):
        make_env(prompt_style="chat")
