"""Expert play as prompts and completions, ready for supervised fine-tuning."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from trl_3spo.environments.alfworld.env import AlfworldEnv
from trl_3spo.environments.alfworld.expert import SearchExpert
from trl_3spo.environments.base import Task, Turn


def demonstrate(
    env: AlfworldEnv,
    tasks: Sequence[Task],
    *,
    noise: float = 0.0,
    demonstrates_noise: bool = False,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Play every task once and yield each step as chat messages, in TRL's conversational prompt/completion form.

    Args:
        env: Its prompt and answer formats are those of the demonstrations.
        tasks: To play, in this order.
        noise: Share of the steps, in [0, 1], at which any admissible action is taken in place of the expert's, which
            then goes on from wherever that leads.
        demonstrates_noise: Whether the action taken is demonstrated, which teaches to hesitate as the player does; or
            the expert's, which teaches to recover from the other (DART, Laskey et al. 2017).
        seed: Of the noise and of the expert's choices.

    Raises:
        ValueError: The noise is out of range.
    """
    if not 0 <= noise <= 1:
        raise ValueError(f"noise is {noise!r}; it must be a share between 0 and 1.")
    rng = random.Random(seed)
    for task in tasks:
        yield from _demonstrate_task(env, task, noise, demonstrates_noise, rng)


def _demonstrate_task(
    env: AlfworldEnv, task: Task, noise: float, demonstrates_noise: bool, rng: random.Random
) -> Iterator[dict[str, Any]]:
    observation = env.reset(task)
    expert = SearchExpert(observation.text, seed=rng.randrange(2**32))
    turns: list[Turn] = []
    is_final = False
    while not is_final:
        expert.observe(observation.text)
        action = best = expert.act(observation.admissible_actions)
        if rng.random() < noise:
            action = rng.choice([action for action in observation.admissible_actions if action != "help"])
        yield {
            "prompt": env.prompt(task, observation, turns),
            "completion": [{"role": "assistant", "content": action if demonstrates_noise else best}],
        }
        turns.append(Turn(observation.text, action))
        result = env.step(action)
        observation, is_final = result.observation, result.is_final
