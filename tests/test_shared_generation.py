"""Generation that shares prompts samples what the plain one does."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationConfig

from prefix_models import MODELS
from trl_3spo.prefix_sharing import generation
from trl_3spo.prefix_sharing.generation import generate_shared
from trl_3spo.prefix_sharing.kept_prefixes import KeptPrefixes, mark_of

PROMPTS = [[5, 6, 7, 8], [9, 10], [5, 6, 7, 8], [11, 12, 13, 14, 15, 16], [5, 6, 7, 8], [3]]


@pytest.mark.parametrize("name", ["qwen2", "llama", "gemma", "gpt2"])
@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_samples_equal_the_plain_ones(name, do_sample, attention):
    torch.manual_seed(0)
    model = MODELS[name](attn_implementation=attention).eval()
    config = GenerationConfig(max_new_tokens=8, do_sample=do_sample, top_k=0, pad_token_id=0, eos_token_id=[1, 4])
    torch.manual_seed(3)
    with torch.no_grad():
        shared = generate_shared(model, PROMPTS, config)
    torch.manual_seed(3)
    assert shared == plain_samples(model, PROMPTS, config)


def plain_samples(model, prompts, config):
    size = max(map(len, prompts))
    ids = torch.tensor([[0] * (size - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (size - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    samples = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)[:, size:].tolist()
    return [row[: until_end(row)] for row in samples]


def until_end(row):
    return next((i + 1 for i, token in enumerate(row) if token in (1, 4)), len(row))


def walk_a_tree(model, config, kept):
    """Sample conversations of several turns, with branches; return every completion."""
    rng = random.Random(5)
    heads, found = [[5, 6, 7], [9], [5, 6, 8, 3]], []
    for turn in range(6):
        prompts = [head + [rng.randrange(3, 60) for _ in range(rng.randint(1, 4))] for head in heads]
        prompts += [prompts[0]] * (turn % 3)  # samples of one state
        torch.manual_seed(turn)
        if kept is None:
            completions = plain_samples(model, prompts, config)
        else:
            completions = generate_shared(model, prompts, config, kept=kept)
        found.append(completions)
        heads = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)][:4]
        heads += [prompts[1]]  # a branch: it goes back to before the answer
    return found


@pytest.mark.parametrize("name", ["qwen2", "llama", "gemma", "gpt2"])
@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize(("room", "min_saved"), [(2**30, 512), (2**30, 1), (40_000, 1), (1, 512)])
def test_samples_are_equal_whatever_has_been_kept(name, do_sample, room, min_saved, monkeypatch):
    monkeypatch.setattr(generation, "MIN_SAVED", min_saved)
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    config = GenerationConfig(max_new_tokens=6, do_sample=do_sample, top_k=0, pad_token_id=0, eos_token_id=[1, 4])
    kept = KeptPrefixes(room)
    with torch.no_grad():
        assert walk_a_tree(model, config, kept) == walk_a_tree(model, config, None)
    assert kept.num_bytes <= room
    assert bool(len(kept)) == (room > 1)


def test_what_has_been_kept_is_not_computed_again():
    torch.manual_seed(0)
    model = MODELS["qwen2"]().eval()
    config = GenerationConfig(max_new_tokens=4, do_sample=False, pad_token_id=0, eos_token_id=[1])
    seen = []
    model.get_input_embeddings().register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].numel()))
    kept = KeptPrefixes(2**30)
    prompt = [5, 6, 7, 8, 9, 10]
    with torch.no_grad():
        (completion,) = generate_shared(model, [prompt], config, kept=kept)
        assert sum(seen) == len(prompt) + len(completion) - 1
        seen.clear()
        (other,) = generate_shared(model, [[*prompt, *completion, 20, 21]], config, kept=kept)
        # The last token of the first completion, and the two that are new.
        assert sum(seen) == 3 + len(other) - 1


def test_a_conversation_that_begins_does_not_pad_those_that_go_on():
    torch.manual_seed(0)
    model = MODELS["qwen2"]().eval()
    config = GenerationConfig(max_new_tokens=2, do_sample=False, pad_token_id=0, eos_token_id=[1])
    kept = KeptPrefixes(2**30)
    going_on = [[5, 6, 7], [6, 7, 8, 9], [7]]
    with torch.no_grad():
        answers = generate_shared(model, going_on, config, kept=kept)
        seen = []
        model.get_input_embeddings().register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
        longer = [[*prompt, *answer, 20, 21] for prompt, answer in zip(going_on, answers, strict=True)]
        beginning = [3 + place % 50 for place in range(600)]
        together = generate_shared(model, [beginning, *longer], config, kept=kept)
    # Of the three, the last token of the answer and a new one; of the fourth, all but the last.
    assert seen[:2] == [(3, 2), (1, 599)]
    assert together == plain_samples(model, [beginning, *longer], config)


@pytest.mark.parametrize("options", [{}, {"fused": True}])
def test_changed_weights_never_meet_what_has_been_kept(options):
    model = MODELS["qwen2"]().eval()
    config = GenerationConfig(max_new_tokens=4, do_sample=False, pad_token_id=0, eos_token_id=[1])
    kept = KeptPrefixes(2**30)
    kept.drop_if_changed(mark_of(model, 0))
    with torch.no_grad():
        generate_shared(model, [[5, 6, 7]], config, kept=kept)
        kept.drop_if_changed(mark_of(model, 0))
        assert len(kept) == 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, **options)
    model(input_ids=torch.tensor([[5, 6]])).logits.sum().backward()
    optimizer.step()
    kept.drop_if_changed(mark_of(model, 0))
    assert (len(kept), kept.num_bytes) == (0, 0)
    model.load_state_dict(MODELS["qwen2"]().state_dict())
    kept.keep([1, 2], [])
    kept.drop_if_changed(mark_of(model, 0))
    assert len(kept) == 0
    kept.keep([1, 2], [])
    kept.drop_if_changed(mark_of(model, 1))
    assert len(kept) == 0


TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=7)


@given(st.lists(TOKENS, max_size=15), TOKENS)
def test_the_longest_beginning_that_is_known_is_found(sequences, prompt):
    kept = KeptPrefixes(2**30)
    for ids in sequences:
        kept.keep(ids, [(torch.tensor(ids), torch.tensor(ids))])
    size, layers = kept.match(prompt)
    known = {tuple(ids[:n]) for ids in sequences for n in range(1, len(ids) + 1)}
    assert size == max((n for n in range(1, len(prompt) + 1) if tuple(prompt[:n]) in known), default=0)
    assert not size or layers[0][0][:size].tolist() == prompt[:size]
    # Of a sequence and one that begins with it, the longer one is enough.
    maximal = {tuple(ids) for ids in sequences if not any(x[: len(ids)] == ids and x != ids for x in sequences)}
    assert len(kept) == len(maximal)
    assert kept.num_bytes == sum(16 * len(ids) for ids in maximal)


def test_what_was_used_last_is_kept_longest():
    kept = KeptPrefixes(48)  # two sequences of three bytes, eight times
    for ids in ([1, 1, 1], [2, 2, 2]):
        kept.keep(ids, [(torch.tensor(ids), torch.tensor([], dtype=torch.long))])
    kept.match([1, 1, 5])
    kept.keep([3, 3, 3], [(torch.tensor([3, 3, 3]), torch.tensor([], dtype=torch.long))])
    assert [kept.match(ids).size for ids in ([1, 1, 1], [2, 2, 2], [3, 3, 3])] == [3, 0, 3]
