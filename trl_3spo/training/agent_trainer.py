"""[`AgentTrainer`]: GRPOTrainer with an environment and an algorithm in place of datasets and reward functions."""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar, Generic, TypeVar

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_utils import TrainOutput
from trl import GRPOTrainer

from trl_3spo.algorithm.base import Algorithm, Metrics, Row
from trl_3spo.environments.base import Environment, Message
from trl_3spo.evaluation.model_checks import require_chat_template
from trl_3spo.evaluation.results import Evaluation
from trl_3spo.reliability.failures import Failures
from trl_3spo.reliability.ranks import AllRanks, gather
from trl_3spo.reliability.run import Run
from trl_3spo.reliability.step_guard import StepGuard
from trl_3spo.training.agent_config import AgentConfig
from trl_3spo.training.batch import (
    MEANS_OVER_ROWS,
    num_padding,
    pad_rows,
    policy_loss_times,
    rollout_output,
    round_up,
    transition_reward,
    with_credit,
)
from trl_3spo.training.clock import clock
from trl_3spo.training.display import Display
from trl_3spo.training.engine import engine_dtype, log_consistency
from trl_3spo.training.evaluating import choose_best_metric, settings_of
from trl_3spo.training.option_checks import warn_of_masked
from trl_3spo.training.panel_trainer import PanelTrainer
from trl_3spo.training.recording import Records
from trl_3spo.training.remedies import Remedies
from trl_3spo.training.row_metrics import make_printable, replace_latest, replace_metrics, row_metrics
from trl_3spo.training.sampling import PolicySampler
from trl_3spo.training.start_checks import check_start, environment_and_args, guarded, model_name, refuse_replaced
from trl_3spo.training.task_choice import Panels, Tasks, panels, training_tasks
from trl_3spo.training.text_rewards import RewardFunction, TextRewards, without_weights

Config = TypeVar("Config", bound=AgentConfig)


