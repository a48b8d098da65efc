"""Purchases as prompts and completions, ready for supervised fine-tuning."""

from collections.abc import Iterator, Sequence
from typing import Any

from trl_3spo.environments import demonstrations
from trl_3spo.environments.base import Task
from trl_3spo.environments.webshop.env import WebShopEnv
from trl_3spo.environments.webshop.expert.expert import ShoppingExpert


def demonstrate(
    env: WebShopEnv,
    tasks: Sequence[Task],
    *,
    noise: float = 0.0,
    demonstrates_noise: bool = False,
    keeps_lost: bool = False,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Have the expert buy for every task once; see `trl_3spo.environments.demonstrations.demonstrate`.

    Where the prompts ask for a thought, it stays empty.

    Raises:
        ValueError: The noise is out of range, or the environment's observations are not those the expert reads.
    """
    return demonstrations.demonstrate(
        env,
        tasks,
        lambda observation, seed: _advisor(ShoppingExpert(env.max_steps)),
        thinks=env.prompt_format == "think",
        noise=noise,
        demonstrates_noise=demonstrates_noise,
        ignored_actions=("click[buy now]",),  # there is no way back from it
        keeps_lost=keeps_lost,
        seed=seed,
    )


def _advisor(expert: ShoppingExpert) -> demonstrations.Expert:
    return lambda observation, turns: demonstrations.Advice(expert.act(observation, turns))
