"""Configuration of the baselines over whole episodes: GRPO, GiGPO and StepPO."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

from trl_3spo.algorithm.options import AdvantageScaling
from trl_3spo.training.agent_config import AgentConfig
from trl_3spo.training.old_names import refusing

ValueSource = Literal["critic", "group", "history"]


@dataclass
class EpisodeGRPOConfig(AgentConfig):
    r"""
    Configuration class for the [`~trl_3spo.baselines.trainers.EpisodeGRPOTrainer`].

    A generation batch holds episodes: `per_device_train_batch_size` × `steps_per_generation` of them per device,
    `num_generations` of each task. Every step of an episode is a row of the loss, so that each of the batch's
    `steps_per_generation` parts has on average `per_device_train_batch_size` × (mean length of an episode) rows.
    [`~trl_3spo.training.agent_config.AgentConfig`] documents the options of tasks and evaluation.

    Parameters:
        advantage_scaling (`str`, *optional*, defaults to `"group"`):
            `"group"` divides an advantage by its group's standard deviation, `"none"` does not. `"batch"` is refused.
        novelty_weight (`float`, *optional*, defaults to `0.0`):
            ω ≥ 0 of a bonus that 3SPO has as well: ω is added to the advantage of a step that leads to a state not yet
            met in the episode, and the mean of the batch's bonuses is taken off all steps.
        dynamic_sampling (`bool`, *optional*, defaults to `False`):
            Whether groups without any advantage are replaced by groups of further tasks (DAPO, arXiv 2503.14476), for
            at most 4 rounds.
    """

    scalings: ClassVar[tuple[str, ...]] = ("group", "none")

    novelty_weight: float = field(default=0.0, metadata={"help": "ω of the bonus for states new in the episode."})
    dynamic_sampling: bool = field(
        default=False, metadata={"help": "Whether groups without any advantage are replaced by others."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.advantage_scaling not in self.scalings:
            allowed = ", ".join(self.scalings)
            raise ValueError(f"advantage_scaling is {self.advantage_scaling!r}; it must be one of {allowed}.")
        if self.novelty_weight < 0:
            raise ValueError(f"novelty_weight is {self.novelty_weight!r}; it must be at least 0.")
        self._check_batch()

    def _check_batch(self) -> None:
        episodes = self.per_device_train_batch_size * self.steps_per_generation
        if episodes % self.num_generations:
            raise ValueError(
                f"per_device_train_batch_size × steps_per_generation is {episodes} episodes; it must be a multiple of "
                f"num_generations ({self.num_generations}), so that a device plays whole groups. Change one of the "
                "three, or gradient_accumulation_steps, which steps_per_generation follows."
            )

    def _check_shares(self, *names: str) -> None:
        for name in names:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be between 0 and 1.")


@refusing({"gamma": "it is called discount"})
@dataclass
class GiGPOConfig(EpisodeGRPOConfig):
    r"""
    Configuration class for the [`~trl_3spo.baselines.trainers.GiGPOTrainer`].

    Batches are those of [`EpisodeGRPOConfig`].

    Parameters:
        discount (`float`, *optional*, defaults to `0.95`):
            γ in [0, 1], per step, of the returns that steps from equal states are compared by.
        step_advantage_weight (`float`, *optional*, defaults to `1.0`):
            ω ≥ 0 of A = A^E + ω · A^S; at 0 it is GRPO.
        advantage_scaling (`str`, *optional*, defaults to `"group"`):
            `"group"` divides both advantages by their group's standard deviation, `"none"` neither: the paper's "w/o
            std".
    """

    discount: float = field(default=0.95, metadata={"help": "γ of the returns that equal states are compared by."})
    step_advantage_weight: float = field(default=1.0, metadata={"help": "ω of A = A^E + ω · A^S."})

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_shares("discount")
        if self.step_advantage_weight < 0:
            raise ValueError(f"step_advantage_weight is {self.step_advantage_weight!r}; it must be at least 0.")

    @classmethod
    def published(cls, **overrides: Any) -> "GiGPOConfig":
        """Return the numbers of the authors' ALFWorld script (arXiv 2505.10978); keyword arguments override them."""
        return cls(**({"num_generations": 8, "learning_rate": 1e-6, "beta": 0.01} | overrides))


