"""Checks before a model is loaded, for errors that would appear only later or never. Each says what to do."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate.utils import DistributedType, parse_flag_from_env
from transformers import PreTrainedModel, TrainingArguments

from trl_3spo.environments.base import Environment
from trl_3spo.environments.guarded import GuardedEnvironment
from trl_3spo.environments.mixed import MixedEnvironment
from trl_3spo.reliability.run_folder import check_writable
from trl_3spo.training.agent_config import AgentConfig
from trl_3spo.training.engine import check_engine
from trl_3spo.training.option_checks import refuse_options, warn_of_options

REPLACED = {"train_dataset", "eval_dataset", "rollout_func", "tools", "environment_factory"}
"""Arguments of GRPOTrainer that an environment replaces."""


def model_name(model: str | PreTrainedModel) -> str:
    """Return the last part of a model's name or path."""
    return (model if isinstance(model, str) else str(model.config._name_or_path)).rstrip("/").split("/")[-1]


def refuse_replaced(arguments: dict[str, Any], trainer: str) -> None:
    """Raise TypeError for arguments that the environment replaces, and for unknown ones.

    Args:
        arguments: Keyword arguments that are not in the signature.
        trainer: Name of the trainer's class.
    """
    replaced = sorted(REPLACED & arguments.keys())
    if replaced:
        raise TypeError(
            f"{trainer} does not take {', '.join(replaced)}: tasks, observations and tools come from the "
            "environment. Pass train_tasks and eval_tasks to choose tasks, and wrap a class written for TRL's "
            "environment_factory with trl_3spo.environments.adapters.tool_environment."
        )
    if arguments:
        raise TypeError(f"{trainer} got an unexpected keyword argument {next(iter(arguments))!r}.")


def guarded(env: Any, args: AgentConfig) -> GuardedEnvironment:
    """Return an environment, or a callable that makes one, with a guard: failures end episodes, not the training."""
    return env if isinstance(env, GuardedEnvironment) else GuardedEnvironment(env, args.failures)


def environment_and_args(env: Any, args: Any, config_class: type[AgentConfig], trainer: str) -> tuple[Any, Any]:
    """Return an environment, or a callable that makes one, and a configuration or None; in any order.

    Args:
        env: An environment, a callable that makes one, or several by name.
        args: The configuration.
        config_class: Required class of the configuration.
        trainer: Name of the trainer's class.

    Raises:
        TypeError: One of them is something else.
    """
    if isinstance(env, TrainingArguments):  # passed in the other order
        env, args = args, env
    if args is not None and not isinstance(args, config_class):
        raise TypeError(
            f"{trainer} got a {type(args).__name__} as args; a {config_class.__name__} is required. It takes the same "
            f"options as GRPOConfig: {config_class.__name__}(output_dir=…, learning_rate=…)."
        )
    if isinstance(env, Mapping):
        return MixedEnvironment(env), args
    if not (isinstance(env, Environment) or callable(env)):
        raise TypeError(
            f"{trainer} got {env!r} as env; an environment is required, a callable that makes one, or several by name: "
            "such as AlfworldEnv(…) from trl_3spo.environments.alfworld, or ToolEnvironment(…) around a class for "
            "TRL's environment_factory."
        )
    return env, args


def check_start(
    model: Any, args: AgentConfig, num_tasks: int, *, quantization_config: Any = None, peft_config: Any = None
) -> None:
    """Check a trainer's arguments against each other and against what is installed.

    Args:
        model: Name, path or model.
        args: Configuration.
        num_tasks: Number of tasks to train on.
        quantization_config: Quantization, as in GRPOTrainer.
        peft_config: Adapter, as in GRPOTrainer.

    Raises:
        ValueError: The arguments contradict each other.
        ImportError: vLLM is asked for and not installed, or in a version that TRL does not admit.
        OSError: The output folder cannot be written to.
    """
    refuse_options(args)
    warn_of_options(args)
    if num_tasks == 0:
        raise ValueError("There are no tasks to train on; the environment's tasks() must return at least one.")
    if args.world_size > num_tasks:
        raise ValueError(
            f"There are {args.world_size} processes and {num_tasks} tasks to train on; every process needs a task of "
            "its own. Start fewer processes, or train on more tasks."
        )
    _check_sharding(args)
    if args.use_vllm:
        check_engine(model, args)
    if args.should_save:
        check_writable(Path(args.output_dir))
    _check_quantization(model, args, quantization_config, peft_config)
    _check_target_modules(getattr(peft_config, "target_modules", None))


def _check_sharding(args: AgentConfig) -> None:
    """Refuse sharding that a launcher or an option asks for and accelerate would silently ignore."""
    kind = args.distributed_state.distributed_type
    is_unsharded = {
        "FSDP": kind in (DistributedType.NO, DistributedType.MULTI_CPU),
        "DeepSpeed": kind != DistributedType.DEEPSPEED,
    }
    for name, option in {"FSDP": args.fsdp, "DeepSpeed": args.deepspeed}.items():
        is_asked_for = bool(option) or parse_flag_from_env(f"ACCELERATE_USE_{name.upper()}")
        if is_asked_for and is_unsharded[name]:
            how = "by DDP" if args.world_size > 1 else "in one process"
            raise ValueError(
                f"{name} is asked for, by the launcher or by an option, and accelerate would ignore it here and train "
                f"{how}: it shards on accelerators only, and started by a launcher. Take a configuration without "
                f"{name}, as `trl-3spo config accelerate/ddp` is, or use `accelerate launch` on GPUs, without use_cpu."
            )


def _check_quantization(model: Any, args: AgentConfig, quantization_config: Any, peft_config: Any) -> None:
    in_init_kwargs = (args.model_init_kwargs or {}).get("quantization_config")
    if quantization_config is None and in_init_kwargs is None:
        return
    if quantization_config is not None and in_init_kwargs is not None:
        raise ValueError(
            "quantization_config is set twice, as the trainer's argument and in model_init_kwargs; set it in one of "
            "the two places, preferably as the trainer's argument."
        )
    if not isinstance(model, str):
        raise ValueError(
            "quantization_config is set, but the model is loaded already and would stay as it is. Pass the model's "
            "name or path, or load it quantized and leave quantization_config out."
        )
    if peft_config is None:
        raise ValueError(
            "quantization_config is set without peft_config: quantized weights cannot be trained. Pass a "
            "peft.LoraConfig as peft_config (with the command line: --use_peft)."
        )


def _check_target_modules(targets: Any) -> None:
    is_hit = re.fullmatch(targets, "lm_head") if isinstance(targets, str) else "lm_head" in (targets or ())
    if is_hit:
        raise ValueError(
            f"The adapter's target_modules are {targets!r} and include lm_head, whose adapter would never be trained: "
            "log-probabilities are computed from lm_head.weight itself, which with tied weights is the embeddings' as "
            "well. Leave lm_head out; 'all-linear' does."
        )
