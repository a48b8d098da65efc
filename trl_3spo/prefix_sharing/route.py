"""Choice of the method of prefix sharing: which ones a model allows, and which is cheapest for a batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from trl_3spo.model_shape import LayerShape
from trl_3spo.prefix_sharing.tree_attention import TREE_ATTENTION

RouteKind = Literal["plain", "cache", "tree"]
"""Method to compute log-probabilities."""

MIN_SAVING = 0.05
"""Share of the plain cost that a method must save to be chosen; costs are estimates."""

EXPANSION = 4
"""Ratio of inner to outer width of a layer, if the configuration has no inner width (GPT-2)."""


class DeviceCosts(NamedTuple):
    """Costs of a device besides multiplications.

    Args:
        pass_tokens: Cost of reading a layer's weights and adding to their gradients in one pass, in tokens.
        pass_cost: Cost of launching a pass, in multiplications.
        block_cost: Cost of launching a block of attention over a trie, in multiplications.
        masked_attention: Cost of one multiplication in masked attention, in multiplications elsewhere.
        scores_prompts: Whether TRL's head also computes positions without a label, as it does without Triton.
    """

    pass_tokens: int
    pass_cost: float
    block_cost: float
    masked_attention: float
    scores_prompts: bool


CPU = DeviceCosts(pass_tokens=40, pass_cost=4e6, block_cost=2e6, masked_attention=1.0, scores_prompts=True)
"""Costs measured by benchmarks/prefix_routes.py."""

ACCELERATOR = DeviceCosts(pass_tokens=300, pass_cost=2e10, block_cost=5e9, masked_attention=3.0, scores_prompts=False)
"""Costs that are not measured: guessed from arithmetic and bandwidth, launch times, and kernels without masks."""


@dataclass(frozen=True)
class TreeSizes:
    """Sizes of a batch as a trie.

    Args:
        num_tokens: Number of distinct prefixes.
        num_pairs: Number of pairs of positions in attention.
        num_blocks: Number of attention blocks.
    """

    num_tokens: int
    num_pairs: int
    num_blocks: int


@dataclass(frozen=True)
class BatchSizes:
    """Sizes of a batch.

    Args:
        completions_per_prompt: Number of completions of each distinct prompt.
        prompt_size: Number P of prompt tokens in a padded row.
        completion_size: Number C of completion tokens in a padded row.
        tree: Sizes of the batch as a trie, if the tree is possible.
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
    """Return whether the model currently recomputes activations in its backward pass."""
    return model.training and any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def why_no_cache(model: Any, *, is_checkpointing: bool) -> str | None:
    """Return why a prompt's keys and values cannot be expanded to its completions; None if they can.

    Args:
        model: Unwrapped causal language model.
        is_checkpointing: Whether activations will be recomputed.
    """
    return "activation checkpointing drops the cache" if is_checkpointing else _why_no_prefix(model)


def why_no_tree(model: Any) -> str | None:
    """Return why rows with a common beginning cannot be computed as one trie; None if they can.

    Args:
        model: Unwrapped causal language model.
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
    """Return the cheapest method to compute a batch.

    The estimate counts multiplications of a forward pass; the backward pass is proportional. Attention with a mask is
    computed in full, causal attention without a mask by half. docs/performance.md compares it with measurements.

    Args:
        allowed: Methods besides the plain one.
        sizes: Sizes of the batch.
        config: Configuration of the model.
        device_type: Device type, such as `"cpu"` or `"cuda"`.
        min_saving: Smallest saving, as a share of the plain cost, for which a method is chosen.
    """
    is_possible = {"cache": sizes.has_repeated_prompts, "tree": sizes.tree is not None}
    device = CPU if device_type == "cpu" else ACCELERATOR
    costs = [(cost(kind, sizes, config, device), kind) for kind in allowed if is_possible.get(kind)]
    lowest, cheapest = min(costs, default=(math.inf, "plain"))
    return cheapest if lowest <= (1 - min_saving) * cost("plain", sizes, config, device) else "plain"


def cost(kind: RouteKind, sizes: BatchSizes, config: Any, device: DeviceCosts) -> float:
    """Estimate the cost of one layer's forward pass and its share of the head, in multiplications.

    Args:
        kind: Method to compute the batch.
        sizes: Sizes of the batch.
        config: Configuration of the model.
        device: Costs of the device.
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
