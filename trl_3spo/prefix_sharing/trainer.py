"""[`PrefixSharingTrainer`]: GRPOTrainer that computes every distinct prefix of a batch once."""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig
from trl import GRPOTrainer
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import split_tensor_dict

from trl_3spo.prefix_sharing.generation import can_generate_shared, generate_shared
from trl_3spo.prefix_sharing.kept_prefixes import KeptPrefixes, mark_of
from trl_3spo.prefix_sharing.log_probs import (
    outputs_by_cache,
    outputs_by_tree,
    outputs_by_trees,
    packed_rows,
    shared_prompts_of,
    token_rows,
)
from trl_3spo.prefix_sharing.route import (
    MIN_SAVING,
    BatchSizes,
    RouteKind,
    TreeSizes,
    best_route,
    is_checkpointing,
    why_no_cache,
    why_no_tree,
)
from trl_3spo.prefix_sharing.trie import sorted_by_prefix

logger = logging.getLogger(__name__)

Outputs = tuple[Tensor, Tensor | None, Tensor | None]
Batch = dict[str, Any]


class PrefixSharingTrainer(GRPOTrainer):
    """
    A [`~trl.GRPOTrainer`] that computes every distinct prefix of a batch once.

    This covers log-probabilities of the policy, the old policy and the reference model, gradients, and generation.
    `args.prefix_sharing` chooses the method, see [`PrefixSharingConfig`]. Overridden hooks: `_generate_single_turn`,
    `_get_per_token_logps_and_entropies`, and `_prepare_inputs`. With gradient accumulation, the last one keeps rows
    with the same beginning together.
    """

    # GRPOTrainer's attributes; its package is untyped.
    generation_config: GenerationConfig
    generation_kwargs: dict[str, Any]
    _buffered_inputs: list[Batch] | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        size = int(self.args.kept_prefixes_gib * 2**30)
        self.kept_prefixes = KeptPrefixes(size) if size and self.args.prefix_sharing != "off" else None
        obstacles = self._obstacles(self.model, is_checkpointing=self.args.gradient_checkpointing)
        if obstacles and all(obstacles.values()):
            logger.warning(
                "prefix_sharing is %r, but in training every completion computes its prompt anew: %s.",
                self.args.prefix_sharing,
                "; ".join(f"no {kind}, because {reason}" for kind, reason in obstacles.items()),
            )

    def _obstacles(self, model: Any, *, is_checkpointing: bool) -> dict[RouteKind, str | None]:
        """Return for each wanted method the reason why it is impossible, or None."""
        if self.args.prefix_sharing == "off":
            return {}
        unwrapped = self.accelerator.unwrap_model(model)
        is_parallel = self.accelerator.num_processes > 1 or unwrapped is not model
        obstacles: dict[RouteKind, str | None] = {
            "cache": "a model in parallel expects one forward pass before each backward pass"
            if is_parallel
            else why_no_cache(unwrapped, is_checkpointing=is_checkpointing),
            "tree": why_no_tree(unwrapped),
        }
        return {kind: x for kind, x in obstacles.items() if self.args.prefix_sharing in ("auto", kind)}

    def _route(self, ways: Sequence[RouteKind], sizes: BatchSizes) -> RouteKind:
        min_saving = MIN_SAVING if self.args.prefix_sharing == "auto" else -math.inf
        config = self.accelerator.unwrap_model(self.model).config
        return best_route(ways, sizes, config, self.accelerator.device.type, min_saving)

    # -- generation ----------------------------------------------------------------------------------------------------

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: Any, multimodal_fields: dict[str, Any], *args: Any, **kwargs: Any
    ) -> tuple[list[list[int]], Any]:
        is_text = images is None and not multimodal_fields
        if is_text and self._can_share_generation() and self._pays_to_share(prompt_ids):
            with (
                unwrap_model_for_generation(
                    self.model_wrapped,
                    self.accelerator,
                    generation_kwargs=self.generation_kwargs,
                    gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
                ) as model,
                torch.no_grad(),
            ):
                kept = self._kept_prefixes_for(model)
                return generate_shared(model, prompt_ids, self.generation_config, kept=kept), None
        plain: tuple[list[list[int]], Any] = super()._generate_single_turn(
            prompt_ids, images, multimodal_fields, *args, **kwargs
        )
        return plain

    def _kept_prefixes_for(self, model: Any) -> KeptPrefixes | None:
        """Return the kept prefixes for the current weights, if they have been of use so far."""
        if self.kept_prefixes is None:
            return None
        self.kept_prefixes.drop_if_changed(mark_of(model, self.state.global_step))
        return self.kept_prefixes if self.kept_prefixes.is_worth_it else None

    def forget_prefixes(self) -> None:
        """Drop the kept prefixes. Later results then do not depend on what was generated before."""
        if self.kept_prefixes is not None:
            self.kept_prefixes.clear()

    def _pays_to_share(self, prompt_ids: list[list[int]]) -> bool:
        prompt_size = max(map(len, prompt_ids))
        if self.kept_prefixes is not None and self.kept_prefixes.is_worth_it:
            return prompt_size > 1
        # With sharing, each completion still computes the prompt's last token: as much as a completion of one token.
        sizes = BatchSizes(list(Counter(map(tuple, prompt_ids)).values()), prompt_size, 1)
        return self._route(["cache"], sizes) == "cache"

    def _can_share_generation(self) -> bool:
        # Engines have their own prompt caches; sharded parameters must be gathered equally often on all ranks.
        is_engine = self.use_vllm or self.use_transformers_continuous_batching
        if self.args.prefix_sharing == "off" or is_engine or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return False
        return can_generate_shared(self.accelerator.unwrap_model(self.model), self.generation_config)

    # -- log-probabilities ---------------------------------------------------------------------------------------------

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **kwargs: Any,
    ) -> Outputs:
        is_text = kwargs.get("pixel_values") is None and not kwargs.get("compute_aux_loss")
        obstacles = self._obstacles(model, is_checkpointing=is_checkpointing(model)) if is_text else {}
        ways = [kind for kind, obstacle in obstacles.items() if obstacle is None]
        if ways and batch_size is not None and batch_size < len(input_ids):
            chunks = zip(torch.split(input_ids, batch_size), torch.split(attention_mask, batch_size), strict=True)
            outputs = [
                self._get_per_token_logps_and_entropies(model, *x, logits_to_keep, compute_entropy=compute_entropy)
                for x in chunks
            ]
            return _concatenated(outputs)
        prompt_size = input_ids.size(1) - logits_to_keep
        prompts = shared_prompts_of(input_ids[:, :prompt_size], attention_mask[:, :prompt_size])
        packed = packed_rows(input_ids, attention_mask, logits_to_keep) if "tree" in ways else None
        uses_flex = self._uses_flex_attention(model)
        tree = None if packed is None else TreeSizes(*(packed.flex_sizes if uses_flex else packed.sizes))
        limit = self.args.max_tree_tokens
        is_too_large = limit is not None and packed is not None and len(packed.trie) > limit
        sizes = BatchSizes(prompts.completions_per_prompt, prompt_size, logits_to_keep, tree)
        kind = "tree" if is_too_large else self._route(ways, sizes)
        if kind == "plain":
            plain: Outputs = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **kwargs
            )
            return plain
        with self.accelerator.autocast():
            if kind == "cache":
                logps, entropies = outputs_by_cache(model, input_ids, attention_mask, logits_to_keep, prompts)
            elif is_too_large:
                logps, entropies = outputs_by_trees(
                    model, input_ids, attention_mask, logits_to_keep, limit, uses_flex=uses_flex
                )
            else:
                logps, entropies = outputs_by_tree(
                    model, input_ids, attention_mask, logits_to_keep, packed, uses_flex=uses_flex
                )
        return logps, entropies if compute_entropy else None, None

    def _uses_flex_attention(self, model: Any) -> bool:
        # It knows no dropout.
        dropout = getattr(self.accelerator.unwrap_model(model).config, "attention_dropout", 0.0)
        return self.args.tree_attention == "flex" and not (model.training and dropout)

    # -- gradient accumulation -----------------------------------------------------------------------------------------

    def _prepare_inputs(self, generation_batch: Any) -> Batch:
        buffered = self._buffered_inputs
        inputs: Batch = super()._prepare_inputs(generation_batch)
        if self._buffered_inputs is None or self._buffered_inputs is buffered or self.args.prefix_sharing == "off":
            return inputs
        size = self.args.gradient_accumulation_steps
        windows = [self._buffered_inputs[i : i + size] for i in range(0, len(self._buffered_inputs), size)]
        self._buffered_inputs = [batch for window in windows for batch in _regrouped(window)]
        return self._buffered_inputs[int(self._step) % len(self._buffered_inputs)]


def _concatenated(outputs: list[Outputs]) -> Outputs:
    logps, entropies, _ = zip(*outputs, strict=True)
    return torch.cat(logps), None if entropies[0] is None else torch.cat(entropies), None


def _regrouped(batches: list[Batch]) -> list[Batch]:
    """Exchange rows among the batches of one optimizer step, so that rows with the same beginning come together.

    GRPOTrainer shuffles them. Batches with entries other than tensors of rows, numbers and None are unchanged.
    """
    first = batches[0]
    is_text = all(value is None or isinstance(value, Tensor) for value in first.values())
    if len(batches) == 1 or not is_text:
        return batches
    whole = {
        name: value if value is None or value.ndim == 0 else torch.cat([batch[name] for batch in batches])
        for name, value in first.items()
    }
    prompts = token_rows(whole["prompt_ids"], whole["prompt_mask"])
    order = torch.tensor(sorted_by_prefix(prompts), device=whole["prompt_ids"].device)
    rows = {name: value if value is None or value.ndim == 0 else value[order] for name, value in whole.items()}
    return list(split_tensor_dict(rows, len(batches)))