class AgentTrainer(PanelTrainer, Generic[Config]):
    """
    A [`~trl.GRPOTrainer`] whose rows come from an [`~trl_3spo.algorithm.base.Algorithm`] in an environment.

    The algorithm chooses the samples and computes their advantages. Its rows go to GRPOTrainer through TRL's own
    `rollout_func`, and their advantages replace GRPOTrainer's. Losses, KL, PEFT, vLLM, accelerate and the Hub are
    GRPOTrainer's. A method with its own trainer is a subclass that returns its algorithm in `_make_algorithm`.

    Overridden hooks: `_generate_and_score_completions` collects rows. `_compute_loss` leaves padding out. `train` and
    `_save_checkpoint` keep one run per folder and whole checkpoints. Evaluation has its hooks in
    [`~trl_3spo.training.panel_trainer.PanelTrainer`].

    Args:
        model (`str` or [`~transformers.PreTrainedModel`]):
            Model, as in GRPOTrainer. If `beta` is above 0, pass a name or path; the reference model is loaded from it.
        env ([`~trl_3spo.environments.base.Environment`], callable without arguments that makes one, or dictionary):
            Environment to train in. One object serves all episodes of a process. A dictionary of several becomes a
            [`~trl_3spo.environments.mixed.MixedEnvironment`].
        args (configuration, *optional*):
            Configuration of the method.
        train_tasks, eval_tasks (tasks, their ids, or rows of a dataset with a column `id`, *optional*):
            Tasks to use instead of the environment's tasks of `args.train_split` and `args.eval_split`. `eval_tasks`
            may also be the name of a split, or several named panels, such as `{"seen": "valid_seen", "unseen": …}`.
            Their metrics are then called `eval_seen_success_rate` and so on.
        reward_funcs (function or list of functions, *optional*):
            Functions that score the text of answers, with GRPOTrainer's signature and `args.reward_weights`; see
            [`~trl_3spo.training.text_rewards.TextRewards`]. A score counts only for its own step.
        algorithm ([`~trl_3spo.algorithm.base.Algorithm`], *optional*):
            Algorithm to use instead of the trainer's own. It must have been made for the same tasks.
        processing_class, callbacks, optimizers, quantization_config, peft_config (*optional*):
            The same as in GRPOTrainer.
        refused:
            Arguments that the environment replaces: `train_dataset`, `eval_dataset`, `rollout_func`, `tools`,
            `environment_factory`. They raise a TypeError.
    """

    _config_class: type[AgentConfig] = AgentConfig
    _tag_names: ClassVar[list[str]] = ["trl", "agent"]

    _last_loaded_step: int

    def __init__(
        self,
        model: str | PreTrainedModel,
        env: Environment | Callable[[], Environment] | Mapping[str, Environment],
        args: Config | None = None,
        *,
        train_tasks: Tasks | None = None,
        eval_tasks: Panels | None = None,
        reward_funcs: RewardFunction | Sequence[RewardFunction] | None = None,
        algorithm: Algorithm | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        quantization_config: Any = None,
        peft_config: Any = None,
        **refused: Any,
    ) -> None:
        refuse_replaced(refused, type(self).__name__)
        env, given = environment_and_args(env, args, self._config_class, type(self).__name__)
        args = given or self._default_config(model)
        self.text_rewards = TextRewards(
            reward_funcs, args.reward_weights, state=lambda: self.state, log_metric=self._log_metric
        )
        self.guard = guarded(env, args)
        self.failures = Failures(self.guard)
        self.train_tasks = training_tasks(self.guard, train_tasks, args)
        self.panels = panels(self.guard, eval_tasks, args)
        choose_best_metric(args, self.panels)
        self.evaluations: dict[str, Evaluation] = {}
        self.logged_evaluations, self.example = [], None
        adaptation = {"quantization_config": quantization_config, "peft_config": peft_config}
        check_start(model, args, len(self.train_tasks), **adaptation)
        with without_weights(args), engine_dtype(args):
            super().__init__(
                model,
                transition_reward,
                args=args,
                train_dataset=clock(self.train_tasks, args),
                eval_dataset=clock(self.eval_tasks, args),
                processing_class=processing_class,
                callbacks=callbacks,
                optimizers=optimizers,
                **adaptation,
            )
        require_chat_template(self._tokenizer, model_name(model))
        self.rollout_func = self._rows_for_trl
        self.ranks = AllRanks(self.accelerator)
        self.display = Display(self)
        self.sampler = PolicySampler(self)
        self.policy_settings = settings_of(self)
        self.algorithm: Algorithm = algorithm or self._make_algorithm()
        self._rows: list[Row] = []
        self._padding_correction = 1.0
        self._update_began: float | None = None
        self.step_guard = StepGuard(self)
        self.run = Run(self)
        self.records = Records(self)
        for callback in (self.step_guard, self.run, self.records, self.display, Remedies(self)):
            self.add_callback(callback)

    def _make_algorithm(self) -> Algorithm:
        """Make the algorithm for `self.guard`, `self.train_tasks`, `self.args` and `self.ranks`."""
        raise TypeError(f"{type(self).__name__} has no algorithm of its own; pass algorithm=….")

    def _default_config(self, model: str | PreTrainedModel) -> Any:
        return self._config_class(f"{model_name(model)}-{self._tag_names[-1].upper()}")

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """
        Train, and close the environment at the end, also after an error. No other run may use the output folder.

        If training ended early, `self.run.stop_reason` gives the reason.

        Args:
            resume_from_checkpoint (`str` or `bool`, *optional*):
                Path of a checkpoint. `True` or `"latest"` is the newest whole one of the output folder. `"auto"` is the
                same, or a new run if there is none.
            trial (*optional*): The same as in `transformers.Trainer.train`.
            ignore_keys_for_eval (*optional*): The same as in `transformers.Trainer.train`.

        Raises:
            TooManyFailedEpisodesError: The environment failed too often. A checkpoint has been saved.
        """
        opened, watched = self.run.opened(resume_from_checkpoint), self.failures.training(self)
        with opened as checkpoint, watched, self.display.shown():
            if self.run.is_over(checkpoint):
                return self.run.as_it_ended(checkpoint)
            return super().train(checkpoint, trial, ignore_keys_for_eval)

    # -- one training step ---------------------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if self._update_began is not None:
            self._log_metrics({"seconds/update": [time.perf_counter() - self._update_began]})
        rows = self._collect(capacity=len(inputs))
        # The size must be equal on every rank, or the collectives of the loss hang. The batch splits into equal parts.
        size = round_up(max(gather(len(rows))), self.args.steps_per_generation)
        # GRPOTrainer reshapes rewards to whole groups of num_generations before its advantages are replaced.
        self._rows = pad_rows(rows, round_up(size, self.num_generations))
        self._correct_for_padding(self._rows[:size])
        batch = super()._generate_and_score_completions([{"prompt": row.sample.prompt} for row in self._rows])
        log_consistency(self, batch)
        self._log_rows()
        warn_of_masked(self.args, batch, self._rows)
        self._update_began = time.perf_counter()
        return with_credit(batch, self._rows[:size])

    def _collect(self, capacity: int) -> list[Row]:
        """Return the algorithm's rows, or padding if there are none. If no rank has any row, stop training."""
        with self.sampler.collecting():
            rows = self.failures.collect(self, capacity)
        if sum(gather(len(rows))) == 0 and self.failures.error is None:
            self.run.stop_without_signal()
        self._log_metrics(self.sampler.metrics() | self.algorithm.metrics())
        return rows or [self.sampler.padding()]

    def _rows_for_trl(self, prompts: list[list[Message]], trainer: GRPOTrainer) -> dict[str, Any]:
        return rollout_output(self._rows)

    def _correct_for_padding(self, rows: Sequence[Row]) -> None:
        if self.loss_type in MEANS_OVER_ROWS:
            num_rows = len(rows) * self.accelerator.num_processes
            self._padding_correction = num_rows / max(num_rows - sum(gather(num_padding(rows))), 1)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        with policy_loss_times(self, inputs, self._padding_correction) as scaled:
            loss: torch.Tensor = super()._compute_loss(model, scaled)
        self.step_guard.watch(loss, inputs)
        return loss

    # -- logging -------------------------------------------------------------------------------------------------------

    def _log_metrics(self, metrics: Metrics) -> None:
        for name, values in metrics.items():
            self._metrics["train"][name].extend(values)

    def _log_rows(self) -> None:
        """Log the algorithm's own rewards and advantages instead of GRPOTrainer's."""
        end_tokens = {*self.eos_token_ids, self._tokenizer.pad_token_id}
        replace_metrics(self._metrics["train"], row_metrics(self._rows, end_tokens, self.ranks))
        make_printable(self._logs["prompt"])
        make_printable(self._logs["completion"])
        advantages = chain.from_iterable(gather([row.advantage for row in self._rows]))
        replace_latest(self._logs["advantages"], list(advantages))

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with self.run.saving(trial):
            super()._save_checkpoint(model, trial)
