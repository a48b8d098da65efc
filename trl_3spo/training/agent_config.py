"""Configuration that all trainers of agents share, whatever their algorithm."""

from dataclasses import dataclass, field
from typing import get_args

from transformers.utils import is_torch_bf16_gpu_available, is_torch_xla_available

from trl_3spo.algorithm.objective import ObjectiveName
from trl_3spo.algorithm.options import AdvantageScaling
from trl_3spo.environments.failures import (
    MAX_EPISODE_STEPS,
    MAX_FAILED_SHARE,
    STEP_TIMEOUT,
    FailurePolicy,
    OnFailure,
)
from trl_3spo.prefix_sharing.config import PrefixSharingConfig
from trl_3spo.training.option_checks import refuse_options

ENGINE_DTYPES = ("auto", "float32", "bfloat16", "float16")
"""Values of `vllm_dtype`."""
NOT_NEGATIVE = {
    "invalid_action_penalty": "costs nothing",
    "eval_temperature": "is greedy",
    "record_megabytes": "records nothing",
}
"""Options that are at least 0, with what 0 means."""

BEST_METRIC = "eval_success_rate"
"""What `load_best_model_at_end` goes by where nothing else is said; the first panel's, where panels have names."""


@dataclass
class AgentConfig(PrefixSharingConfig):
    r"""
    Configuration class for the [`~trl_3spo.training.agent_trainer.AgentTrainer`].

    The options of [`~trl.GRPOConfig`] keep their names. Some mean something else here, because rows are steps of
    episodes and not completions of a dataset's prompts: a method's configuration says what
    `per_device_train_batch_size` and `num_generations` count. `scale_rewards` has no meaning, since advantages are the
    algorithm's, and is refused; `advantage_scaling` takes its place. The logged `reward`, `reward_std` and
    `completions/…` are those of the rows that are trained on; docs/metrics.md lists what is logged.
    [`~trl_3spo.prefix_sharing.config.PrefixSharingConfig`] says how prompts are shared. docs/options.md says what
    becomes of each option of GRPOConfig.

    Parameters:
        advantage_scaling (`str`, *optional*, defaults to `"group"`):
            What advantages are divided by the standard deviation of: `"group"`, `"batch"` (which also subtracts the
            batch's mean, unlike GRPOConfig's `scale_rewards`) or `"none"`. Which of them a method has, it says itself.
        invalid_action_penalty (`float`, *optional*, defaults to `0.0`):
            What an action that is not admissible costs, at least 0: taken off its reward in 3SPO, off its advantage in
            the baselines.
        objective (`str`, *optional*, defaults to `"success"`):
            What is maximised. `"success"`: how often tasks are solved. `"reward"`: what the environment pays, scaled by
            its `reward_range`.
        max_turns (`int`, *optional*):
            Number of past turns, the latest, that the environment writes a prompt with; `None` is all of them. A prompt
            that does not begin with the one before it is tokenized anew.
        max_prompt_tokens (`int`, *optional*):
            Tokens of a prompt; `None` is as many as the model has positions for beside an answer. The oldest turns of a
            longer one are left out, and if that does not help the episode ends there.
        max_idle_rounds (`int`, *optional*, defaults to `100`):
            Sampling rounds without any signal after which training ends: the policy has nothing left to learn from
            these tasks, or never succeeds.
        num_generations_eval (`int`, *optional*, defaults to `1`):
            Episodes an evaluation plays of every task. As in GRPOConfig, the evaluation batch must be divisible by it.
        on_nonfinite (`str`, *optional*, defaults to `"stop"`):
            What happens to an update whose loss or gradient is infinite or not a number: `"stop"` ends training with an
            error, before the update; `"skip"` leaves the update out and counts it as `skipped_steps` in the logs.
        set_aside_checkpoints (`bool`, *optional*, defaults to `False`):
            Whether a new run moves the checkpoints of an earlier run in its output folder to a subfolder. Otherwise it
            refuses to start there.
        vllm_dtype (`str`, *optional*, defaults to `"auto"`):
            Type in which vLLM in the same process holds its copy of the weights: `"float32"`, `"bfloat16"`,
            `"float16"`, or `"auto"`, which is the checkpoint's, or 16 bits where that is float32.
        vllm_sync_steps (`int`, *optional*, defaults to `1`):
            Optimizer steps for which vLLM keeps its copy of the weights, at least 1. Above 1 samples come from a policy
            up to that many steps minus one older, `sampling/staleness` in the logs; the importance ratio of
            `vllm_importance_sampling_correction`, which must be on, accounts for it. Evaluations are always up to date.
        record_megabytes (`float`, *optional*, defaults to `100.0`):
            Megabytes of episodes that are recorded below the output folder, at most so many of trainings and as many of
            evaluations; 0 records nothing. Beyond them every other search tree is left out, see docs/records.md.
        hub_license (`str`, *optional*):
            Licence that the model card states, such as `"apache-2.0"`; `None` is the base model's by its own card.
        train_split (`str`, *optional*):
            Split of the environment's tasks to train on; `None` is the environment's own choice.
        eval_split (`str`, *optional*):
            Split to evaluate on; `None` is the environment's own choice.
        num_eval_tasks (`int` or `None`, *optional*, defaults to `100`):
            Size of the evaluation panel, which is drawn from the split with every type of task in its share, see
            [`~trl_3spo.evaluation.panel_sample.sample_panel`]; `None` is the whole split.
        panel_seed (`int`, *optional*, defaults to `0`):
            Seed of that draw. It is not `seed`, so that runs of different seeds are evaluated on the same panel.
        eval_temperature (`float`, *optional*, defaults to `0.0`):
            Sampling temperature in evaluations, at least 0; 0 is greedy.

        > Parameters for environments that fail, hang or never end; see docs/reliability.md

        failure_policy (`str`, *optional*, defaults to `"drop"`):
            What is done where a call of the environment fails, hangs or returns what it must not. `"drop"`: the call is
            made once more, on a fresh environment if the trainer was given a callable that makes one; then the episode
            is left out. `"raise"`: training ends with the error.
        max_failed_share (`float`, *optional*, defaults to `0.5`):
            Share in [0, 1] of dropped episodes, of the latest hundred, above which training saves and ends.
        step_timeout (`float`, *optional*, defaults to `600.0`):
            Seconds that one call of the environment may take; `None` sets no limit.
        max_episode_steps (`int`, *optional*, defaults to `1000`):
            Steps after which an episode is truncated that its environment has not ended; `None` sets no limit.
    """

    advantage_scaling: AdvantageScaling = field(
        default="group", metadata={"help": "What advantages are divided by the standard deviation of."}
    )
    invalid_action_penalty: float = field(
        default=0.0, metadata={"help": "What an action that is not admissible costs."}
    )
    objective: ObjectiveName = field(
        default="success", metadata={"help": "What is maximised: 'success' or the environment's 'reward'."}
    )
    max_turns: int | None = field(default=None, metadata={"help": "Past turns that prompts are written with."})
    max_prompt_tokens: int | None = field(
        default=None, metadata={"help": "Tokens of a prompt; the oldest turns of a longer one are left out."}
    )
    max_idle_rounds: int = field(
        default=100, metadata={"help": "Sampling rounds without signal after which training ends."}
    )
    num_generations_eval: int | None = field(
        default=1, metadata={"help": "Episodes an evaluation plays of every task."}
    )
    on_nonfinite: str = field(
        default="stop",
        metadata={"choices": ["stop", "skip"], "help": "What happens to an update that is not finite."},
    )
    set_aside_checkpoints: bool = field(
        default=False, metadata={"help": "Move an earlier run's checkpoints to a subfolder when a new one starts."}
    )
    vllm_dtype: str = field(
        default="auto",
        metadata={"choices": list(ENGINE_DTYPES), "help": "Type in which vLLM holds its copy of the weights."},
    )
    vllm_sync_steps: int = field(
        default=1, metadata={"help": "Optimizer steps for which vLLM keeps its copy of the weights."}
    )
    record_megabytes: float = field(
        default=100.0, metadata={"help": "Megabytes of episodes recorded in the output folder; 0 records nothing."}
    )
    hub_license: str | None = field(
        default=None, metadata={"help": "Licence for the model card; by default the base model's."}
    )
    train_split: str | None = field(default=None, metadata={"help": "Split of the environment to train on."})
    eval_split: str | None = field(default=None, metadata={"help": "Split of the environment to evaluate on."})
    num_eval_tasks: int | None = field(
        default=100, metadata={"help": "Tasks drawn for the evaluation panel; null in a file is the whole split."}
    )
    panel_seed: int = field(default=0, metadata={"help": "Seed of that draw."})
    eval_temperature: float = field(default=0.0, metadata={"help": "Temperature in evaluations; 0 is greedy."})
    failure_policy: OnFailure = field(
        default="drop", metadata={"help": "'drop' episodes in which the environment fails, or 'raise'."}
    )
    max_failed_share: float = field(
        default=MAX_FAILED_SHARE, metadata={"help": "Share of dropped episodes above which training ends."}
    )
    step_timeout: float | None = field(
        default=STEP_TIMEOUT, metadata={"help": "Seconds that one call of the environment may take."}
    )
    max_episode_steps: int | None = field(
        default=MAX_EPISODE_STEPS, metadata={"help": "Steps after which any episode is truncated."}
    )

    def __post_init__(self) -> None:
        self._check_precision()
        if self.load_best_model_at_end and self.metric_for_best_model is None:
            self.metric_for_best_model: str | None = BEST_METRIC  # transformers would take the loss
        super().__post_init__()
        if self.scale_rewards != "group":
            raise ValueError(
                f"scale_rewards is {self.scale_rewards!r}; it has no meaning here, where advantages are not made of "
                "completions of one prompt. Leave it out, and set advantage_scaling to 'group', 'batch' or 'none'."
            )
        refuse_options(self)
        self._check_ranges()
        if self.vllm_sync_steps > 1 and not self.vllm_importance_sampling_correction:
            raise ValueError(
                f"vllm_sync_steps is {self.vllm_sync_steps} and vllm_importance_sampling_correction is off, so that "
                "samples of an older policy would count as the present one's. Switch the correction on, or set "
                "vllm_sync_steps=1."
            )
        _ = self.failures  # checks them

    def _check_ranges(self) -> None:
        for name in ("max_idle_rounds", "vllm_sync_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be at least 1.")
        for name in ("max_turns", "max_prompt_tokens", "num_eval_tasks"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be at least 1, or None for no limit.")
        if self.objective not in get_args(ObjectiveName):
            raise ValueError(f"objective is {self.objective!r}; it must be 'success' or 'reward'.")
        for name, zero in NOT_NEGATIVE.items():
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be at least 0 (0 {zero}).")
        if self.vllm_dtype not in ENGINE_DTYPES:
            allowed = ", ".join(map(repr, ENGINE_DTYPES))
            raise ValueError(f"vllm_dtype is {self.vllm_dtype!r}; it must be one of {allowed}.")
        if self.on_nonfinite not in ("stop", "skip"):
            raise ValueError(f"on_nonfinite is {self.on_nonfinite!r}; it must be 'stop' or 'skip'.")

    @property
    def failures(self) -> FailurePolicy:
        """What is done about an environment that fails."""
        return FailurePolicy(self.failure_policy, self.max_failed_share, self.step_timeout, self.max_episode_steps)

    def _check_precision(self) -> None:
        is_wanted = self.bf16 or (self.bf16 is None and not self.fp16)
        if is_wanted and not self.use_cpu and not (is_torch_bf16_gpu_available() or is_torch_xla_available()):
            raise ValueError(
                "bf16 is on, GRPOConfig's default, and there is no accelerator here that computes in bfloat16. Pass "
                "fp16=True on an older GPU, bf16=False to compute in float32, or use_cpu=True and bf16=False on a CPU."
            )
