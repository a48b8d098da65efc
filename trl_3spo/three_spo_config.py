"""Configuration of [`ThreeSPOTrainer`]."""

from dataclasses import dataclass, field
from typing import Any

from trl_3spo.algorithm.options import PUBLISHED, ThreeSPOOptions
from trl_3spo.training.agent_config import AgentConfig


@dataclass
class ThreeSPOConfig(ThreeSPOOptions, AgentConfig):
    r"""
    Configuration class for the [`ThreeSPOTrainer`].

    Everything of [`~trl.GRPOConfig`] keeps its name and meaning; `num_generations` is G_max, and a generation batch
    holds whole state groups of n(s) ≤ G_max rows. [`~trl_3spo.algorithm.options.ThreeSPOOptions`] documents the
    options of scores, rewards, search and history, [`~trl_3spo.training.agent_config.AgentConfig`] those of tasks and
    evaluation. With `max_steps` unset, an epoch is as many optimizer steps as GRPO would make over the training tasks.

    Parameters:
        num_generations (`int`, *optional*, defaults to `2`):
            G_max, the most actions that are sampled from one state. The paper's, and GRPOConfig's, is 8.
        scale_rewards (`str` or `bool`, *optional*, defaults to `"batch"`):
            As in GRPOConfig, where it is `"group"`: `"batch"` makes advantages relative to all of the batch, mean and
            spread, so that groups whose actions differ much count for more than groups whose actions hardly differ,
            `"none"` leaves them as they are, and `"group"` divides them by the spread of their group, for which
            `baseline` must be `"group"`.
        min_batch_fill (`float`, *optional*, defaults to `0.9`):
            Where `outcome_weight` is 0: share in [0, 1] of the generation batch that groups with signal must fill
            before the policy is updated. Groups with equal rewards teach nothing and never enter it. At 0 the update
            follows the first group that has signal.
        max_fill_rounds (`int`, *optional*, defaults to `4`):
            Where `outcome_weight` is 0: sampling rounds after which a batch with any signal is trained on though it is
            not that full: where tasks are solved, hardly any group has signal, and a full batch would cost more than it
            teaches.
    """

    num_generations: int = field(default=2, metadata={"help": "G_max: most actions sampled from one state."})
    scale_rewards: str = field(
        default="batch", metadata={"help": "'batch', 'group' or 'none': what advantages are divided by the spread of."}
    )
    min_batch_fill: float = field(
        default=0.9, metadata={"help": "Share of the batch that groups with signal must fill before an update."}
    )
    max_fill_rounds: int = field(
        default=4, metadata={"help": "Sampling rounds after which a batch with any signal is trained on."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_options(self.num_generations)
        self._check_batch()
        if not 0 <= self.min_batch_fill <= 1:
            raise ValueError(f"min_batch_fill is {self.min_batch_fill!r}; it must be between 0 and 1.")
        if self.max_fill_rounds < 1:
            raise ValueError(f"max_fill_rounds is {self.max_fill_rounds!r}; it must be at least 1.")

    def _check_batch(self) -> None:
        rows = self.per_device_train_batch_size * self.steps_per_generation
        if rows < self.num_generations:
            raise ValueError(
                f"per_device_train_batch_size × steps_per_generation is {rows}; it must be at least num_generations "
                f"({self.num_generations}), so that any state group fits on one device. Raise "
                "per_device_train_batch_size or gradient_accumulation_steps, or lower num_generations."
            )
        if self.scale_rewards == "group" and self.baseline != "group":
            raise ValueError(
                f"scale_rewards is 'group'; it must be 'batch' or 'none' where baseline is {self.baseline!r}. Or set "
                "baseline='group'."
            )

    @classmethod
    def published(cls, **overrides: Any) -> "ThreeSPOConfig":
        """Return the numbers of the paper (arXiv 2606.09961); keyword arguments override any of them.

        Three of its choices are not numbers and stay as this package has them (docs/algorithm.md says why): the
        indicator of Eq. 1 prunes but does not enter rewards, ended states have a score, first states are not pruned.
        """
        numbers: dict[str, Any] = PUBLISHED | {
            "num_generations": 8,
            "scale_rewards": "group",
            "learning_rate": 1e-6,
            "beta": 0.01,
        }
        return cls(**(numbers | overrides))
