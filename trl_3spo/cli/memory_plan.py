"""How much memory a training will take on each device, estimated from its configuration before anything is loaded.

Counted is what grows with the configuration: weights, gradients, optimizer, the activations of one backward pass, and
the keys and values of one generation. Attention without a mask is taken to keep no matrix of scores, and the head to
keep no logits, as on a GPU.
"""

import math
from dataclasses import dataclass, replace

from trl_3spo.cli.memory_setup import MemorySetup
from trl_3spo.model_shape import ModelShape

GIB = 2**30

RESERVE = 2 * GIB
"""For what is not counted: the device's context, kernels' workspaces, and what the allocator cannot use."""

BLOCK = 64
"""Weights that share one scale in bitsandbytes' four-bit formats; eight-bit ones share one in every row."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on one device.

    Args:
        weights: Weights of the policy, its adapters and its reference.
        gradients: Gradients of the trained weights.
        optimizer: AdamW's moments.
        activations: Kept for one backward pass.
        cache: Keys and values of a generation and of those kept for the next, and the logits sampled from.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    cache: float

    @property
    def peak(self) -> float:
        """The most there is at any time: activations and cache are never there together."""
        return self.weights + self.gradients + self.optimizer + max(self.activations, self.cache) + RESERVE

    def table(self) -> str:
        """Return the plan as lines of text, in GiB."""
        parts = {name: getattr(self, name) for name in ("weights", "gradients", "optimizer", "activations", "cache")}
        lines = [f"  {name:<12}{size / GIB:8.2f} GiB" for name, size in (parts | {"reserve": RESERVE}).items()]
        total = f"  {'peak':<12}{self.peak / GIB:8.2f} GiB (activations and cache are not there together)"
        return "\n".join(["Memory plan for one device, an estimate:", *lines, total])


def plan_memory(shape: ModelShape, setup: MemorySetup) -> MemoryPlan:
    """Estimate the memory of a training."""
    num_trained = _num_trained(shape, setup)
    gradients = num_trained * setup.trained_bytes / setup.gradient_shards
    has_buckets = setup.num_processes > 1 and setup.gradient_shards == 1
    return MemoryPlan(
        weights=_weights(shape, setup),
        gradients=gradients * (2 if has_buckets else 1),
        optimizer=_moments(shape, setup) / setup.optimizer_shards,
        activations=_activations(shape, setup),
        cache=_cache(shape, setup),
    )


def most_rows(shape: ModelShape, setup: MemorySetup, memory: float) -> int:
    """Return how many rows of a backward pass fit into so many bytes, generation aside; 0 where the rest does not."""
    rows = 0
    step = 1 << 12
    while step:
        if plan_memory(shape, replace(setup, num_rows=rows + step, num_generated=0)).peak <= memory:
            rows += step
        step >>= 1
    return rows


def remedies(shape: ModelShape, setup: MemorySetup, memory: float) -> list[str]:
    """Return what to change for a plan to fit into so many bytes, one sentence each; empty where it fits."""
    if plan_memory(shape, setup).peak <= memory:
        return []
    advice = [f"set {flag}" for flag, other in _alternatives(setup) if plan_memory(shape, other).peak <= memory]
    rows = min(most_rows(shape, setup, memory), setup.num_rows)
    if 0 < rows < setup.num_rows:
        advice.append(
            f"lower per_device_train_batch_size from {setup.num_rows} to {rows} and raise gradient_accumulation_steps"
        )
    if plan_memory(shape, replace(setup, num_generated=0)).peak <= memory:
        few = "lower max_completion_length, gradient_accumulation_steps or kept_prefixes_gib, for a smaller cache"
        advice.append(few)
    return advice or ["take a smaller model, or spread it over more GPUs with `trl-3spo config accelerate/fsdp2`"]


def report(shape: ModelShape, setup: MemorySetup, memory: float | None) -> str:
    """Return the plan as text, and where the device has less memory (in bytes, if known) what to change."""
    text = plan_memory(shape, setup).table()
    if memory is None:
        return text
    advice = remedies(shape, setup, memory)
    verdict = "That may not fit; one of these would help:" if advice else "That should fit."
    return "\n".join([text, f"There are {memory / GIB:.1f} GiB. {verdict}", *(f"  - {remedy}" for remedy in advice)])


def _alternatives(setup: MemorySetup) -> list[tuple[str, MemorySetup]]:
    lora = replace(setup, adapter_rank=16, has_reference=False)
    alternatives = []
    if not setup.has_checkpointing:
        alternatives.append(("gradient_checkpointing", replace(setup, has_checkpointing=True)))
    if not setup.shares_prefixes:
        alternatives.append(("prefix_sharing=auto", replace(setup, shares_prefixes=True)))
    if not setup.has_8bit_optimizer:
        alternatives.append(("optim=paged_adamw_8bit", replace(setup, has_8bit_optimizer=True)))
    if setup.adapter_rank is None:
        alternatives.append(("use_peft", lora))
    if setup.num_bits is None:
        alternatives.append(("use_peft and load_in_4bit", replace(lora, num_bits=4)))
    return alternatives


def _num_trained(shape: ModelShape, setup: MemorySetup) -> int:
    if setup.adapter_rank is None:
        return shape.num_linear + shape.num_other
    return shape.num_layers * setup.adapter_rank * sum(map(sum, shape.layer.matrices))


def _moments(shape: ModelShape, setup: MemorySetup) -> float:
    num_trained = _num_trained(shape, setup)
    if not setup.has_8bit_optimizer:
        return 2 * num_trained * setup.trained_bytes
    in_float32 = shape.vocab_size * shape.layer.hidden_size if setup.adapter_rank is None else 0  # the embedding
    return 2 * (num_trained - in_float32) + 2 * 4 * in_float32


def _weights(shape: ModelShape, setup: MemorySetup) -> float:
    plain = setup.weight_bytes
    linear = {None: plain, 8: 1.0, 4: 0.5 + 4 / BLOCK}[setup.num_bits] * shape.num_linear
    model = linear + shape.num_other * plain
    total = model * (2 if setup.has_reference else 1)
    if setup.computes_in_half and plain == 4 and setup.num_bits is None:
        total += 2 * (shape.num_linear + shape.num_other)  # autocast keeps copies in 16 bits
    if setup.adapter_rank is not None:
        total += _num_trained(shape, setup) * setup.trained_bytes
    return total / setup.weight_shards


def _activations(shape: ModelShape, setup: MemorySetup) -> float:
    num_prompts = math.ceil(setup.num_rows / setup.completions_per_prompt)
    num_computed = num_prompts if setup.shares_prefixes else setup.num_rows
    tokens = num_computed * setup.prompt_size + setup.num_rows * setup.completion_size
    tokens = min(tokens, max(setup.max_tree_tokens or tokens, setup.prompt_size + setup.completion_size))
    width, hidden, inner = setup.compute_bytes, shape.layer.hidden_size, shape.layer.intermediate_size
    # Of a layer: input and normalized input of two norms in float32, and in the forward pass's own numbers what goes
    # into the matrices and out of the norms, q, k and v before and after the rotation, and the gate's four factors.
    norms = 4 * 4 * hidden + (4 if setup.computes_in_half else 2) * width * hidden
    layer = tokens * (norms + width * (3 * shape.layer.query_size + 3 * shape.layer.key_size + 4 * inner))
    stream = tokens * setup.weight_bytes * hidden
    kept = shape.num_layers * stream + layer if setup.has_checkpointing else shape.num_layers * layer
    kept += 2 * stream  # the norm behind the last layer
    row_size = setup.prompt_size + setup.completions_per_prompt * setup.completion_size
    return kept + (num_prompts * row_size**2 * width if setup.shares_prefixes else 0)


def _cache(shape: ModelShape, setup: MemorySetup) -> float:
    tokens = setup.num_generated * (setup.prompt_size + setup.completion_size)
    logits = 3 * 4 * setup.num_generated * shape.vocab_size  # float32, their softmax, and a copy to filter
    now = tokens * shape.num_layers * 2 * shape.layer.key_size * setup.compute_bytes
    return now + setup.kept_bytes + logits
