"""A trainer's panel, played by all processes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from trl_3spo.environments.base import Task
from trl_3spo.evaluation.panel import play_panel
from trl_3spo.evaluation.results import Evaluation, summarize
from trl_3spo.reliability.ranks import gather, generating_equally

if TYPE_CHECKING:
    from trl_3spo.training.agent_trainer import AgentTrainer


def play_together(trainer: "AgentTrainer[Any]", tasks: Sequence[Task], panel: str = "") -> Evaluation:
    """Play every task once, shared out between the ranks, and summarize what became of all.

    The episodes are recorded under the panel's name. Leaves the random generators as they were, so that evaluating does
    not change the training that follows.
    """
    rank, num_ranks = trainer.ranks.rank, trainer.ranks.num_ranks
    devices = [trainer.accelerator.device] if trainer.accelerator.device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices),
        trainer.guard.uncounted(),
        trainer.sampler.evaluating(trainer.args.eval_temperature),
        generating_equally(trainer.sampler.idle),
    ):
        torch.manual_seed(trainer.args.seed + rank)
        results = play_panel(
            trainer.sampler.answer,
            trainer.guard,
            tasks[rank::num_ranks],
            batch_size=trainer.args.per_device_eval_batch_size,
            on_episodes=lambda episodes: trainer.records.evaluated(episodes, panel),
        )
    shares = gather(results)
    return summarize([shares[i % num_ranks][i // num_ranks] for i in range(len(tasks))], trainer.guard.describe())
