"""[`PanelTrainer`]: the part of an agent trainer that evaluates and saves its policy."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from transformers.trainer_utils import PredictionOutput

from trl_3spo.algorithm.base import Row
from trl_3spo.environments.base import Environment, Message, Task, Tool
from trl_3spo.environments.guarded import GuardedEnvironment
from trl_3spo.evaluation.policy_settings import PolicySettings
from trl_3spo.evaluation.results import Evaluation
from trl_3spo.prefix_sharing.trainer import PrefixSharingTrainer
from trl_3spo.training.card import complete_card, warn_of_unnamed_base
from trl_3spo.training.evaluating import metrics_of, play_panels, play_together, prediction_of
from trl_3spo.training.task_choice import Panels


class PanelTrainer(PrefixSharingTrainer):
    """A [`~trl.GRPOTrainer`] that is evaluated in full episodes on panels of tasks.

    Overridden hooks: `evaluate`, `predict`, `save_model`, `create_model_card` and `init_hf_repo`.

    Attributes:
        guard: The environment.
        panels: Evaluation tasks by the name of their panel; a single panel has the name "".
        train_tasks: Tasks to train on.
        evaluations: The latest evaluation of every panel.
        logged_evaluations: Metrics of the evaluations that this process has logged.
        example: Prompt of the environment and its tools for the model card, once there is one.
        policy_settings: Settings with which the policy is prompted and sampled.
    """

    guard: GuardedEnvironment
    panels: dict[str, list[Task]]
    train_tasks: Sequence[Task]
    evaluations: dict[str, Evaluation]
    logged_evaluations: list[dict[str, float]]
    _rows: list[Row]
    example: tuple[list[Message], list[Tool]] | None
    policy_settings: PolicySettings
    control: Any  # GRPOTrainer's, whose package is untyped

    @property
    def env(self) -> Environment:
        """The environment in use, without its guard."""
        return self.guard.env

    @property
    def evaluation(self) -> Evaluation | None:
        """The latest evaluation; with several panels the first panel's. `evaluations` has all by name."""
        return next(iter(self.evaluations.values()), None)

    @property
    def eval_tasks(self) -> list[Task]:
        """The tasks of all panels."""
        return list(chain.from_iterable(self.panels.values()))

    def evaluate(
        self,
        eval_dataset: Panels | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Play the evaluation panels and return their metrics, which docs/metrics.md lists.

        Args:
            eval_dataset (as `eval_tasks`, *optional*): Tasks to use instead of the trainer's panels.
            ignore_keys (`list[str]`, *optional*): Accepted for compatibility; nothing is ignored.
            metric_key_prefix (`str`, *optional*, defaults to `"eval"`): Prefix of the metrics' names.
        """
        played = play_panels(self, eval_dataset)
        self.evaluations = {name: x.evaluation for name, x in played.items()}
        metrics = metrics_of(played, metric_key_prefix)
        self.logged_evaluations.append({"step": self.state.global_step, **metrics})
        was_training = self.model.training
        self.model.eval()  # GRPOTrainer logs by the model's mode
        self.log(metrics)
        self.model.train(was_training)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def predict(
        self,
        test_dataset: Panels | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "test",
    ) -> PredictionOutput:
        """Play panels as `evaluate` does, without logging, and return the result of every episode.

        `predictions` are the (N,) successes of the episodes, 1 or 0. `label_ids` are the (N,) ids of their tasks.
        Arguments and `metrics` are the same as in `evaluate`.
        """
        return prediction_of(play_panels(self, test_dataset), metric_key_prefix)

    def evaluate_tasks(self, tasks: Sequence[Task]) -> Evaluation:
        """Play every task `args.num_generations_eval` times with `args.eval_temperature`, and summarize.

        The episodes are distributed over the ranks, and each rank returns the summary of all. The random generators are
        restored afterwards, so an evaluation does not change the training after it.
        """
        return play_together(self, list(tasks) * (self.args.num_generations_eval or 1)).evaluation

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model, and next to it `policy.json`, the settings with which its policy is prompted and sampled.

        In the output folder the model card is also rewritten.
        """
        if self.args.should_save:
            self.policy_settings.save(output_dir or self.args.output_dir)
        super().save_model(output_dir, _internal_call)
        if not _internal_call and Path(output_dir or self.args.output_dir) == Path(self.args.output_dir):
            self.create_model_card()

    def create_model_card(self, model_name: str | None = None, *args: Any, **kwargs: Any) -> None:
        """Create TRL's card, and add the results, the environment and an example prompt."""
        name = model_name or Path(self.args.hub_model_id or self.args.output_dir).name
        super().create_model_card(name, *args, **kwargs)
        if self.is_world_process_zero():
            complete_card(self, name)

    def init_hf_repo(self, *args: Any, **kwargs: Any) -> None:
        """Make the repository on the Hub before anything is pushed; see docs/hub.md."""
        warn_of_unnamed_base(self)
        super().init_hf_repo(*args, **kwargs)
