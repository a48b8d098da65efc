"""Worlds to train a small pretrained model in, with prompts that two CPU cores can read."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import small_webshop

from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.expert import demonstrations as alfworld_expert
from trl_3spo.environments.base import Environment, Task
from trl_3spo.environments.webshop import WebShopEnv
from trl_3spo.environments.webshop.expert import demonstrations as webshop_expert

NUM_DEMONSTRATED = 400
"""Tasks that are kept for demonstrations, so that how many are shown does not change what is trained on."""

NOISE = 0.2
"""Share of random actions in demonstrations, which show how to go on from there: whoever is only shown how to win does
not know what to do after a mistake."""


class World(NamedTuple):
    """An environment and which of its tasks are for what.

    Args:
        env: The environment.
        shown: Tasks to demonstrate.
        train: Tasks to reinforce on.
        unseen: Tasks to evaluate on.
        demonstrate: Plays tasks and yields every step as a prompt and a completion.
    """

    env: Environment
    shown: Sequence[Task]
    train: Sequence[Task]
    unseen: Sequence[Task]
    demonstrate: Callable[[Sequence[Task]], Iterator[dict[str, Any]]]


def shop(prompt_format: str, num_unseen: int) -> World:
    """Return the demo's shop: purchases of about five steps, prompts of about 175 tokens."""
    env = WebShopEnv(
        small_webshop.make_world(small_webshop.NUM_GOALS, seed=0),
        split="train",
        max_steps=8,
        prompt_format=prompt_format,
        history_length=0,
        shows_admissible_actions=False,
    )
    tasks = env.tasks()
    return World(
        env,
        shown=tasks[:NUM_DEMONSTRATED],
        train=tasks[NUM_DEMONSTRATED:],
        unseen=env.tasks("test")[:num_unseen],
        demonstrate=lambda shown: webshop_expert.demonstrate(env, shown, noise=NOISE),
    )


def games(prompt_format: str, num_unseen: int) -> World:
    """Return small generated ALFWorld games: find one thing and bring it somewhere.

    A conversation without lists of actions adds 44 tokens a step (benchmarks/pretrained_tokens.py).
    """
    env = AlfworldEnv(
        generated=num_unseen + NUM_DEMONSTRATED + 600,
        kinds=["pick_and_place_simple"],
        num_receptacles=(4, 6),
        num_objects=(4, 6),
        max_steps=16,
        prompt_format=prompt_format,
        prompt_style="conversation",
        shows_admissible_actions=False,
    )
    tasks, first = env.tasks(), num_unseen + NUM_DEMONSTRATED
    return World(env, tasks[num_unseen:first], tasks[first:], tasks[:num_unseen], _by_prompt(env))


def alfworld(prompt_format: str, num_unseen: int) -> World:
    """Return the released ALFWorld games below $ALFWORLD_DATA, evaluated on valid_unseen, in conversations as well."""
    env = AlfworldEnv(
        split="train",
        prompt_format=prompt_format,
        prompt_style="conversation",
        shows_admissible_actions=False,
    )
    tasks, unseen = _mixed(env.tasks()), _mixed(env.tasks("valid_unseen"))
    shown = min(NUM_DEMONSTRATED, len(tasks) // 2)
    return World(env, tasks[:shown], tasks[shown:], unseen[:num_unseen], _by_prompt(env))


def _mixed(tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks in a fixed random order: the released ones are ordered by kind, and a part would lack some."""
    return random.Random(0).sample(tasks, len(tasks))


def _by_prompt(env: AlfworldEnv) -> Callable[[Sequence[Task]], Iterator[dict[str, Any]]]:
    return lambda shown: alfworld_expert.demonstrate(env, shown, noise=NOISE, plays_by_prompt=True)


WORLDS = {"shop": shop, "games": games, "alfworld": alfworld}
