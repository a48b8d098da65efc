"""Configuration of [`ThreeSPOTrainer`]."""

from dataclasses import dataclass
from typing import Any

from trl_3spo.algorithm.options import PUBLISHED, ThreeSPOOptions
from trl_3spo.training.agent_config import AgentConfig
from trl_3spo.training.old_names import refusing

_PART = "pass ThreeSPOTrainer an algorithm, ThreeSPO(…, {})"
_GONE = {
    "score_difference_weight": _PART.format("make_scorer=…) with a scorer whose scores are all equal"),
    "has_adaptive_group_size": _PART.format("make_scorer=partial(StateScorer, min_group_size=num_generations))"),
    "min_group_size": _PART.format("make_scorer=partial(StateScorer, min_group_size=…))"),
    "has_backtracking": _PART.format("make_tree=…) with TreeSearch(…, has_backtracking=False)"),
    "follows_best": "it is search='best_first' or 'frontier'",
    "advantage_delta": _PART.format("advantages=…) with a function of your own; δ is GRPO's 1e-4"),
    "min_batch_fill": "with update_after='step' groups with signal fill 0.9 of the batch",
    "max_fill_rounds": "with update_after='step' a batch is filled in at most 4 rounds",
}


@refusing(_GONE)
@dataclass
class ThreeSPOConfig(ThreeSPOOptions, AgentConfig):
    r"""
    Configuration class for the [`ThreeSPOTrainer`].

    [`~trl_3spo.algorithm.options.ThreeSPOOptions`] documents 3SPO's own options.
    [`~trl_3spo.training.agent_config.AgentConfig`] documents the options of tasks and evaluation, and the options of
    [`~trl.GRPOConfig`] with another meaning here. `num_generations` is G_max, the largest group of samples per state.

    A generation batch holds whole state groups of n(s) ≤ G_max rows. `per_device_train_batch_size` ×
    `steps_per_generation` is the largest number of sampled actions in a device's batch. If `max_steps` is unset, an
    epoch has as many optimizer steps as GRPO would make over the training tasks.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_options()
        self._check_batch()

    def _check_batch(self) -> None:
        rows = self.per_device_train_batch_size * self.steps_per_generation
        if rows < self.num_generations:
            raise ValueError(
                f"per_device_train_batch_size × steps_per_generation is {rows}; it must be at least num_generations "
                f"({self.num_generations}), so that any state group fits on one device. Raise "
                "per_device_train_batch_size or gradient_accumulation_steps, or lower num_generations."
            )

    @classmethod
    def published(cls, **overrides: Any) -> "ThreeSPOConfig":
        """Return the numbers of the paper (arXiv 2606.09961); keyword arguments override any of them.

        Three differences from the paper are not numbers and stay; docs/algorithm.md gives the reasons. The indicator
        of Eq. 1 prunes but does not enter rewards. Final states have a score. First states are not pruned.
        """
        numbers: dict[str, Any] = PUBLISHED | {"learning_rate": 1e-6, "beta": 0.01}
        return cls(**(numbers | overrides))
