"""Walks of a search tree of growing conversations, for measurements: drawn or sampled, as rows and as episodes."""

import itertools
from typing import Any

import torch
from throughput import NUM_WORDS

from trl_3spo.prefix_sharing.trainer import PrefixSharingTrainer
from trl_3spo.prefix_sharing.trie import trie_of

START = 60
"""Tokens of the first prompt before what the first step adds."""

Turn = tuple[list[int], list[int]]
"""What the environment said, and what the policy answered."""


def starts_of(steps: int, branches: int) -> list[int]:
    """Return at which step of the first walk each walk begins."""
    return [steps * number // branches for number in range(branches)]


def draw_walks(starts: list[int], steps: int, shown: int, answer: int, seed: int) -> list[list[Turn]]:
    """Draw a first walk and the walks that branch off from it, all tokens at random."""
    torch.manual_seed(seed)

    def drawn(size: int) -> list[int]:
        return torch.randint(4, NUM_WORDS, (size,)).tolist()

    walks: list[list[Turn]] = []
    for start in starts:
        before = walks[0][:start] if walks else []
        walks.append(before + [(drawn(shown), drawn(answer)) for _ in range(steps - start)])
    return walks


def sample_walks(trainer: Any, starts: list[int], steps: int, shown: int, _answer: int, seed: int) -> list[list[Turn]]:
    """Sample the first walk, then all that branch off from it together; answers are the policy's, the rest is drawn."""
    if isinstance(trainer, PrefixSharingTrainer):
        trainer.forget_prefixes()
    torch.manual_seed(seed)
    first = go_on(trainer, [[]], steps, shown)[0]
    others = [first[:start] for start in starts[1:]]
    return [first, *go_on(trainer, others, steps, shown)]


def go_on(trainer: Any, walks: list[list[Turn]], steps: int, shown: int) -> list[list[Turn]]:
    walks = list(walks)
    while unfinished := [i for i, walk in enumerate(walks) if len(walk) < steps]:
        said = torch.randint(4, NUM_WORDS, (len(unfinished), shown)).tolist()
        prompts = [start_of(walks[i]) + text for i, text in zip(unfinished, said, strict=True)]
        answers, _ = trainer._generate_single_turn(prompts, None, {}, 1)
        for i, text, answer in zip(unfinished, said, answers, strict=True):
            walks[i] = [*walks[i], (text, list(answer))]
    return walks


def start_of(walk: list[Turn]) -> list[int]:
    """Return the tokens of a conversation so far."""
    return [*range(4, 4 + START), *itertools.chain.from_iterable(text + answer for text, answer in walk)]


Row = tuple[list[int], list[int], list[int]]
"""Prompt, completion, and for every token of it whether it is the policy's."""


def rows_of(walks: list[list[Turn]], starts: list[int]) -> list[Row]:
    """Return a row for every step of every walk; those before a branch are the first walk's."""
    return [
        (start_of(walk[:step]) + walk[step][0], walk[step][1], [1] * len(walk[step][1]))
        for walk, start in zip(walks, starts, strict=True)
        for step in range(start, len(walk))
    ]


def episode_of(walk: list[Turn]) -> Row:
    """Return a walk as one row, as GRPOTrainer has it."""
    completion = [token for text, answer in walk for token in text + answer]
    own = [is_own for text, answer in walk for is_own in [0] * len(text) + [1] * len(answer)]
    first = len(walk[0][0])
    return start_of([]) + completion[:first], completion[first:], own[first:]


def num_distinct(rows: list[Row]) -> int:
    return len(trie_of([prompt + completion for prompt, completion, _ in rows]))
