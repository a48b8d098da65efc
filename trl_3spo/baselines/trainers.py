"""[`EpisodeGRPOTrainer`] and [`GiGPOTrainer`]: GRPOTrainer with whole episodes in an environment as its samples."""

import textwrap
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from trl_3spo.algorithm.credit import has_signal
from trl_3spo.algorithm.records import Episode
from trl_3spo.baselines.config import EpisodeGRPOConfig, GiGPOConfig
from trl_3spo.baselines.credit import Steps, gigpo, grpo, step_rewards
from trl_3spo.baselines.episodes import EpisodeRollout
from trl_3spo.environments.base import Environment
from trl_3spo.training.agent_trainer import model_name
from trl_3spo.training.batch import Row
from trl_3spo.training.ranks import gather
from trl_3spo.training.rollout_trainer import RolloutTrainer


def success_reward(transition_reward: list[float], **_: Any) -> list[float]:
    """Pass the steps' rewards on, for TRL's logs: 1 for the step that solves its task."""
    return transition_reward


class EpisodeTrainer(RolloutTrainer):
    """A [`~trl_3spo.training.rollout_trainer.RolloutTrainer`] that updates the policy on all steps of whole episodes.

    Plays `num_generations` episodes of each of some tasks at a time. Prompts, counting of sampled actions, evaluation,
    logs and checkpoints are those of 3SPO. Subclasses say in `_credit` what each step is credited with, and name their
    configuration. Arguments are those of [`~trl_3spo.three_spo_trainer.ThreeSPOTrainer`].
    """

    _config_class = EpisodeGRPOConfig

    def __init__(
        self,
        model: str | PreTrainedModel,
        env: Environment | Callable[[], Environment],
        args: EpisodeGRPOConfig | None = None,
        **kwargs: Any,
    ) -> None:
        method = type(self).__name__.removesuffix("Trainer")
        args = args or self._config_class(f"{model_name(model)}-{method}")
        super().__init__(model, env, args, reward_func=success_reward, **kwargs)
        self.rollout: EpisodeRollout = EpisodeRollout(
            self.env,
            self.train_tasks,
            group_size=args.num_generations,
            seed=args.seed,
            rank=self.accelerator.process_index,
            num_ranks=self.accelerator.num_processes,
        )

    @abstractmethod
    def _credit(self, groups: list[list[Episode]], steps: list[list[Row]]) -> Steps:
        """Return the advantages of every episode's steps; the same calls of collectives on every rank.

        Args:
            groups: The episodes of each task.
            steps: For every episode, groups one after the other, a row for each of its steps.
        """

    def _collect(self, capacity: int) -> list[Row]:
        """Play episodes until any step has an advantage, the same rounds on every rank."""
        for _ in range(self.args.max_idle_rounds):
            with self._in_step():
                steps = self._play(capacity // self.num_generations)
            groups = self.rollout.groups()
            self._log_episodes(list(chain.from_iterable(groups)))
            advantages = self._credit(groups, steps)
            if any(gather(has_signal(np.concatenate(advantages)))):
                break
        else:
            self._stop_without_signal("No group of episodes")
        self._log_collected()
        credited = zip(steps, map(step_rewards, chain.from_iterable(groups)), advantages, strict=True)
        return [row for episode in credited for row in _credited(*episode)]

    def _play(self, num_tasks: int) -> list[list[Row]]:
        """Play whole episodes, all at once; return for each a row for every one of its steps."""
        with self._timed("environment"):
            self.rollout.begin(num_tasks)
        steps: list[list[Row]] = [[] for _ in range(num_tasks * self.num_generations)]
        while waiting := self.rollout.waiting():
            sampled = [row for (row,) in self._sample(list(waiting.values()), [1] * len(waiting))]
            for episode, row in zip(waiting, sampled, strict=True):
                steps[episode].append(row)
            with self._timed("environment"):
                self.rollout.record(self._actions(sampled))
        return steps


class EpisodeGRPOTrainer(EpisodeTrainer):
    """
    Trainer for Group Relative Policy Optimization (GRPO, arXiv 2402.03300) over whole episodes in an environment.

    `num_generations` episodes of a task are compared by their success, and all steps of an episode have its advantage.
    A baseline of [`~trl_3spo.three_spo_trainer.ThreeSPOTrainer`], whose arguments it takes.

    Args:
        args ([`EpisodeGRPOConfig`], *optional*):
            Configuration.
    """

    _tag_names = ["trl", "grpo"]
    _name = "GRPO over whole episodes"

    def _credit(self, groups: list[list[Episode]], steps: list[list[Row]]) -> Steps:
        return grpo(groups, is_scaled=self.args.scale_rewards == "group")


class GiGPOTrainer(EpisodeTrainer):
    """
    Trainer for Group-in-Group Policy Optimization (GiGPO, arXiv 2505.10978).

    GRPO over whole episodes, with a second advantage for each step: relative to the steps that the episodes of the task
    took from the same state. A baseline of [`~trl_3spo.three_spo_trainer.ThreeSPOTrainer`], whose arguments it takes.

    Args:
        args ([`GiGPOConfig`], *optional*):
            Configuration.
    """

    _tag_names = ["trl", "gigpo"]
    _name = "GiGPO"
    _paper = {
        "title": "Group-in-Group Policy Optimization for LLM Agent Training",
        "id": "2505.10978",
        "citation": textwrap.dedent("""\
            @article{feng2025gigpo,
                title  = {{Group-in-Group Policy Optimization for LLM Agent Training}},
                year   = 2025,
                eprint = {arXiv:2505.10978},
            }"""),
    }

    _config_class = GiGPOConfig

    def _credit(self, groups: list[list[Episode]], steps: list[list[Row]]) -> Steps:
        return gigpo(
            groups,
            gamma=self.args.gamma,
            step_weight=self.args.step_advantage_weight,
            is_scaled=self.args.scale_rewards == "group",
        )


def _credited(rows: list[Row], rewards: NDArray[np.float64], advantages: NDArray[np.float64]) -> list[Row]:
    credits = zip(rows, rewards.tolist(), advantages.tolist(), strict=True)
    return [replace(row, reward=reward, advantage=advantage) for row, reward, advantage in credits]
