"""Evaluation of a trainer's panels by all processes, and the settings of its policy."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.trainer_utils import PredictionOutput

from trl_3spo.environments.base import Task
from trl_3spo.evaluation.panel import interleaved, play_panel
from trl_3spo.evaluation.policy_settings import PolicySettings
from trl_3spo.evaluation.results import EpisodeResult, Evaluation, summarize
from trl_3spo.reliability.ranks import gather, generating_equally
from trl_3spo.training.agent_config import BEST_METRIC, AgentConfig
from trl_3spo.training.task_choice import Panels, panels

if TYPE_CHECKING:
    from trl_3spo.training.agent_trainer import AgentTrainer


@dataclass(frozen=True)
class Played:
    """One panel's episodes.

    Args:
        evaluation: Summary of the episodes.
        results: Result of each episode; tasks in the panel's order, repeated as often as they were played.
    """

    evaluation: Evaluation
    results: list[EpisodeResult]


def play_together(trainer: "AgentTrainer[Any]", tasks: Sequence[Task], panel: str = "") -> Played:
    """Play every task once, distributed over the ranks, and summarize the results of all.

    The episodes are recorded under the panel's name. The random generators are restored afterwards, so an evaluation
    does not change the training after it.
    """
    rank, num_ranks = trainer.ranks.rank, trainer.ranks.num_ranks
    devices = [trainer.accelerator.device] if trainer.accelerator.device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices),
        trainer.guard.uncounted(),
        trainer.sampler.evaluating(trainer.args.eval_temperature),
        trainer.display.evaluating(len(tasks)) as progress,
        generating_equally(trainer.sampler.idle),
    ):
        torch.manual_seed(trainer.args.seed + rank)
        own = play_panel(
            trainer.sampler.answer,
            trainer.guard,
            tasks[rank::num_ranks],
            batch_size=trainer.args.per_device_eval_batch_size,
            on_episodes=lambda episodes: trainer.records.evaluated(episodes, panel),
            progress=lambda count: progress(count * num_ranks),
        )
    results = interleaved(gather(own))
    return Played(summarize(results, trainer.guard.describe()), results)


def play_panels(trainer: "AgentTrainer[Any]", given: Panels | None) -> dict[str, Played]:
    """Play the trainer's panels, or given ones, each task as often as configured; return the results by panel name."""
    chosen = trainer.panels if given is None else panels(trainer.guard, given, trainer.args)
    times = trainer.args.num_generations_eval or 1
    return {name: play_together(trainer, tasks * times, name) for name, tasks in chosen.items()}


def metrics_of(played: Mapping[str, Played], prefix: str) -> dict[str, float]:
    """Return the metrics of panels, named `PREFIX_PANEL_METRIC`, or `PREFIX_METRIC` if the panel has no name."""
    return {
        f"{prefix}_{panel}_{name}" if panel else f"{prefix}_{name}": value
        for panel, x in played.items()
        for name, value in x.evaluation.metrics().items()
    }


def prediction_of(played: Mapping[str, Played], prefix: str) -> PredictionOutput:
    """Return the output of `predict`: success and task id of every episode, and the panels' metrics."""
    results = [result for x in played.values() for result in x.results]
    successes = np.array([result.success for result in results], dtype=float)
    return PredictionOutput(successes, np.array([result.task for result in results]), metrics_of(played, prefix))


def choose_best_metric(args: AgentConfig, names: Iterable[str]) -> None:
    """Choose the best model by the first panel if panels have names and no other metric was set."""
    first = next(iter(names))
    if first and args.metric_for_best_model in (BEST_METRIC, BEST_METRIC.removeprefix("eval_")):
        args.metric_for_best_model = f"eval_{first}_{BEST_METRIC.removeprefix('eval_')}"


def settings_of(trainer: "AgentTrainer[Any]") -> PolicySettings:
    """Return the settings with which a trainer's policy is prompted and sampled."""
    args = trainer.args
    return PolicySettings(
        temperature=args.temperature,
        eval_temperature=args.eval_temperature,
        top_p=args.top_p,
        top_k=max(args.top_k or 0, 0),
        min_p=args.min_p,
        repetition_penalty=args.repetition_penalty,
        generation_kwargs={name: x for name, x in (args.generation_kwargs or {}).items() if _is_json(x)},
        max_completion_length=args.max_completion_length,
        chat_template_kwargs=dict(trainer.chat_template_kwargs or {}),
        system_prompt=trainer.env.system_prompt,
        end_tokens=tuple(trainer.eos_token_ids),
        max_turns=args.max_turns,
        max_prompt_tokens=args.max_prompt_tokens,
    )


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
