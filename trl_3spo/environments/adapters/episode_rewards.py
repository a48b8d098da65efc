"""Rewards for an episode of a TRL class, from its `get_reward` and from reward functions with TRL's signature."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trl_3spo.environments.adapters.awaiting import result_of
from trl_3spo.environments.base import Message

RewardFunction = Callable[..., Any]
"""Reward function as in GRPOTrainer: takes lists, returns a list of numbers or `None`s, or has to be awaited."""


class EpisodeRewards:
    """Reward of an ended episode.

    Args:
        world: Class of the object.
        functions: Reward functions.
        weights: One for each function; by default 1. `get_reward` has weight 1, as in GRPOTrainer.

    Raises:
        ValueError: There is no reward, or not one weight for each function.
    """

    def __init__(
        self, world: type, functions: Sequence[RewardFunction] = (), weights: Sequence[float] | None = None
    ) -> None:
        self._world = world
        self._functions = functions
        self._weights = [1.0] * len(functions) if weights is None else list(weights)
        self._is_own = hasattr(world, "get_reward")
        if not (self._is_own or functions):
            raise ValueError(
                f"{world.__name__} has no get_reward, and there are no reward_funcs: every reward would be 0. Pass "
                "reward_funcs=[…], functions as GRPOTrainer takes them, or give the class a method get_reward."
            )
        if len(self._weights) != len(functions):
            raise ValueError(f"There are {len(self._weights)} reward_weights for {len(functions)} reward_funcs.")

    def parts(
        self, world: Any, row: Mapping[str, Any], prompt: Sequence[Message], completion: Sequence[Message]
    ) -> dict[str, float]:
        """Return the weighted rewards of an episode by name. A function that gives `None` is left out.

        Args:
            world: Object at the end of the episode.
            row: Dataset row. Reward functions get its columns.
            prompt: First messages of the episode.
            completion: Later messages. If an answer contains calls, its message holds the calls, not the words.
        """
        parts: dict[str, float] = {}
        if self._is_own and (reward := result_of(world.get_reward())) is not None:
            parts[self._world.__name__] = float(reward)
        columns = {name: [value] for name, value in row.items() if name != "prompt"}
        for function, weight in zip(self._functions, self._weights, strict=True):
            rewards = function(prompts=[list(prompt)], completions=[list(completion)], environments=[world], **columns)
            (reward,) = result_of(rewards)
            if reward is not None:
                parts[function.__name__] = weight * float(reward)
        return parts
