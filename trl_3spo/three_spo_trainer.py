"""[`ThreeSPOTrainer`]: [`~trl.GRPOTrainer`] with 3SPO."""

import textwrap
from typing import Any, ClassVar

from trl_3spo.algorithm.three_spo import ThreeSPO
from trl_3spo.three_spo_config import ThreeSPOConfig
from trl_3spo.training.agent_trainer import AgentTrainer


class ThreeSPOTrainer(AgentTrainer[ThreeSPOConfig]):
    """
    Trainer for State-Score-Supervised Policy Optimization (3SPO, arXiv 2606.09961).

    The only change w.r.t. [`~trl_3spo.training.agent_trainer.AgentTrainer`], whose arguments it takes, is the
    algorithm: [`~trl_3spo.algorithm.three_spo.ThreeSPO`] with the options of [`ThreeSPOConfig`].
    """

    _config_class = ThreeSPOConfig
    _tag_names: ClassVar[list[str]] = ["trl", "3spo"]
    _name = "3SPO"
    _paper: ClassVar[dict[str, str]] = {
        "title": "State-Score-Supervised Policy Optimization",
        "id": "2606.09961",
        "citation": textwrap.dedent("""\
            @article{threespo2026,
                title  = {{State-Score-Supervised Policy Optimization}},
                year   = 2026,
                eprint = {arXiv:2606.09961},
            }"""),
    }

    algorithm: ThreeSPO

    def _make_algorithm(self) -> ThreeSPO:
        args: Any = self.args
        return ThreeSPO(
            self.guard,
            self.train_tasks,
            args,
            ranks=self.ranks,
            seed=args.seed,
            max_idle_rounds=args.max_idle_rounds,
        )
