"""The expert's play in ALFWorld as prompts and completions, ready for supervised fine-tuning."""

from collections.abc import Iterator, Sequence
from typing import Any

from trl_3spo.environments import demonstrations
from trl_3spo.environments.alfworld.env import AlfworldEnv
from trl_3spo.environments.alfworld.expert import SearchExpert
from trl_3spo.environments.base import Observation, Task, Turn


def demonstrate(
    env: AlfworldEnv,
    tasks: Sequence[Task],
    *,
    noise: float = 0.0,
    demonstrates_noise: bool = False,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Have the expert play every task once; see `trl_3spo.environments.demonstrations.demonstrate`.

    Where the prompts ask for a thought, the expert says why it acts so.

    Raises:
        ValueError: The noise is out of range.
    """
    return demonstrations.demonstrate(
        env,
        tasks,
        _new_expert,
        thinks=env.prompt_format == "think",
        noise=noise,
        demonstrates_noise=demonstrates_noise,
        ignored_actions=("help",),
        seed=seed,
    )


def _new_expert(first: Observation, seed: int) -> demonstrations.Expert:
    expert = SearchExpert(first.text, seed=seed)

    def advise(observation: Observation, turns: Sequence[Turn]) -> demonstrations.Advice:
        expert.observe(observation.text)
        action = expert.act(observation.admissible_actions)
        return demonstrations.Advice(action, expert.thought)

    return advise
