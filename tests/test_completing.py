"""What completes prompts in an evaluation computes conversations once, and answers as it would otherwise."""

import random

import psutil
import pytest
import torch

from training import WordsEnv, tokenizer_for, untrained
from trl_3spo.evaluation.completing import Network, free_bytes
from trl_3spo.evaluation.policy_settings import PolicySettings

NUM_TURNS, NUM_NEW = 5, 40


def converse(network, num_conversations=3):
    """Return the answers of some conversations that grow by 40 random tokens a turn, and the tokens computed."""
    rng, computed = random.Random(0), 0

    def count(module, args, kwargs):
        nonlocal computed
        computed += kwargs["input_ids"].numel()

    counting = network._network.register_forward_pre_hook(count, with_kwargs=True)
    torch.manual_seed(0)
    prompts, answers = [[] for _ in range(num_conversations)], []
    for _ in range(NUM_TURNS):
        prompts = [[*prompt, *(rng.randrange(7, 20) for _ in range(NUM_NEW))] for prompt in prompts]
        answers.append(network.complete(prompts))
        prompts = [[*prompt, *answer] for prompt, answer in zip(prompts, answers[-1], strict=True)]
    counting.remove()
    return answers, computed, sum(map(len, prompts))


def network_of(temperature):
    tokenizer = tokenizer_for(WordsEnv())
    settings = PolicySettings(eval_temperature=temperature, max_completion_length=6)
    return Network(untrained(tokenizer), tokenizer, settings)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_conversation_is_computed_once_and_answered_as_if_it_were_not(temperature):
    sharing, plain = network_of(temperature), network_of(temperature)
    plain._kept = None
    answers, computed, num_tokens = converse(sharing)
    expected, computed_plainly, _ = converse(plain)
    assert answers == expected
    assert computed < 1.2 * num_tokens  # an answer of fewer tokens waits for the longest one
    assert computed_plainly > 2 * num_tokens


def test_prompts_that_share_nothing_are_soon_computed_plainly():
    network, rng = network_of(1.0), random.Random(0)
    while network._kept.num_asked < 20_000:
        network.complete([[rng.randrange(7, 20) for _ in range(500)] for _ in range(8)])
    assert not network._kept.is_worth_it
    num_kept = len(network._kept)
    network.complete([[rng.randrange(7, 20) for _ in range(500)]])
    assert len(network._kept) == num_kept


def test_a_quarter_of_the_free_memory_keeps_conversations():
    free = free_bytes(torch.device("cpu"))
    assert 2**20 < free < psutil.virtual_memory().total
    kept = network_of(1.0)._kept
    assert kept._max_bytes == pytest.approx(free / 4, rel=0.2)  # other processes take and give in between
