"""One prompt, n completions: log-probabilities that compute every distinct prompt once, with equal gradients.

A state group is one prompt with n(s) completions. The prompt's last token stays with them, since its hidden state
predicts their first tokens. The rest of the prompt is the prefix, computed once; a completion's tail is that token and
all of the completion but its end, C tokens. Two routes lead from there to the same log-probabilities and gradients:

- cache: the prefixes go through the model and leave keys and values, which are expanded to one row for every
  completion; the tails go on from them. Two forward passes. Activation checkpointing drops the cache and rules it out.
- mask: a row is a prefix with the tails of its completions behind it. A four-dimensional mask shows every tail the
  prefix and itself, and the positions of every tail start where the prefix ends. One forward pass, no cache.
"""

import inspect
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor
from transformers import DynamicCache

IGNORED = -100
"""The label of positions that TRL's fused head leaves out."""


@dataclass(frozen=True)
class SharedPrompts:
    """Which of B rows have the same prompt.

    Args:
        first_rows: The first row of each of the U distinct prompts.
        owners: Which of the U prompts each of the B rows has.
    """

    first_rows: list[int]
    owners: list[int]

    @property
    def completions_per_prompt(self) -> list[int]:
        """Number of rows of each distinct prompt."""
        return list(Counter(self.owners).values())


def shared_prompts_of(prompt_ids: Tensor, prompt_mask: Tensor) -> SharedPrompts:
    """Find the distinct prompts among padded rows.

    Args:
        prompt_ids: (B, P) token ids.
        prompt_mask: (B, P), 0 at padding.
    """
    seen: dict[tuple[int, ...], int] = {}
    first_rows: list[int] = []
    owners = []
    for row, ids in enumerate(prompt_ids.masked_fill(prompt_mask == 0, -1).tolist()):
        owner = seen.setdefault(tuple(ids), len(seen))
        if owner == len(first_rows):
            first_rows.append(row)
        owners.append(owner)
    return SharedPrompts(first_rows, owners)


def outputs_by_cache(
    model: Any, input_ids: Tensor, attention_mask: Tensor, completion_size: int, prompts: SharedPrompts
) -> tuple[Tensor, Tensor | None]:
    """Return log-probabilities and entropies of completion tokens, as TRL's fused head gives them.

    Args:
        model: Patched by TRL's `add_fused_lm_head`.
        input_ids: (B, P + C), prompts left-padded, completions right-padded, P ≥ 2.
        attention_mask: (B, P + C), 0 at padding.
        completion_size: C.
        prompts: Which of the B rows share one.

    Returns:
        Two (B, C) tensors, 0 at padding; the second is None where the head gives no entropies.
    """
    prompt_size = input_ids.size(1) - completion_size
    prompt_ids, prompt_mask = input_ids[:, :prompt_size], attention_mask[:, :prompt_size]
    cache = prefill(model, prompt_ids[prompts.first_rows, :-1], prompt_mask[prompts.first_rows, :-1])
    cache.batch_select_indices(torch.tensor(prompts.owners, device=input_ids.device))
    tails, labels = _tails(input_ids, attention_mask, completion_size)
    outputs = model(
        input_ids=tails,
        attention_mask=attention_mask[:, :-1],
        shift_labels=labels,
        fused_lm_head=True,
        **as_argument(cache, model),
    )
    return outputs.log_probs, outputs.entropy


def outputs_by_mask(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    completion_size: int,
    prompts: SharedPrompts,
    completions_per_row: int,
) -> tuple[Tensor, Tensor | None]:
    """Return the same as `outputs_by_cache` from one forward pass over R ≥ U rows of P − 1 + K · C tokens.

    Args:
        model: As there, its attention being SDPA and its positions rotary.
        input_ids: As there.
        attention_mask: As there.
        completion_size: C.
        prompts: Which of the B rows share one.
        completions_per_row: K ≥ 1. A prompt of more completions takes several rows, so that prompts of few beside one
            of many cost little padding, and attention does not grow with the square of many.
    """
    prompt_size = input_ids.size(1) - completion_size
    prompt_ids, prompt_mask = input_ids[:, :prompt_size], attention_mask[:, :prompt_size]
    row_prompts, rows, slots = _arranged(prompts, completions_per_row)
    shape = len(row_prompts), completions_per_row, completion_size
    prefix_ids, prefix_mask = prompt_ids[row_prompts, :-1], prompt_mask[row_prompts, :-1]

    def placed(values: Tensor, fill: int) -> Tensor:
        blocks = values.new_full(shape, fill)
        blocks[rows, slots] = values
        return blocks.flatten(1)

    def cut_prefixes(_module: Any, _args: Any, outputs: Any) -> Any:
        outputs.last_hidden_state = outputs.last_hidden_state[:, prompt_size - 1 :]
        return outputs

    tails, labels = _tails(input_ids, attention_mask, completion_size)
    # Without Triton TRL's head computes every position it is given, labelled or not.
    with extract_model_from_parallel(model).get_decoder().register_forward_hook(cut_prefixes):
        outputs = model(
            input_ids=torch.cat([prefix_ids, placed(tails, 0)], dim=1),
            attention_mask=_visible(prefix_mask, completions_per_row, completion_size),
            position_ids=_positions(prefix_ids, completions_per_row, completion_size),
            shift_labels=placed(labels, IGNORED),
            fused_lm_head=True,
        )

    def of_tails(values: Tensor) -> Tensor:
        return values.view(shape)[rows, slots]

    return of_tails(outputs.log_probs), None if outputs.entropy is None else of_tails(outputs.entropy)


