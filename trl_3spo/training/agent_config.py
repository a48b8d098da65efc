"""Configuration shared by all agent trainers, whatever their algorithm."""

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
"""Options that must be at least 0, and the meaning of 0."""

BEST_METRIC = "eval_success_rate"
"""Default metric of `load_best_model_at_end`. With named panels, the metric of the first panel."""


@dataclass
class AgentConfig(PrefixSharingConfig):
    r"""
    Configuration class for the [`~trl_3spo.training.agent_trainer.AgentTrainer`].

    The options of [`~trl.GRPOConfig`] keep their names. Some have another meaning here, because a row is one step of an
    episode and not the completion of a dataset's prompt:

    - Each method's configuration says what `per_device_train_batch_size` and `num_generations` count.
    - `scale_rewards` is refused, because the algorithm computes the advantages. Use `advantage_scaling`.
    - The logged `reward`, `reward_std` and `completions/…` describe the rows in the loss; see docs/metrics.md.

    docs/options.md lists every option of GRPOConfig with its effect here.
    [`~trl_3spo.prefix_sharing.config.PrefixSharingConfig`] documents how prompts are shared.

    Parameters:
        > Parameters that control the objective

        advantage_scaling (`str`, *optional*, defaults to `"group"`):
            Standard deviation that advantages are divided by: of the `"group"`, of the `"batch"`, or `"none"`. Unlike
            GRPOConfig's `scale_rewards`, `"batch"` also subtracts the batch mean. Each method says which values it
            takes.
        invalid_action_penalty (`float`, *optional*, defaults to `0.0`):
            Penalty ≥ 0 for an action that is not admissible. 3SPO subtracts it from the reward, the baselines from the
            advantage.
        objective (`str`, *optional*, defaults to `"success"`):
            Quantity to maximize. `"success"`: the success rate. `"reward"`: the environment's rewards, scaled by its
            `reward_range`.

        > Parameters that control prompts

        max_turns (`int`, *optional*):
            Number of latest turns in a prompt; `None`: all turns. With a limit, a prompt may not begin with the
            previous prompt; it is then tokenized from scratch.
        max_prompt_tokens (`int`, *optional*):
            Largest prompt length in tokens; `None`: the model's context length minus `max_completion_length`. If a
            prompt is longer, its oldest turns are left out. If that is not enough, the episode ends there.

        > Parameters that control when training stops, and checkpoints

        max_idle_rounds (`int`, *optional*, defaults to `100`):
            Number of sampling rounds without signal after which training ends. The policy then has nothing left to
            learn from these tasks, or never succeeds.
        on_nonfinite (`str`, *optional*, defaults to `"stop"`):
            Reaction to a loss or gradient that is infinite or not a number. `"stop"`: training ends with an error
            before the update. `"skip"`: the update is skipped and counted as `skipped_steps` in the logs.
        set_aside_checkpoints (`bool`, *optional*, defaults to `False`):
            Whether a new run moves the checkpoints of an earlier run in its output folder to a subfolder. If `False`,
            the new run refuses to start there.

        > Parameters that control vLLM

        vllm_dtype (`str`, *optional*, defaults to `"auto"`):
            Data type of vLLM's copy of the weights in colocate mode: `"float32"`, `"bfloat16"`, `"float16"` or
            `"auto"`. `"auto"` is the checkpoint's type, or a 16-bit type if the checkpoint is in float32.
        vllm_sync_steps (`int`, *optional*, defaults to `1`):
            Number of optimizer steps between two updates of vLLM's weights, at least 1. Above 1, samples are up to
            `vllm_sync_steps` − 1 steps old (`sampling/staleness` in the logs). The importance ratio corrects for this,
            so `vllm_importance_sampling_correction` must be on. Evaluations always use the latest weights.

        > Parameters that control records and the model card

        record_megabytes (`float`, *optional*, defaults to `100.0`):
            Megabytes of episode records in the output folder: one limit for training, the same again for evaluation.
            At the limit, every other search tree is left out; see docs/records.md. 0 records nothing.
        hub_license (`str`, *optional*):
            License in the model card, such as `"apache-2.0"`; `None`: the license in the base model's card.

        > Parameters that control tasks and evaluation

        train_split (`str`, *optional*):
            Split of the environment's tasks to train on; `None`: the environment's default.
        eval_split (`str`, *optional*):
            Split of the environment's tasks to evaluate on; `None`: the environment's default.
        num_eval_tasks (`int` or `None`, *optional*, defaults to `100`):
            Number of evaluation tasks, drawn from the split in proportion to its task types; see
            [`~trl_3spo.evaluation.panel_sample.sample_panel`]. `None`: the whole split.
        panel_seed (`int`, *optional*, defaults to `0`):
            Seed for drawing the evaluation tasks. It is not `seed`, so runs with different seeds are evaluated on the
            same tasks.
        eval_temperature (`float`, *optional*, defaults to `0.0`):
            Sampling temperature in evaluations, at least 0; 0 is greedy.
        num_generations_eval (`int`, *optional*, defaults to `1`):
            Number of episodes per task in an evaluation. As in GRPOConfig, it must divide the evaluation batch size.

        > Parameters for environments that fail, hang or never end; see docs/reliability.md

        failure_policy (`str`, *optional*, defaults to `"drop"`):
            Reaction to a call of the environment that fails, hangs or returns an invalid result. `"drop"`: the call is
            made once more, and if it fails again the episode is dropped. The second try is on a fresh environment if
            the trainer was given a callable that makes one. `"raise"`: training ends with the error.
        max_failed_share (`float`, *optional*, defaults to `0.5`):
            Share in [0, 1] of dropped episodes among the latest 100. Above it, training saves a checkpoint and ends.
        step_timeout (`float`, *optional*, defaults to `600.0`):
            Time limit in seconds for one call of the environment; `None`: no limit.
        max_episode_steps (`int`, *optional*, defaults to `1000`):
            Number of steps after which an episode is truncated; `None`: no limit.
    """

    advantage_scaling: AdvantageScaling = field(
        default="group",
        metadata={
            "help": "Standard deviation that advantages are divided by: of the 'group', of the 'batch', or 'none'."
        },
    )
    invalid_action_penalty: float = field(
        default=0.0, metadata={"help": "Penalty for an action that is not admissible."}
    )
    objective: ObjectiveName = field(
        default="success", metadata={"help": "Quantity to maximize: 'success' or the environment's 'reward'."}
    )
    max_turns: int | None = field(
        default=None, metadata={"help": "Number of latest turns in a prompt; None: all turns."}
    )
    max_prompt_tokens: int | None = field(
        default=None,
        metadata={"help": "Largest prompt length in tokens; the oldest turns of a longer prompt are left out."},
    )
    max_idle_rounds: int = field(
        default=100, metadata={"help": "Number of sampling rounds without signal after which training ends."}
    )
    on_nonfinite: str = field(
        default="stop",
        metadata={
            "choices": ["stop", "skip"],
            "help": "Reaction to a loss or gradient that is not finite: 'stop' training or 'skip' the update.",
        },
    )
    set_aside_checkpoints: bool = field(
        default=False, metadata={"help": "Whether a new run moves an earlier run's checkpoints to a subfolder."}
    )
    vllm_dtype: str = field(
        default="auto",
        metadata={"choices": list(ENGINE_DTYPES), "help": "Data type of vLLM's copy of the weights."},
    )
    vllm_sync_steps: int = field(
        default=1, metadata={"help": "Number of optimizer steps between two updates of vLLM's weights."}
    )
    record_megabytes: float = field(
        default=100.0, metadata={"help": "Megabytes of episode records in the output folder; 0 records nothing."}
    )
    hub_license: str | None = field(
        default=None, metadata={"help": "License in the model card; by default the base model's."}
    )
    train_split: str | None = field(default=None, metadata={"help": "Split of the environment's tasks to train on."})
    eval_split: str | None = field(default=None, metadata={"help": "Split of the environment's tasks to evaluate on."})
    num_eval_tasks: int | None = field(
        default=100,
        metadata={"help": "Number of evaluation tasks drawn from the split; None (null in a file): the whole split."},
    )
    panel_seed: int = field(default=0, metadata={"help": "Seed for drawing the evaluation tasks."})
    eval_temperature: float = field(default=0.0, metadata={"help": "Sampling temperature in evaluations; 0 is greedy."})
    num_generations_eval: int | None = field(
        default=1, metadata={"help": "Number of episodes per task in an evaluation."}
    )
    failure_policy: OnFailure = field(
        default="drop",
        metadata={"help": "Reaction to an environment that fails: 'drop' the episode, or 'raise' the error."},
    )
    max_failed_share: float = field(
        default=MAX_FAILED_SHARE, metadata={"help": "Share of dropped episodes above which training ends."}
    )
    step_timeout: float | None = field(
        default=STEP_TIMEOUT, metadata={"help": "Time limit in seconds for one call of the environment."}
    )
    max_episode_steps: int | None = field(
        default=MAX_EPISODE_STEPS, metadata={"help": "Number of steps after which an episode is truncated."}
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
    def largest_group(self) -> int:
        """Largest number of samples with the same prompt: every step of an episode has a prompt of its own."""
        return 1

    @property
    def failures(self) -> FailurePolicy:
        """Reaction to an environment that fails, and its limits."""
        return FailurePolicy(self.failure_policy, self.max_failed_share, self.step_timeout, self.max_episode_steps)

    def _check_precision(self) -> None:
        is_wanted = self.bf16 or (self.bf16 is None and not self.fp16)
        if is_wanted and not self.use_cpu and not (is_torch_bf16_gpu_available() or is_torch_xla_available()):
            raise ValueError(
                "bf16 is on, GRPOConfig's default, and there is no accelerator here that computes in bfloat16. Pass "
                "fp16=True on an older GPU, bf16=False to compute in float32, or use_cpu=True and bf16=False on a CPU."
            )
