"""Which ways of sharing prompts a model allows, and which of them pays for a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from trl_3spo.model_shape import LayerShape

RouteKind = Literal["plain", "cache", "mask"]

MIN_SAVING = 0.05
"""Share of the plain cost that a route must save to be chosen, costs being estimates."""

EXPANSION = 4
"""Inner over outer width of a layer whose configuration names no inner one, as GPT-2's does not."""


class DeviceCosts(NamedTuple):
    """What computing costs on a device besides multiplications.

    Args:
        pass_tokens: One pass through a layer reads weights and adds to their gradients: as much as so many tokens.
        pass_cost: It has to be launched: as much as so many multiplications.
        masked_attention: One multiplication in attention with a mask, in those elsewhere.
    """

    pass_tokens: int
    pass_cost: float
    masked_attention: float


CPU = DeviceCosts(pass_tokens=40, pass_cost=4e6, masked_attention=1.0)
"""From benchmarks/prefix_routes.py."""

ACCELERATOR = DeviceCosts(pass_tokens=300, pass_cost=2e10, masked_attention=3.0)
"""Not measured: from ratios of arithmetic to bandwidth, launch times, and kernels that take no mask."""


@dataclass(frozen=True)
class Route:
    """A way to compute log-probabilities, and on the mask's how many completions share a row."""

    kind: RouteKind
    completions_per_row: int = 1


@dataclass(frozen=True)
class BatchSizes:
    """Sizes of a batch.

    Args:
        completions_per_prompt: Completions of each distinct prompt.
        prompt_size: P, prompt tokens of its padded rows.
        completion_size: C, completion tokens of its padded rows.
    """

    completions_per_prompt: Sequence[int]
    prompt_size: int
    completion_size: int

    def num_rows(self, completions_per_row: int) -> int:
        """Return how many rows the prompts take."""
        return sum(-(-size // completions_per_row) for size in self.completions_per_prompt)


def is_checkpointing(model: Any) -> bool:
    """Return whether the model recomputes activations in its backward pass, as it is now."""
    return model.training and any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def why_no_cache(model: Any, *, is_checkpointing: bool) -> str | None:
    """Say why the keys and values of a prompt cannot be expanded to its completions; None where they can.

    Args:
        model: The unwrapped causal language model.
        is_checkpointing: Whether activations are recomputed when it is used.
    """
    return "activation checkpointing drops the cache" if is_checkpointing else _why_no_prefix(model)


def why_no_mask(model: Any) -> str | None:
    """Say why a prompt and all its completions cannot be one row; None where they can.

    Args:
        model: The unwrapped causal language model.
    """
    reason, config = _why_no_prefix(model), model.config
    if reason is None and config._attn_implementation != "sdpa":
        return f"attn_implementation is {config._attn_implementation!r}, and only 'sdpa' takes a mask for every row"
    if reason is None and (not getattr(config, "rope_parameters", None) or getattr(config, "alibi", False)):
        return "positions are not rotary, so they cannot restart within a row"
    return reason


def _why_no_prefix(model: Any) -> str | None:
    config = model.config
    if config.get_text_config() is not config or getattr(config, "is_encoder_decoder", False):
        return f"{config.model_type} is not a language model of decoder layers alone"
    layers = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if layers:
        return f"{', '.join(sorted(layers))} layers do not see or keep the whole prompt"
    if getattr(model, "_is_stateful", False):
        return "recurrent layers keep a state in place of keys and values"
    if getattr(config, "sliding_window", None):
        return f"a sliding window of {config.sliding_window} tokens does not see the whole prompt"
    if (getattr(config, "rope_parameters", None) or {}).get("rope_type") in ("dynamic", "longrope"):
        return "the rotary positions depend on the length of the row"
    if any(adapter.is_prompt_learning for adapter in getattr(model, "peft_config", {}).values()):
        return "prompt learning puts tokens of its own before the prompt"
    return None


def best_route(
    allowed: Sequence[RouteKind], sizes: BatchSizes, config: Any, device_type: str, min_saving: float = MIN_SAVING
) -> Route:
    """Return the cheapest way to compute a batch.

    The estimate counts multiplications of a forward pass, to which the backward pass is proportional. Attention with a
    mask is computed in full, causal attention without one in half. docs/performance.md compares it with measurements.

    Args:
        allowed: Ways besides the plain one.
        sizes: Of the batch.
        config: The model's.
        device_type: `"cpu"`, `"cuda"`, ...
        min_saving: Share of the plain way's cost below which that one is taken.
    """
    routes = [Route("cache")] if "cache" in allowed else []
    if "mask" in allowed:
        routes += [Route("mask", size) for size in range(2, max(sizes.completions_per_prompt) + 1)]
    if not routes or sizes.prompt_size < 2 or max(sizes.completions_per_prompt) == 1:
        return Route("plain")
    device = CPU if device_type == "cpu" else ACCELERATOR
    plain, *costs = [cost(route, sizes, config, device) for route in (Route("plain"), *routes)]
    return routes[costs.index(min(costs))] if min(costs) <= (1 - min_saving) * plain else Route("plain")


def cost(route: Route, sizes: BatchSizes, config: Any, device: DeviceCosts) -> float:
    """Estimate the multiplications of one layer's forward pass, and what costs as much.

    Args:
        route: The way to compute the batch.
        sizes: Of the batch.
        config: The model's.
        device: What is to compute it.
    """
    num_prompts, num_completions = len(sizes.completions_per_prompt), sum(sizes.completions_per_prompt)
    size = sizes.prompt_size + sizes.completion_size
    if route.kind == "plain":
        tokens, causal, masked, passes = num_completions * size, num_completions * size**2 / 2, 0, 1
    elif route.kind == "cache":
        tokens = num_prompts * sizes.prompt_size + num_completions * sizes.completion_size
        causal, masked, passes = (
            num_prompts * sizes.prompt_size**2 / 2,
            num_completions * sizes.completion_size * size,
            2,
        )
    else:
        num_rows = sizes.num_rows(route.completions_per_row)
        row_size = sizes.prompt_size + route.completions_per_row * sizes.completion_size
        tokens, causal, masked, passes = num_rows * row_size, 0, num_rows * row_size**2, 1
    layer = LayerShape.of(config, expansion=EXPANSION)
    attention = 2 * layer.query_size * (causal + device.masked_attention * masked)
    return (tokens + passes * device.pass_tokens) * layer.num_weights + attention + passes * device.pass_cost
