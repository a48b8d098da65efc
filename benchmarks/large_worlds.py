"""Environments of the originals' size for the comparison: games with 22 receptacles and 50 steps, 1,000 products.

They are played by the demo's model, from starting points of their own; see `starting_points.py`.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "examples"))
import alfworld_warm_start  # noqa: E402
import small_alfworld  # noqa: E402
import small_webshop  # noqa: E402
import webshop_warm_start  # noqa: E402
from demo_world import Tasks  # noqa: E402

from trl_3spo.environments.alfworld import AlfworldEnv  # noqa: E402

NUM_GAMES = 1000
"""Games to train on. More take long to generate, and no run of the comparison plays as many."""

NUM_GOALS = 250 * small_webshop.GOALS_PER_GROUP
"""Goals of 1,000 products, which come in groups of four."""


def make_games(num_games: int, seed: int) -> AlfworldEnv:
    """Return games of the released games' sizes, in few tokens."""
    return AlfworldEnv(
        generated=num_games,
        seed=seed,
        max_steps=50,
        prompt_format="action",
        history_length=small_alfworld.HISTORY_LENGTH,
    )


def split_games(seed: int) -> Tasks:
    """Return games to train on and unseen ones."""
    return small_alfworld.split(make_games(small_alfworld.NUM_UNSEEN + NUM_GAMES, seed))


WORLDS = {
    "alfworld_large": replace(small_alfworld.ALFWORLD, make_tasks=split_games),
    "webshop_large": replace(small_webshop.WEBSHOP, make_tasks=partial(small_webshop.make_tasks, num_goals=NUM_GOALS)),
}

GAMES, SHOP = alfworld_warm_start.PHASES, webshop_warm_start.PHASES
LESSONS = {
    "alfworld_large": replace(
        alfworld_warm_start.LESSONS,
        make_env=make_games,
        phases=[replace(GAMES[0], num_tasks=2000), replace(GAMES[1], num_tasks=4000), GAMES[-1]],
    ),
    "webshop_large": replace(
        webshop_warm_start.LESSONS,
        phases=[*(replace(SHOP[i], num_tasks=NUM_GOALS) for i in (0, 1, -2)), SHOP[-1]],
    ),
}
