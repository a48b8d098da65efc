"""Expert play as prompts and completions, ready for supervised fine-tuning."""

import logging
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

from trl_3spo.environments.base import Environment, Observation, Task, Turn
from trl_3spo.environments.plain_text import encodable_messages

logger = logging.getLogger(__name__)

Step = dict[str, Any]
"""A step in TRL's conversational form: `prompt` and `completion`, each a list of messages."""


class Advice(NamedTuple):
    """An expert's action, and its reason in a sentence or two; empty if it gives none."""

    action: str
    thought: str = ""


Expert = Callable[[Observation, Sequence[Turn]], Advice]
"""Function that chooses an action like a policy: from the current observation and the turns so far, oldest first. It is
called once per step."""


def demonstrate(
    env: Environment,
    tasks: Sequence[Task],
    new_expert: Callable[[Observation, int], Expert],
    *,
    thinks: bool = False,
    noise: float = 0.0,
    demonstrates_noise: bool = False,
    ignored_actions: Collection[str] = (),
    keeps_lost: bool = False,
    seed: int = 0,
) -> Iterator[Step]:
    """Play every task once and yield each step in TRL's conversational prompt-completion format.

    Do not use the environment in between, because its state is the end of the last episode.

    Args:
        env: Environment that writes the prompts of the demonstrations.
        tasks: Tasks to play, in this order.
        new_expert: Function that makes the expert of one episode from its first observation and a seed.
        thinks: Whether answers are `<think>…</think><action>…</action>` with the expert's thought, or the action alone.
        noise: Share of steps with a random admissible action, in [0, 1]. The expert continues from wherever that leads.
            If the environment lists no actions, the expert's action is taken.
        demonstrates_noise: Whether the random action is demonstrated, which teaches the noise. Otherwise the expert's
            action is, which teaches recovery from mistakes (DART, Laskey et al. 2017).
        ignored_actions: Actions that are never taken at random.
        keeps_lost: Whether episodes that do not succeed are demonstrated too. A log line counts those left out.
        seed: Seed for the noise and for the expert's choices.

    Raises:
        ValueError: The noise is out of range.
    """
    if not 0 <= noise <= 1:
        raise ValueError(f"noise is {noise!r}; it must be a share between 0 and 1.")
    rng = random.Random(seed)
    answer = write_answer if thinks else _write_action
    num_lost = 0

    def act(observation: Observation, best: Advice) -> Advice:
        if rng.random() < noise:
            others = [other for other in observation.admissible_actions if other not in ignored_actions]
            if others and (action := rng.choice(others)) != best.action:
                return Advice(action)
        return best

    for task in tasks:
        observation = env.reset(task)
        expert = new_expert(observation, rng.randrange(2**32))
        steps: list[Step] = []
        turns: list[Turn] = []
        while True:
            best = expert(observation, turns)
            taken = act(observation, best)
            shown = taken if demonstrates_noise else best
            steps.append(
                {
                    "prompt": encodable_messages(env.prompt(task, observation, turns)),
                    "completion": encodable_messages([{"role": "assistant", "content": answer(shown)}]),
                }
            )
            turns.append(Turn.at(observation, taken.action, answer(taken)))
            result = env.step(taken.action)
            observation = result.observation
            if result.is_final:
                break
        num_lost += not result.success
        if result.success or keeps_lost:
            yield from steps
    if num_lost and not keeps_lost:
        logger.warning("%d of %d demonstrated episodes did not succeed and were left out.", num_lost, len(tasks))


def _write_action(advice: Advice) -> str:
    return advice.action


def write_answer(advice: Advice) -> str:
    """Return an answer with a thought, in the form that `trl_3spo.environments.base.parse_action` reads."""
    return f"<think>{advice.thought}</think><action>{advice.action}</action>"
