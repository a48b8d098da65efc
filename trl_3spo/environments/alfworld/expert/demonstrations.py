"""The expert's play in ALFWorld as prompts and completions, ready for supervised fine-tuning."""

from collections.abc import Iterator, Sequence
from typing import Any

from trl_3spo.environments import demonstrations
from trl_3spo.environments.alfworld.env import AlfworldEnv
from trl_3spo.environments.alfworld.expert.expert import SearchExpert
from trl_3spo.environments.base import Observation, Task, Turn


def demonstrate(
    env: AlfworldEnv,
    tasks: Sequence[Task],
    *,
    noise: float = 0.0,
    demonstrates_noise: bool = False,
    plays_by_prompt: bool = False,
    keeps_lost: bool = False,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Have the expert play every task once; see `trl_3spo.environments.demonstrations.demonstrate`.

    If the prompts ask for a thought, the expert gives its reason.

    Args:
        env: Environment that writes the prompts of the demonstrations.
        tasks: Tasks to play, in this order.
        noise: Share of steps with a random admissible action, in [0, 1].
        demonstrates_noise: Whether the random action is demonstrated; otherwise the expert's is.
        plays_by_prompt: Whether the expert uses only what the prompts show, so a policy can learn all its choices.
            Otherwise it also uses earlier observations and likely places, and wins in fewer steps.
        keeps_lost: Whether episodes that do not succeed are demonstrated too.
        seed: Seed for the noise and for the expert's choices.

    Raises:
        ValueError: The noise is out of range.
    """
    is_window = env.prompt_style == "window"  # a conversation shows everything
    history_length = env.history_length if plays_by_prompt and is_window else None

    def new_expert(first: Observation, seed: int) -> demonstrations.Expert:
        return advisor(SearchExpert(first.text, seed, history_length=history_length))

    return demonstrations.demonstrate(
        env,
        tasks,
        new_expert,
        thinks=env.prompt_format == "think",
        noise=noise,
        demonstrates_noise=demonstrates_noise,
        ignored_actions=("help",),
        keeps_lost=keeps_lost,
        seed=seed,
    )


def advisor(expert: SearchExpert) -> demonstrations.Expert:
    """Return the expert as a player of one episode, to be asked at every step of it."""

    def advise(observation: Observation, turns: Sequence[Turn]) -> demonstrations.Advice:
        expert.observe(observation.text)
        action = expert.act(observation.admissible_actions)
        return demonstrations.Advice(action, expert.thought)

    return advise
