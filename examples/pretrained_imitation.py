"""Demonstrated conversations as token sequences, so that imitation computes every token once."""

from collections.abc import Iterator, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from trl_3spo.environments.demonstrations import Step


def sequences(steps: Sequence[Step], tokenizer: PreTrainedTokenizerBase) -> Iterator[dict[str, list[int]]]:
    """Join the steps of a conversation to one sequence, as columns that `SFTTrainer` takes.

    As rows of their own, the steps would repeat the conversation before them. Where prompts are no conversations, every
    step is a sequence. The mask selects the expert's answers. One answer is left out: if a random action was taken in
    its place, the conversation goes on from that action.

    Args:
        steps: Steps of demonstrated episodes, in order.
        tokenizer: The model's, with its chat template.

    Yields:
        `input_ids` and `completion_mask`, which is 1 for tokens to learn.
    """
    prompt: list[int] = []
    answer: list[int] = []
    mask: list[int] = []
    for step in steps:
        following = _tokens(tokenizer, step["prompt"], add_generation_prompt=True)
        if prompt and following[: len(prompt)] != prompt:
            yield _sequence(prompt, answer, mask)
            mask = []
        elif prompt and following[: len(prompt) + len(answer)] == prompt + answer:
            mask += [1] * len(answer)
        mask += [0] * (len(following) - len(mask))
        prompt, answer = following, _answer(tokenizer, step, len(following))
    if prompt:
        yield _sequence(prompt, answer, mask)


def _sequence(prompt: list[int], answer: list[int], mask: list[int]) -> dict[str, list[int]]:
    return {"input_ids": prompt + answer, "completion_mask": mask + [1] * len(answer)}


def _answer(tokenizer: PreTrainedTokenizerBase, step: Step, size: int) -> list[int]:
    """Return an answer's tokens up to the one that ends it."""
    answer = _tokens(tokenizer, [*step["prompt"], *step["completion"]])[size:]
    end = tokenizer.eos_token_id
    return answer[: answer.index(end) + 1] if end in answer else answer


def _tokens(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Any], **options: bool) -> list[int]:
    return tokenizer.apply_chat_template(list(messages), return_dict=False, **options)