def _tails(input_ids: Tensor, attention_mask: Tensor, completion_size: int) -> tuple[Tensor, Tensor]:
    """Return (B, C) tokens before each completion token, and those completion tokens as labels."""
    labels = input_ids.masked_fill(attention_mask == 0, IGNORED)
    return input_ids[:, -completion_size - 1 : -1], labels[:, -completion_size:]


def _arranged(prompts: SharedPrompts, completions_per_row: int) -> tuple[list[int], list[int], list[int]]:
    """Return for each new row the old row of its prompt, and for each completion its new row and place in it."""
    row_prompts: list[int] = []
    rows, slots = [], []
    places: dict[int, tuple[int, int]] = {}
    for owner in prompts.owners:
        row, slot = places.get(owner, (0, completions_per_row))
        if slot == completions_per_row:
            row, slot = len(row_prompts), 0
            row_prompts.append(prompts.first_rows[owner])
        places[owner] = row, slot + 1
        rows.append(row)
        slots.append(slot)
    return row_prompts, rows, slots


def _visible(prefix_mask: Tensor, num_tails: int, tail_size: int) -> Tensor:
    """Return (R, 1, S, S), true where the token of the third axis sees that of the fourth."""
    device = prefix_mask.device
    tails = torch.arange(1, num_tails + 1, device=device).repeat_interleave(tail_size)
    segments = torch.cat([tails.new_zeros(prefix_mask.size(1)), tails])
    is_shared = segments == 0
    visible = (is_shared | (segments == segments[:, None])).tril().repeat(len(prefix_mask), 1, 1)
    visible[:, :, : prefix_mask.size(1)] &= prefix_mask.bool()[:, None]
    visible.diagonal(dim1=1, dim2=2).fill_(True)  # padding sees itself: a softmax over nothing is not a number
    return visible[:, None]


def _positions(prefix_ids: Tensor, num_tails: int, tail_size: int) -> Tensor:
    """Return (R, S) positions, counted from the first token of the padded row, as the model itself does."""
    prefix = torch.arange(prefix_ids.size(1), device=prefix_ids.device)
    tail = torch.arange(tail_size, device=prefix_ids.device) + len(prefix)
    return torch.cat([prefix, tail.repeat(num_tails)]).expand(len(prefix_ids), -1)


def prefill(model: Any, prefix_ids: Tensor, prefix_mask: Tensor, position_ids: Tensor | None = None) -> DynamicCache:
    """Return the keys and values of U prefixes.

    Args:
        model: The causal language model, possibly wrapped.
        prefix_ids: (U, P − 1) distinct prompts without their last token, left-padded, P ≥ 2.
        prefix_mask: (U, P − 1).
        position_ids: (U, P − 1) where they are not simply 0 to P − 2 in every row. They must be continued by those
            that the completions will have.
    """
    cache = DynamicCache()
    model(
        input_ids=prefix_ids,
        attention_mask=prefix_mask,
        position_ids=position_ids,
        use_cache=True,
        logits_to_keep=1,
        **as_argument(cache, model),
    )
    return cache


def as_argument(cache: DynamicCache, model: Any) -> dict[str, DynamicCache]:
    """Return a cache under the name by which a model takes it: transformers 5.24 renamed `past_key_values` to `cache`.

    Args:
        cache: To pass on.
        model: The causal language model, possibly wrapped.
    """
    parameters = inspect.signature(extract_model_from_parallel(model).get_decoder().forward).parameters
    return {"cache" if "cache" in parameters else "past_key_values": cache}
