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

    A generation batch counts episodes: `per_device_train_batch_size` × `steps_per_generation` per device, in groups of
    `num_generations` per task. Every step of an episode is a row of the loss. So each of the batch's
    `steps_per_generation` parts has on average `per_device_train_batch_size` × (mean episode length) rows.
    [`~trl_3spo.training.agent_config.AgentConfig`] documents the options of tasks and evaluation.

    Parameters:
        advantage_scaling (`str`, *optional*, defaults to `"group"`):
            Scaling of the advantages. `"group"`: divide by the group's standard deviation. `"none"`: no scaling.
            `"batch"` is refused.
        novelty_weight (`float`, *optional*, defaults to `0.0`):
            Weight ω ≥ 0 of the novelty bonus that 3SPO has too. A step to a state not yet visited in the episode gets
            ω added to its advantage. The batch mean of the bonuses is then subtracted from all steps.
        dynamic_sampling (`bool`, *optional*, defaults to `False`):
            Whether to replace groups without any advantage by groups of further tasks (DAPO, arXiv 2503.14476). At most
            4 rounds are sampled.
    """

    scalings: ClassVar[tuple[str, ...]] = ("group", "none")

    novelty_weight: float = field(
        default=0.0, metadata={"help": "Weight ω of the bonus for states not yet visited in the episode."}
    )
    dynamic_sampling: bool = field(
        default=False,
        metadata={"help": "Whether groups without any advantage are replaced by groups of further tasks."},
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

    Batches are counted as in [`EpisodeGRPOConfig`].

    Parameters:
        discount (`float`, *optional*, defaults to `0.95`):
            Discount factor γ in [0, 1] per step, for the returns compared among steps from equal states.
        step_advantage_weight (`float`, *optional*, defaults to `1.0`):
            ω ≥ 0 in A = A^E + ω · A^S; 0 is GRPO.
        advantage_scaling (`str`, *optional*, defaults to `"group"`):
            Scaling of the advantages. `"group"`: divide both by their group's standard deviation. `"none"`: no scaling,
            the paper's "w/o std".
    """

    discount: float = field(
        default=0.95, metadata={"help": "Discount factor γ of the returns compared among equal states."}
    )
    step_advantage_weight: float = field(default=1.0, metadata={"help": "ω in A = A^E + ω · A^S."})

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
    Configuration class for the [`~trl_3spo.baselines.trainers.StepPOTrainer`].

    Batches are counted as in [`EpisodeGRPOConfig`]. An answer is one action with one importance ratio, the geometric
    mean over its tokens (`importance_sampling_level="sequence"`). Every step has the same weight in the loss, whatever
    its length (`loss_type="grpo"`).

    Parameters:
        value_source (`str`, *optional*, defaults to `"group"`):
            Source of the values V. `"critic"`: a linear head on the policy's hidden state at the last prompt token.
            `"group"`: the returns of the group's other episodes from the same exact state. `"history"`: the success
            rates in 3SPO's history.
        discount (`float`, *optional*, defaults to `1.0`):
            Discount factor γ in [0, 1] per step.
        gae_lambda (`float`, *optional*, defaults to `1.0`):
            λ in [0, 1] of GAE. At 1 a step is credited with the episode's return, at 0 with the next state's value.
        bootstraps_truncated (`bool`, *optional*, defaults to `True`):
            Whether an episode cut off by a step limit earns V of its last state. The source treats the limit as an end
            without reward (`False`).
        advantage_scaling (`str`, *optional*, defaults to `"batch"`):
            Scaling of the advantages. `"batch"`: whiten over all steps of the batch. `"none"`: only subtract the mean.
        critic_learning_rate (`float`, *optional*, defaults to `1e-3`):
            Constant learning rate > 0 of the critic's head. The source trains a whole model with 1e-5.
        history_half_life (`float`, *optional*, defaults to `300.0`):
            Number of completed episodes after which a count in the history has decayed to one half, as in 3SPO. `None`:
            counts do not decay.
        backoff_strength (`float`, *optional*, defaults to `8.0`):
            κ ≥ 0, in visits: weight of the coarser score keys in a state's success rate, as in 3SPO.
    """

    scalings: ClassVar[tuple[str, ...]] = ("batch", "none")

    importance_sampling_level: str = field(
        default="sequence",
        metadata={
            "help": "Level of the importance ratio; 'sequence': one ratio per step, the geometric mean over its tokens."
        },
    )
    loss_type: str = field(
        default="grpo", metadata={"help": "Loss formulation; 'grpo': every step has the same weight."}
    )
    value_source: ValueSource = field(
        default="group", metadata={"help": "Source of the values V: 'critic', 'group' or 'history'."}
    )
    discount: float = field(default=1.0, metadata={"help": "Discount factor γ per step."})
    gae_lambda: float = field(default=1.0, metadata={"help": "λ of the generalized advantage estimation."})
    bootstraps_truncated: bool = field(
        default=True, metadata={"help": "Whether a truncated episode earns the value of its last state."}
    )
    advantage_scaling: AdvantageScaling = field(
        default="batch",
        metadata={
            "help": "Scaling of the advantages: 'batch' whitens over the steps of the batch, 'none' subtracts the mean."
        },
    )
    critic_learning_rate: float = field(default=1e-3, metadata={"help": "Learning rate of the critic's head."})
    history_half_life: float | None = field(
        default=300.0,
        metadata={"help": "Completed episodes after which a count has decayed to one half; None: no decay."},
    )
    backoff_strength: float = field(
        default=8.0, metadata={"help": "κ, in visits: weight of the coarser score keys in a state's success rate."}
    )

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