@refusing({"gamma": "it is called discount"})
@dataclass
class StepPOConfig(EpisodeGRPOConfig):
    r"""
    Configuration class for the [`~trl_3spo.baselines.step_po_trainer.StepPOTrainer`].

    Batches are those of [`EpisodeGRPOConfig`]. An answer is one action: its ratio is the geometric mean of its tokens'
    (`importance_sampling_level="sequence"`) and every step counts the same, however long (`loss_type="grpo"`).

    Parameters:
        value_source (`str`, *optional*, defaults to `"group"`):
            Where V comes from: `"critic"` is a linear head on the policy's hidden state at the last token of the
            prompt, `"group"` the other episodes of the group that were in the same exact state, `"history"` the success
            rates of 3SPO's history.
        discount (`float`, *optional*, defaults to `1.0`):
            γ in [0, 1], per step.
        gae_lambda (`float`, *optional*, defaults to `1.0`):
            λ in [0, 1]: at 1 the credit is what became of the episode, at 0 what the next state is worth.
        bootstraps_truncated (`bool`, *optional*, defaults to `True`):
            Whether an episode that a limit on steps has cut off goes on earning V of its last state. The source takes
            the limit for an end without reward (`False`).
        advantage_scaling (`str`, *optional*, defaults to `"batch"`):
            `"batch"` whitens advantages over all steps of the batch, `"none"` only centres them.
        critic_learning_rate (`float`, *optional*, defaults to `1e-3`):
            Learning rate > 0 of the critic's head, constant. The source trains a whole model with 1e-5.
        history_half_life (`float`, *optional*, defaults to `300.0`):
            As in 3SPO: completed episodes after which a count has faded to one half; `None` keeps counts for ever.
        backoff_strength (`float`, *optional*, defaults to `8.0`):
            As in 3SPO: κ ≥ 0 of the back-off along score keys.
    """

    scalings: ClassVar[tuple[str, ...]] = ("batch", "none")

    importance_sampling_level: str = field(
        default="sequence", metadata={"help": "'sequence': one ratio a step, the geometric mean of its tokens'."}
    )
    loss_type: str = field(default="grpo", metadata={"help": "'grpo': every step counts the same."})
    value_source: ValueSource = field(default="group", metadata={"help": "'critic', 'group' or 'history'."})
    discount: float = field(default=1.0, metadata={"help": "γ per step."})
    gae_lambda: float = field(default=1.0, metadata={"help": "λ of the generalized advantages."})
    bootstraps_truncated: bool = field(
        default=True, metadata={"help": "Whether truncated episodes go on earning their last state's value."}
    )
    advantage_scaling: AdvantageScaling = field(
        default="batch", metadata={"help": "'batch' whitens over the steps of the batch, 'none' only centres."}
    )
    critic_learning_rate: float = field(default=1e-3, metadata={"help": "Learning rate of the critic's head."})
    history_half_life: float | None = field(
        default=300.0, metadata={"help": "Episodes after which a count has faded to one half. None keeps counts."}
    )
    backoff_strength: float = field(default=8.0, metadata={"help": "κ of the back-off along score keys, in visits."})

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_shares("discount", "gae_lambda")
        sources = get_args(ValueSource)
        if self.value_source not in sources:
            raise ValueError(f"value_source is {self.value_source!r}; it must be one of {', '.join(sources)}.")
        if self.critic_learning_rate <= 0:
            raise ValueError(f"critic_learning_rate is {self.critic_learning_rate!r}; it must be above 0.")
        if self.history_half_life is not None and self.history_half_life <= 0:
            raise ValueError(f"history_half_life is {self.history_half_life!r}; it must be above 0, or None.")
        if self.backoff_strength < 0:
            raise ValueError(f"backoff_strength is {self.backoff_strength!r}; it must be at least 0.")

    @classmethod
    def published(cls, **overrides: Any) -> "StepPOConfig":
        """Return the numbers of the authors' ALFWorld script (arXiv 2604.18401); keyword arguments override them.

        Its critic is a whole model of its own; here it is a head on the policy, with this package's learning rate.
        """
        numbers: dict[str, Any] = {
            "value_source": "critic",
            "bootstraps_truncated": False,
            "learning_rate": 1e-6,
            "beta": 0.001,
            "epsilon": 3e-4,
            "epsilon_high": 4e-4,
        }
        return cls(**(numbers | overrides))
