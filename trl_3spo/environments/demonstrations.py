"""Expert play as prompts and completions, ready for supervised fine-tuning."""

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

from trl_3spo.environments.base import Environment, Observation, Task, Turn
from trl_3spo.environments.plain_text import encodable_messages


class Advice(NamedTuple):
    """What an expert would do, and why, in a sentence or two; empty where it does not say."""

    action: str
    thought: str = ""


Expert = Callable[[Observation, Sequence[Turn]], Advice]
"""Chooses an action as a policy does: from the present observation and the episode so far, oldest turn first. It is
asked once at every step."""


def demonstrate(
    env: Environment,
    tasks: Sequence[Task],
    new_expert: Callable[[Observation, int], Expert],
    *,
    thinks: bool = False,
    noise: float = 0.0,
    demonstrates_noise: bool = False,
    ignored_actions: Collection[str] = (),
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Play every task once and yield each step as chat messages, in TRL's conversational prompt/completion form.

    The environment is not to be used in between: it is where the last step has led.

    Args:
        env: Its prompts are those of the demonstrations.
        tasks: To play, in this order.
        new_expert: Makes the player of one episode from its first observation and a seed.
        thinks: Whether answers are `<think>…</think><action>…</action>` with the expert's thought, or the action alone.
        noise: Share of the steps, in [0, 1], at which any admissible action is taken in place of the expert's, which
            then goes on from wherever that leads. Where the environment names no actions the expert's is taken.
        demonstrates_noise: Whether the action taken is demonstrated, which teaches to hesitate as the player does; or
            the expert's, which teaches to recover from the other (DART, Laskey et al. 2017).
        ignored_actions: Not taken at random.
        seed: Of the noise and of the expert's choices.

    Raises:
        ValueError: The noise is out of range.
    """
    if not 0 <= noise <= 1:
        raise ValueError(f"noise is {noise!r}; it must be a share between 0 and 1.")
    rng = random.Random(seed)
    answer = write_answer if thinks else _write_action
    for task in tasks:
        observation = env.reset(task)
        expert = new_expert(observation, rng.randrange(2**32))
        turns: list[Turn] = []
        is_final = False
        while not is_final:
            best = expert(observation, turns)
            action = best.action
            if rng.random() < noise:
                others = [other for other in observation.admissible_actions if other not in ignored_actions]
                action = rng.choice(others) if others else best.action
            shown = Advice(action) if demonstrates_noise and action != best.action else best
            yield {
                "prompt": encodable_messages(env.prompt(task, observation, turns)),
                "completion": encodable_messages([{"role": "assistant", "content": answer(shown)}]),
            }
            turns.append(Turn(observation.text, action))
            result = env.step(action)
            observation, is_final = result.observation, result.is_final


def _write_action(advice: Advice) -> str:
    return advice.action


def write_answer(advice: Advice) -> str:
    """Return an answer with a thought, in the form that `trl_3spo.environments.base.parse_action` reads."""
    return f"<think>{advice.thought}</think><action>{advice.action}</action>"
