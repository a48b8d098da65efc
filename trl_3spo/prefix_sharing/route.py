"""Which ways of sharing prefixes a model allows, and which of them pays for a batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from trl_3spo.model_shape import LayerShape
from trl_3spo.prefix_sharing.tree_attention import TREE_ATTENTION

RouteKind = Literal["plain", "cache", "tree"]
"""A way to compute log-probabilities."""

MIN_SAVING = 0.05
"""Share of the plain cost that a route must save to be chosen, costs being estimates."""

EXPANSION = 4
"""Inner over outer width of a layer whose configuration names no inner one, as GPT-2's does not."""


class DeviceCosts(NamedTuple):
    """What computing costs on a device besides multiplications.

    Args:
        pass_tokens: One pass through a layer reads weights and adds to their gradients: as much as so many tokens.
        pass_cost: It has to be launched: as much as so many multiplications.
        block_cost: The same of a block of attention over a trie.
        masked_attention: One multiplication in attention with a mask, in those elsewhere.
        scores_prompts: Whether TRL's head computes positions that have no label, as it does without Triton.
    """

    pass_tokens: int
    pass_cost: float
    block_cost: float
    masked_attention: float
    scores_prompts: bool


CPU = DeviceCosts(pass_tokens=40, pass_cost=4e6, block_cost=2e6, masked_attention=1.0, scores_prompts=True)
"""From benchmarks/prefix_routes.py."""

ACCELERATOR = DeviceCosts(pass_tokens=300, pass_cost=2e10, block_cost=5e9, masked_attention=3.0, scores_prompts=False)
"""Not measured: from ratios of arithmetic to bandwidth, launch times, and kernels that take no mask."""


@dataclass(frozen=True)
class TreeSizes:
    """Sizes of a batch as a trie.

    Args:
        num_tokens: Distinct prefixes.
        num_pairs: Pairs of positions that attention computes.
        num_blocks: Blocks that it computes them in.
    """

    num_tokens: int
    num_pairs: int
    num_blocks: int


@dataclass(frozen=True)
class BatchSizes:
    """Sizes of a batch.

    Args:
        completions_per_prompt: Completions of each distinct prompt.
        prompt_size: P, prompt tokens of its padded rows.
        completion_size: C, completion tokens of its padded rows.
        tree: The same batch as a trie, where that is a way to compute it.
    """

    completions_per_prompt: Sequence[int]
    prompt_size: int
    completion_size: int
    tree: TreeSizes | None = None

    @property
    def has_repeated_prompts(self) -> bool:
        """Whether a prompt of at least two tokens has several completions."""
        return self.prompt_size > 1 and max(self.completions_per_prompt) > 1


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


def why_no_tree(model: Any) -> str | None:
    """Say why rows that begin alike cannot be computed as one trie; None where they can.

    Args:
        model: The unwrapped causal language model.
    """
    reason, config = _why_no_prefix(model), model.config
    if reason is None and config._attn_implementation not in ("sdpa", TREE_ATTENTION):
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
) -> RouteKind:
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
    is_possible = {"cache": sizes.has_repeated_prompts, "tree": sizes.tree is not None}
    device = CPU if device_type == "cpu" else ACCELERATOR
    costs = [(cost(kind, sizes, config, device), kind) for kind in allowed if is_possible.get(kind)]
    lowest, cheapest = min(costs, default=(math.inf, "plain"))
    return cheapest if lowest <= (1 - min_saving) * cost("plain", sizes, config, device) else "plain"


def cost(kind: RouteKind, sizes: BatchSizes, config: Any, device: DeviceCosts) -> float:
    """Estimate the multiplications of one layer's forward pass and its share of the head's, and what costs as much.

    Args:
        kind: The way to compute the batch.
        sizes: Of the batch.
        config: The model's.
        device: What is to compute it.
    """
    num_prompts, num_completions = len(sizes.completions_per_prompt), sum(sizes.completions_per_prompt)
    prompt, completion = sizes.prompt_size, sizes.completion_size
    masked, launches, num_scored = 0, device.pass_cost, num_completions * completion
    if kind == "tree":
        assert sizes.tree is not None, "`best_route` leaves a way out whose sizes are not known."
        tokens, causal, masked, passes = sizes.tree.num_tokens, 0.0, sizes.tree.num_pairs, 1
        launches += sizes.tree.num_blocks * device.block_cost
    elif kind == "cache":
        tokens, passes = num_prompts * prompt + num_completions * completion, 2
        causal, masked = num_prompts * prompt**2 / 2, num_completions * completion * (prompt + completion)
        launches += device.pass_cost
    else:
        tokens, passes = num_completions * (prompt + completion), 1
        causal = tokens * (prompt + completion) / 2
        num_scored = tokens if device.scores_prompts else num_scored
    layer = LayerShape.of(config, expansion=EXPANSION)
    attention = 2 * layer.query_size * (causal + device.masked_attention * masked)
    head = num_scored * config.hidden_size * config.vocab_size / config.num_hidden_layers
    return float((tokens + passes * device.pass_tokens) * layer.num_weights + attention + head + launches)
