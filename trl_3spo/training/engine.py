"""Sampling with vLLM: its requirements, checked before a model is loaded, and the data type of its weights."""

import functools
import importlib.metadata
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from packaging.requirements import Requirement
from packaging.version import Version
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel
from trl.generation import vllm_generation
from trl.import_utils import is_vllm_available
from trl.models.utils import disable_gradient_checkpointing

from trl_3spo.reliability.ranks import gather
from trl_3spo.training.agent_config import AgentConfig

if TYPE_CHECKING:
    from trl_3spo.training.agent_trainer import AgentTrainer

logger = logging.getLogger(__name__)

TRANSFER_DEVICES = ("cuda",)
"""Devices from which TRL can send weights to a server. TRL sends them only by NCCL."""


def check_engine(model: Any, args: AgentConfig) -> None:
    """Check that vLLM can sample for a trainer, and warn if it would round the weights.

    Args:
        model: Name, path or model.
        args: Configuration with `use_vllm`.

    Raises:
        ImportError: vLLM is not installed, or not in a version that TRL admits.
        ValueError: The model or the device does not suit vLLM.
        OSError: There is no such model.
    """
    if not is_vllm_available():
        raise ImportError(
            "use_vllm is True and vLLM is not installed. Install it with `pip install trl[vllm]`, or set "
            "use_vllm=False to generate with transformers."
        )
    _check_version()
    if args.vllm_mode == "server" and args.device.type not in TRANSFER_DEVICES:
        raise ValueError(
            f"vllm_mode is 'server' and training is on {args.device.type!r}: TRL hands weights over to a server by "
            "NCCL, which needs a CUDA device. Set vllm_mode='colocate', or train on a GPU."
        )
    if args.vllm_enable_sleep_mode and args.device.type == "cpu":
        raise ValueError(
            "vllm_enable_sleep_mode is on and training is on a CPU, where vLLM has no sleep mode. Leave it out."
        )
    if isinstance(model, PreTrainedModel) and not model.name_or_path:
        raise ValueError(
            "use_vllm is True and the model was made in memory: vLLM loads a model itself, from a folder or the Hub. "
            "Save it and its tokenizer by save_pretrained, and pass the folder."
        )
    _say_what_is_rounded(model, args)
    if args.vllm_mode == "colocate":
        _check_heads(model, args)


def is_collective(trainer: "AgentTrainer[Any]") -> bool:
    """Return whether all ranks must take part in a call of vLLM: one engine for all, or sharded weights."""
    return is_for_all(trainer) or trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled


def is_for_all(trainer: "AgentTrainer[Any]") -> bool:
    """Return whether several ranks share an engine. TRL then gives it equally many prompts from each rank."""
    return bool(trainer.args.vllm_mode == "server" or trainer.args.vllm_tensor_parallel_size > 1)


@contextmanager
def engine_dtype(args: Any) -> Iterator[None]:
    """Set the data type of an engine that TRL makes inside to `args.vllm_dtype`; TRL has no option for it."""
    if not args.use_vllm or args.vllm_mode != "colocate" or args.vllm_dtype == "auto":
        yield
        return
    usual = vllm_generation.LLM
    vllm_generation.LLM = functools.partial(usual, dtype=args.vllm_dtype)
    try:
        yield
    finally:
        vllm_generation.LLM = usual


def log_consistency(trainer: "AgentTrainer[Any]", batch: dict[str, Any]) -> None:
    """Log the difference of vLLM's log-probabilities from the trainer's under TRL's names; a collective.

    TRL itself logs it only with `vllm_importance_sampling_correction`. Without it, one more forward pass is needed.

    Args:
        trainer: Trainer with the weights that sampled.
        batch: GRPOTrainer's batch.
    """
    sampled = batch.get("sampling_per_token_logps")
    if sampled is None or trainer.vllm_importance_sampling_correction:
        return
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    with torch.no_grad(), disable_gradient_checkpointing(trainer.model, trainer.args.gradient_checkpointing_kwargs):
        logps, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, sampled.size(1), trainer.args.per_device_train_batch_size
        )
    is_real = (batch["completion_mask"] * batch.get("tool_mask", 1)).bool() & ~sampled.isnan()
    total, largest, count = zip(*gather(_sums((logps - sampled).abs()[is_real])), strict=True)
    metrics = trainer._metrics["train"]
    metrics["sampling/sampling_logp_difference/mean"].append(sum(total) / max(sum(count), 1))
    metrics["sampling/sampling_logp_difference/max"].append(max(largest))


def _sums(values: Tensor) -> tuple[float, float, int]:
    """Return the sum, the maximum and the number of values."""
    return (float(values.sum()), float(values.max()), values.numel()) if values.numel() else (0.0, 0.0, 0)


def _check_version() -> None:
    installed = next(map(importlib.metadata.version, importlib.metadata.packages_distributions().get("vllm", ())), None)
    [admitted] = {x.specifier for x in map(Requirement, importlib.metadata.requires("trl") or ()) if x.name == "vllm"}
    # The build tag, as in 0.31.0+cpu, is not compared.
    if installed is not None and not admitted.contains(Version(installed).base_version):
        raise ImportError(
            f"vLLM {installed} is installed, and TRL {importlib.metadata.version('trl')} admits {admitted}: it reaches "
            "into vLLM to hand over weights. Install one of these with `pip install trl[vllm]`, or set use_vllm=False."
        )


def _check_heads(model: Any, args: AgentConfig) -> None:
    if args.device.type != "cpu":
        return  # GPUs have kernels for any size
    try:
        from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend
    except ImportError:
        return  # another version of vLLM, which reports unsupported sizes itself

    config = _text_config(model, args)
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    sizes = CPUAttentionBackend.get_supported_head_sizes()
    if size not in sizes:
        raise ValueError(
            f"The model's attention heads have size {size}; vLLM on a CPU has kernels for {sizes}. Use a model with "
            "heads of such a size, or set use_vllm=False."
        )


def _say_what_is_rounded(model: Any, args: AgentConfig) -> None:
    trained = model.dtype if isinstance(model, PreTrainedModel) else (args.model_init_kwargs or {}).get("dtype")
    is_float32 = trained in (None, "float32", torch.float32)  # TRL loads float32 unless told otherwise
    if is_float32 and args.vllm_dtype != "float32" and args.vllm_mode == "colocate" and args.process_index == 0:
        logger.warning(
            "The weights are trained in float32, and vLLM samples from a copy of 16 bits (vllm_dtype is %r). The "
            "importance ratio corrects for it, evaluations are of the copy, and vllm_dtype='float32' keeps all bits.",
            args.vllm_dtype,
        )


def _text_config(model: Any, args: AgentConfig) -> Any:
    if isinstance(model, PreTrainedModel):
        return model.config.get_text_config()
    kwargs = {
        name: x for name, x in (args.model_init_kwargs or {}).items() if name in ("revision", "trust_remote_code")
    }
    return AutoConfig.from_pretrained(model, **kwargs).get_text_config()
