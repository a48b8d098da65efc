"""What of a configuration decides how much memory a training takes."""

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MemorySetup:
    """What of a configuration decides about memory.

    Args:
        weight_bytes: Bytes of one weight as it is loaded: 4 or 2.
        num_bits: 4 or 8 where the decoder's matrices are quantized, else None.
        computes_in_half: Whether the forward pass runs in 16 bits (autocast).
        adapter_rank: Rank of LoRA on all linear layers; None for full training.
        has_reference: Whether a reference model is loaded; with adapters the same model serves.
        has_8bit_optimizer: Whether AdamW's two moments have eight bits, but for the embedding's, which transformers
            keeps in float32; else they have as many as what is trained.
        has_checkpointing: Whether activations are recomputed in the backward pass.
        shares_prefixes: Whether a prompt is computed once for its completions.
        num_rows: Rows of one backward pass.
        num_generated: Rows generated at once.
        completions_per_prompt: Completions of a prompt, at most.
        prompt_size: P, in tokens.
        completion_size: C, in tokens.
        weight_shards: Devices that the weights are spread over.
        gradient_shards: Number of shards of the gradients; 1 if every device has all (with a copy for DDP).
        optimizer_shards: Number of shards of the optimizer's moments.
        num_processes: Number of devices.
        kept_bytes: Most that is kept of prompts that may go on.
        max_tree_tokens: Most tokens that go through the model at once in training, if anything limits them.
    """

    weight_bytes: int
    num_bits: int | None
    computes_in_half: bool
    adapter_rank: int | None
    has_reference: bool
    has_8bit_optimizer: bool
    has_checkpointing: bool
    shares_prefixes: bool
    num_rows: int
    num_generated: int
    completions_per_prompt: int
    prompt_size: int
    completion_size: int
    weight_shards: int = 1
    gradient_shards: int = 1
    optimizer_shards: int = 1
    num_processes: int = 1
    kept_bytes: float = 0.0
    max_tree_tokens: int | None = None

    @classmethod
    def of(
        cls, args: Any, *, dtype: str | None, prompt_size: int, peft_config: Any, quantization_config: Any
    ) -> "MemorySetup":
        """Return what a trainer's arguments come to.

        Args:
            args: Training configuration.
            dtype: Type of the weights as they are loaded.
            prompt_size: P to expect, in tokens.
            peft_config: None for full training.
            quantization_config: None for weights as they are.
        """
        bits = [bits for bits in (4, 8) if getattr(quantization_config, f"load_in_{bits}bit", False)]
        stage = args.deepspeed_plugin.zero_stage if args.deepspeed_plugin else 0
        stage = 3 if os.environ.get("ACCELERATE_USE_FSDP") == "true" else stage
        shards = [args.world_size if stage >= least else 1 for least in (3, 2, 1)]
        return cls(
            weight_bytes=4 if dtype in (None, "float32") else 2,
            num_bits=bits[0] if bits else None,
            computes_in_half=bool(args.bf16 or args.fp16),
            adapter_rank=None if peft_config is None else peft_config.r,
            has_reference=args.beta != 0 and peft_config is None,
            has_8bit_optimizer="8bit" in args.optim,
            has_checkpointing=args.gradient_checkpointing,
            shares_prefixes=args.prefix_sharing != "off",
            num_rows=args.per_device_train_batch_size,
            num_generated=0 if args.use_vllm else args.per_device_train_batch_size * args.steps_per_generation,
            completions_per_prompt=args.largest_group,
            prompt_size=prompt_size,
            completion_size=args.max_completion_length,
            weight_shards=shards[0],
            gradient_shards=shards[1],
            optimizer_shards=shards[2],
            num_processes=args.world_size,
            kept_bytes=0.0 if args.use_vllm or args.prefix_sharing == "off" else args.kept_prefixes_gib * 2**30,
            max_tree_tokens=args.max_tree_tokens,
        )

    @property
    def trained_bytes(self) -> int:
        """Of one trained weight. Adapters are in float32, on quantized weights in bfloat16: PEFT's and TRL's choice."""
        if self.adapter_rank is None:
            return self.weight_bytes
        return 4 if self.num_bits is None else 2

    @property
    def compute_bytes(self) -> int:
        """Of one number in the forward pass."""
        return 2 if self.computes_in_half else self.weight_bytes
