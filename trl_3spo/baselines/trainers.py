"""The baselines as trainers: [`EpisodeGRPOTrainer`], [`GiGPOTrainer`] and [`StepPOTrainer`]."""

import textwrap
from typing import Any, ClassVar

from torch import Tensor

from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.objective import Objective
from trl_3spo.baselines.config import EpisodeGRPOConfig, GiGPOConfig, StepPOConfig
from trl_3spo.baselines.critic import CriticValues, ValueHead, last_hidden_states
from trl_3spo.baselines.episodes import EpisodeGRPO, GiGPO
from trl_3spo.baselines.step_po import GroupValues, HistoryValues, StepPO, Values
from trl_3spo.training.agent_trainer import AgentTrainer


class EpisodeGRPOTrainer(AgentTrainer[EpisodeGRPOConfig]):
    """
    Trainer for Group Relative Policy Optimization (GRPO, arXiv 2402.03300) over whole episodes in an environment.

    The only change w.r.t. [`~trl_3spo.training.agent_trainer.AgentTrainer`] is the algorithm: `num_generations`
    episodes per task are compared by their success. All steps of an episode have its advantage.
    """

    _config_class = EpisodeGRPOConfig
    _tag_names: ClassVar[list[str]] = ["trl", "grpo"]
    _name = "GRPO over whole episodes"

    algorithm: EpisodeGRPO

    def _make_algorithm(self) -> EpisodeGRPO:
        args = self.args
        return EpisodeGRPO(self.guard, self.train_tasks, is_scaled=args.advantage_scaling == "group", **_episodes(self))


class GiGPOTrainer(AgentTrainer[GiGPOConfig]):
    """
    Trainer for Group-in-Group Policy Optimization (GiGPO, arXiv 2505.10978).

    The only change w.r.t. [`EpisodeGRPOTrainer`] is a second advantage per step. It compares the step with the other
    steps that the task's episodes took from the same state.
    """

    _config_class = GiGPOConfig
    _tag_names: ClassVar[list[str]] = ["trl", "gigpo"]
    _name = "GiGPO"
    _paper: ClassVar[dict[str, str]] = {
        "title": "Group-in-Group Policy Optimization for LLM Agent Training",
        "id": "2505.10978",
        "citation": textwrap.dedent("""\
            @article{feng2025gigpo,
                title  = {{Group-in-Group Policy Optimization for LLM Agent Training}},
                year   = 2025,
                eprint = {arXiv:2505.10978},
            }"""),
    }

    algorithm: GiGPO

    def _make_algorithm(self) -> GiGPO:
        args = self.args
        return GiGPO(
            self.guard,
            self.train_tasks,
            discount=args.discount,
            step_weight=args.step_advantage_weight,
            is_scaled=args.advantage_scaling == "group",
            **_episodes(self),
        )


class StepPOTrainer(AgentTrainer[StepPOConfig]):
    """
    Trainer for Step-Aligned Policy Optimization (StepPO, arXiv 2604.18401).

    The only change w.r.t. [`EpisodeGRPOTrainer`] is the advantage: GAE over steps, whitened over the batch's steps.
    `args.value_source` chooses the source of V.
    """

    _config_class = StepPOConfig
    _tag_names: ClassVar[list[str]] = ["trl", "steppo"]
    _name = "StepPO"
    _paper: ClassVar[dict[str, str]] = {
        "title": "StepPO: Step-Aligned Policy Optimization for Agentic Reinforcement Learning",
        "id": "2604.18401",
        "citation": textwrap.dedent("""\
            @article{wang2026steppo,
                title  = {{StepPO: Step-Aligned Policy Optimization for Agentic Reinforcement Learning}},
                year   = 2026,
                eprint = {arXiv:2604.18401},
            }"""),
    }

    algorithm: StepPO

    def _make_algorithm(self) -> StepPO:
        args = self.args
        return StepPO(
            self.guard,
            self.train_tasks,
            values=self._values(),
            discount=args.discount,
            gae_lambda=args.gae_lambda,
            bootstraps_truncated=args.bootstraps_truncated,
            is_scaled=args.advantage_scaling == "batch",
            **_episodes(self),
        )

    def _values(self) -> Values:
        args = self.args
        objective = Objective.of(args.objective, self.guard)
        if args.value_source == "group":
            return GroupValues(args.discount, objective)
        if args.value_source == "history":
            history = StateHistory(half_life=args.history_half_life, backoff_strength=args.backoff_strength)
            return HistoryValues(history, args.discount, objective)
        hidden_size = self.model.config.get_text_config().hidden_size
        head = ValueHead(hidden_size, args.critic_learning_rate, self.accelerator)
        return CriticValues(head, self.sampler.prompt_ids_at, self._hidden_states)

    def _hidden_states(self, prompt_ids: list[list[int]]) -> Tensor:
        with self.sampler.timed("critic"), self.accelerator.autocast():
            return last_hidden_states(
                self.accelerator.unwrap_model(self.model),
                prompt_ids,
                pad_id=self._tokenizer.pad_token_id,
                batch_size=self.args.per_device_train_batch_size,
            )


def _episodes(trainer: AgentTrainer[Any]) -> dict[str, Any]:
    """Return the arguments that all algorithms over whole episodes take."""
    args = trainer.args
    return {
        "group_size": args.num_generations,
        "ranks": trainer.ranks,
        "seed": args.seed,
        "max_idle_rounds": args.max_idle_rounds,
        "novelty_weight": args.novelty_weight,
        "invalid_action_penalty": args.invalid_action_penalty,
        "dynamic_sampling": args.dynamic_sampling,
        "objective": args.objective,
    }
