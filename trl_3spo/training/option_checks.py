"""Options of GRPOConfig that do not work here: errors, or warnings at the start."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from typing import Any

from trl import GRPOConfig

from trl_3spo.algorithm.base import Row
from trl_3spo.training.grpo_options import (
    NO_MEANING,
    NOT_WARNED_OF,
    REFUSED,
    REFUSED_IN_GENERATION,
    TRUNCATING,
    WARNED_IN_GENERATION,
)

logger = logging.getLogger(__name__)

_TABLE = "docs/options.md lists the effect of each option."


def refuse_options(args: GRPOConfig) -> None:
    """Check that no option is set that cannot work here.

    Raises:
        ValueError: An option cannot work; the error has its value, the reason and the remedy.
    """
    for name, rule in REFUSED.items():
        value = getattr(args, name)
        if value not in rule.neutral:
            raise ValueError(f"{name} is {value!r}, which is refused. {rule.reason} Leave it out. {_TABLE}")
    if args.metric_for_best_model in ("loss", "eval_loss"):
        raise ValueError(
            "metric_for_best_model is 'loss', and evaluations have none. Set it to one of their metrics, such as "
            "metric_for_best_model='success_rate'."
        )
    if args.fp16 and args.device.type == "cpu":
        raise ValueError(
            "fp16 is on and training is on a CPU, where it would do nothing. Leave it out; bf16=False computes in "
            "float32."
        )
    _refuse_generation(args)


def _refuse_generation(args: GRPOConfig) -> None:
    kwargs = args.generation_kwargs or {}
    refused = {name: x for name, x in kwargs.items() if x not in REFUSED_IN_GENERATION.get(name, (x,))}
    temperature = kwargs.get("temperature", args.temperature)
    if temperature != args.temperature:
        refused["temperature"] = temperature
    if refused:
        raise ValueError(
            f"generation_kwargs has {', '.join(f'{name}={value!r}' for name, value in refused.items())}: samples would "
            "be of another distribution than the one that the importance ratio compares with. Leave it out; the option "
            f"temperature ({args.temperature}) is kept by both. {_TABLE}"
        )


def warn_of_options(args: GRPOConfig) -> None:
    """Warn of options that have no effect here, or that change the sampling distribution unknown to the loss."""
    if args.process_index == 0:
        for remark in remarks_on(args):
            logger.warning("%s %s", remark, _TABLE)


def remarks_on(args: GRPOConfig) -> Iterator[str]:
    """Yield one sentence per option that needs a warning."""
    defaults = {field.name: _default(field) for field in fields(GRPOConfig)}  # older versions have fewer
    for name, reason in NO_MEANING.items():
        if name in defaults and name not in NOT_WARNED_OF and (value := getattr(args, name)) != defaults[name]:
            yield f"{name} is {value!r} and has no meaning here. {reason}"
    for name, rule in TRUNCATING.items():
        value = getattr(args, name)
        if value not in rule.neutral:
            yield f"{name} is {value!r}. {rule.reason}"
    for name, value in (args.generation_kwargs or {}).items():
        if value not in WARNED_IN_GENERATION.get(name, (value,)):
            yield f"generation_kwargs has {name}={value!r}. {TRUNCATING['top_k'].reason}"


def warn_of_masked(args: GRPOConfig, batch: dict[str, Any], rows: Sequence[Row]) -> None:
    """Warn if `mask_truncated_completions` has left nothing of a batch to train on.

    Args:
        args: Configuration.
        batch: GRPOTrainer's batch of the rows.
        rows: This rank's rows.
    """
    has_rows = any(not row.is_padding for row in rows)
    if args.mask_truncated_completions and has_rows and batch["num_items_in_batch"] == 0:
        logger.warning(
            "mask_truncated_completions is on and every completion of this batch was cut off after %s tokens, so there "
            "is nothing to train on in this step. Raise max_completion_length, or switch the option off.",
            args.max_completion_length,
        )


def _default(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
