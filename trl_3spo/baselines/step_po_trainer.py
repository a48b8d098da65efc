"""[`StepPOTrainer`]: generalized advantages over the steps of whole episodes, a whole answer being one action."""

import logging
import textwrap
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trl_3spo.algorithm.credit import whiten
from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.records import Episode
from trl_3spo.baselines.config import StepPOConfig
from trl_3spo.baselines.credit import Steps, group_values, history_values, step_po
from trl_3spo.baselines.critic import ValueHead, last_hidden_states
from trl_3spo.baselines.trainers import EpisodeTrainer
from trl_3spo.environments.base import Environment
from trl_3spo.training.batch import Row
from trl_3spo.training.ranks import gather

logger = logging.getLogger(__name__)

CRITIC_FILE = "critic.pt"


class StepPOTrainer(EpisodeTrainer):
    """
    Trainer for Step-Aligned Policy Optimization (StepPO, arXiv 2604.18401).

    Whole episodes as in [`~trl_3spo.baselines.trainers.EpisodeGRPOTrainer`]; a step's credit is its generalized
    advantage over steps, whitened over all steps of the batch. `args.value_source` says where V comes from. A baseline
    of [`~trl_3spo.three_spo_trainer.ThreeSPOTrainer`], whose arguments it takes.

    Args:
        args ([`StepPOConfig`], *optional*):
            Configuration.
    """

    _tag_names = ["trl", "steppo"]
    _name = "StepPO"
    _paper = {
        "title": "StepPO: Step-Aligned Policy Optimization for Agentic Reinforcement Learning",
        "id": "2604.18401",
        "citation": textwrap.dedent("""\
            @article{wang2026steppo,
                title  = {{StepPO: Step-Aligned Policy Optimization for Agentic Reinforcement Learning}},
                year   = 2026,
                eprint = {arXiv:2604.18401},
            }"""),
    }
    _config_class = StepPOConfig

    def __init__(
        self,
        model: str | PreTrainedModel,
        env: Environment | Callable[[], Environment],
        args: StepPOConfig | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, env, args, **kwargs)
        self.critic: ValueHead | None = None
        if self.args.value_source == "critic":
            hidden_size = self.model.config.get_text_config().hidden_size
            self.critic = ValueHead(hidden_size, self.args.critic_learning_rate, self.accelerator)
        if self.args.value_source == "history":
            self.rollout.history = StateHistory(
                half_life=self.args.history_half_life, backoff_strength=self.args.backoff_strength
            )

    def _credit(self, groups: list[list[Episode]], steps: list[list[Row]]) -> Steps:
        advantages = self._advantages(groups, steps)
        among = np.concatenate(list(chain.from_iterable(gather(advantages))))
        return [whiten(x, among, is_scaled=self.args.scale_rewards == "batch") for x in advantages]

    def _advantages(self, groups: list[list[Episode]], steps: list[list[Row]]) -> Steps:
        if self.critic is not None:
            return self._critic_advantages(self.critic, groups, steps)
        history = self.rollout.history
        if history is None:
            return self._generalized(groups, group_values(groups, gamma=self.args.gamma))
        # The values are those of the episodes before: no episode is judged by its own outcome.
        advantages = self._generalized(groups, history_values(groups, history))
        self._observe_episodes(history, list(chain.from_iterable(groups)), self.args.gamma)
        return advantages

    def _generalized(self, groups: list[list[Episode]], values: Steps) -> Steps:
        args = self.args
        return step_po(groups, values, gamma=args.gamma, lam=args.gae_lambda, bootstraps=args.bootstraps_truncated)

    def _critic_advantages(self, critic: ValueHead, groups: list[list[Episode]], steps: list[list[Row]]) -> Steps:
        """Judge the steps by the critic as it is, and then teach it their returns, one value a step."""
        features = self._features(groups, steps)
        values = [critic.values(x) for x in features]
        advantages = self._generalized(groups, values)
        returns = [a + v[:-1] for a, v in zip(advantages, values, strict=True)]
        loss = critic.update(torch.cat([x[:-1] for x in features]), np.concatenate(returns))
        self._log_metric_now("critic_loss", loss)
        return advantages

    def _features(self, groups: list[list[Episode]], steps: list[list[Row]]) -> list[Tensor]:
        """Return for every episode the (T + 1, H) hidden states of its prompts, the last state's included.

        What an episode that the task itself has ended would be asked next means nothing, and neither does its value.
        """
        prompt_ids = []
        for episode, rows in zip(chain.from_iterable(groups), steps, strict=True):
            asked = [row.prompt_ids for row in rows]
            prompt_ids += [*asked, asked[-1] if episode.end.result.terminated else self._next_prompt(episode)]
        with self._timed("critic"), self.accelerator.autocast():
            states = last_hidden_states(
                self.accelerator.unwrap_model(self.model),
                prompt_ids,
                pad_id=self._tokenizer.pad_token_id,
                batch_size=self.args.per_device_train_batch_size,
            )
        return list(torch.split(states, [len(rows) + 1 for rows in steps]))

    def _next_prompt(self, episode: Episode) -> list[int]:
        end = episode.end
        return self._prompt_ids([self.env.prompt(end.task, end.observation, end.turns())])[0]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.critic is not None and self.accelerator.is_main_process:
            torch.save(self.critic.state_dict(), self._checkpoint_folder(trial) / CRITIC_FILE)
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None or self.critic is None:
            return
        file = Path(checkpoint) / CRITIC_FILE
        if file.exists():
            self.critic.load_state_dict(torch.load(file, map_location=self.accelerator.device, weights_only=True))
        else:
            logger.warning("%s holds no %s; the critic starts afresh.", checkpoint, CRITIC_FILE)
