"""Log-probabilities, entropies and gradients are those of the plain computation, whichever way prompts are shared."""

import random

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from trl.trainer.utils import add_fused_lm_head

from prefix_models import MODELS, gradient, padded_rows, plain_outputs, with_head
from trl_3spo.prefix_sharing import log_probs, tree_attention
from trl_3spo.prefix_sharing.log_probs import outputs_by_cache, outputs_by_tree, outputs_by_trees, shared_prompts_of
from trl_3spo.prefix_sharing.trie import blocks_of, trie_of

ROUTES = {
    "cache": lambda model, ids, mask, size: outputs_by_cache(
        model, ids, mask, size, shared_prompts_of(ids[:, :-size], mask[:, :-size])
    ),
    "tree": outputs_by_tree,
    "trees": lambda *batch: outputs_by_trees(*batch, max_tokens=25),
}


def assert_equal_to_plain(model, route, seed=0, completion_size=5, tolerance=1e-5):
    group_sizes = torch.randint(1, 9, (4,), generator=torch.Generator().manual_seed(seed)).tolist()
    ids, mask = padded_rows(group_sizes, completion_size=completion_size, seed=seed)
    assert_equal(model, route, ids, mask, completion_size, tolerance)


def assert_equal(model, route, ids, mask, completion_size, tolerance=1e-5):
    shared = ROUTES[route](model, ids, mask, completion_size)
    plain = plain_outputs(model, ids, mask, completion_size)
    for one, other in zip(shared, plain, strict=True):
        assert (one - other).abs().max() <= tolerance
    weights = torch.randn(2, len(ids), completion_size)
    one, other = (
        gradient(model, (weights[0] * logps + weights[1] * entropies).sum()) for logps, entropies in (shared, plain)
    )
    assert other.norm() > 0
    assert (one - other).norm() / other.norm() <= tolerance


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", ["qwen2", "llama", "gemma"])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_plain(name, route, seed):
    assert_equal_to_plain(with_head(name, seed), route, seed)


def test_positions_that_are_not_rotary_go_by_the_cache():
    assert_equal_to_plain(with_head("gpt2"), "cache")


@pytest.mark.parametrize("route", ROUTES)
def test_completions_of_one_token(route):
    assert_equal_to_plain(with_head("qwen2"), route, completion_size=1)


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("route", ["tree", "trees"])
def test_equal_to_plain_with_activations_recomputed(route, use_reentrant):
    model = with_head("qwen2")
    model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    assert_equal_to_plain(model, route)


@pytest.mark.parametrize("route", ROUTES)
def test_equal_to_plain_with_adapters(route):
    model = get_peft_model(with_head("llama"), LoraConfig(r=4, init_lora_weights=False, target_modules="all-linear"))
    assert_equal_to_plain(model, route)
    with model.disable_adapter():
        ids, mask = padded_rows([3, 2])
        shared = ROUTES[route](model, ids, mask, 5)
        assert (shared[0] - plain_outputs(model, ids, mask, 5)[0]).abs().max() <= 1e-5


@pytest.mark.parametrize("route", ROUTES)
def test_equal_to_plain_with_adapters_on_four_bits(tmp_path, route):
    MODELS["llama"]().save_pretrained(tmp_path)
    four_bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=four_bits, dtype=torch.float32)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    model = get_peft_model(model, LoraConfig(r=4, init_lora_weights=False, target_modules="all-linear"))
    assert any("4bit" in type(module).__name__ for module in model.modules())
    assert_equal_to_plain(model.train(), route)


@pytest.mark.parametrize("route", ROUTES)
def test_in_half_precision_the_difference_is_that_of_rounding(route):
    model = with_head("qwen2")
    ids, mask = padded_rows([8, 3, 1, 5], prompt_size=30, completion_size=10)
    exact, _ = plain_outputs(model, ids, mask, 10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain, _ = plain_outputs(model, ids, mask, 10)
        shared, _ = ROUTES[route](model, ids, mask, 10)
    rounding = (plain - exact).abs()
    assert rounding.max() > 0
    assert (shared - exact).abs().mean() <= 2 * rounding.mean()
    assert (shared - exact).abs().max() <= 2 * rounding.max()


def random_tree(rng, depth, branching, completion_size=4):
    """Return rows of a tree of conversations: each turn's prompt is the one before, its answer, and what came of it."""
    rows = []

    def grow(context, left):
        prompt = context + [rng.randrange(3, 64) for _ in range(rng.randint(1, 3))]
        for _ in range(rng.randint(1, branching)):
            answer = [rng.randrange(3, 64) for _ in range(rng.randint(1, completion_size))]
            rows.append((prompt, answer))
            if left > 1 and (len(rows) < 40 or left > depth - 3):
                grow(prompt + answer, left - 1 if rng.random() < 0.9 else 1)

    grow([], depth)
    return rows[:60]


def padded(rows, completion_size=4):
    prompt_size = max(len(prompt) for prompt, _ in rows)
    ids, mask = torch.zeros(2, len(rows), prompt_size + completion_size, dtype=torch.long)
    for row, (prompt, answer) in enumerate(rows):
        place = slice(prompt_size - len(prompt), prompt_size + len(answer))
        ids[row, place], mask[row, place] = torch.tensor(prompt + answer), 1
    return ids, mask


@pytest.mark.parametrize(("depth", "branching"), [(1, 8), (4, 3), (10, 2), (30, 1)])
@pytest.mark.parametrize("name", ["qwen2", "llama", "gemma"])
@pytest.mark.parametrize("route", ["tree", "trees"])
def test_trees_of_conversations_equal_plain(name, route, depth, branching):
    rows = random_tree(random.Random(depth), depth, branching)
    random.Random(1).shuffle(rows)
    assert_equal(with_head(name), route, *padded(rows), 4)


def test_a_bounded_trie_goes_forward_twice_and_none_is_larger():
    rows = random_tree(random.Random(10), 10, 2)
    assert len(trie_of([prompt + answer for prompt, answer in rows])) > 150
    model, sizes = with_head("qwen2"), []
    model.get_input_embeddings().register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].numel()))
    outputs = outputs_by_trees(model, *padded(rows), 4, max_tokens=60)
    forward = list(sizes)
    sum(x.sum() for x in outputs).backward()
    assert len(forward) >= 3
    assert max(sizes) <= 60
    assert sizes[len(forward) :] == forward[::-1]


@pytest.mark.parametrize(("max_size", "min_size"), [(1, 1), (3, 2), (8, 8)])
def test_however_a_trie_is_cut_into_blocks(monkeypatch, max_size, min_size):
    monkeypatch.setattr(log_probs, "MAX_BLOCK", max_size)
    monkeypatch.setattr(log_probs, "MIN_BLOCK", min_size)
    assert len(log_probs.packed_rows(*padded(random_tree(random.Random(3), 5, 3)), 4).blocks) > 5
    assert_equal(with_head("qwen2"), "tree", *padded(random_tree(random.Random(3), 5, 3)), 4)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("name", ["qwen2", "llama", "gemma"])
def test_flex_attention_is_equal_to_plain(name):
    model = with_head(name)
    ids, mask = padded_rows([3, 8, 30])
    with torch.no_grad():  # it has no gradients on a CPU; benchmarks/gpu.py compares those
        flexible, plain = outputs_by_tree(model, ids, mask, 5, uses_flex=True), plain_outputs(model, ids, mask, 5)
    for one, other in zip(flexible, plain, strict=True):
        assert (one - other).abs().max() <= 1e-5


@pytest.mark.parametrize("seed", range(5))
def test_flex_attention_computes_the_blocks_that_are_seen(seed):
    rng = random.Random(seed)
    trunk = [rng.randrange(9) for _ in range(700)]
    trie = trie_of([trunk[: rng.randrange(700)] + [9] * rng.randrange(200) for _ in range(6)])
    mask = tree_attention.flex_mask_of(torch.tensor(trie.ends))
    queries, keys = torch.arange(len(trie))[:, None], torch.arange(len(trie))
    visible = (keys <= queries) & (queries < torch.tensor(trie.ends))
    for query, numbers in enumerate(visible.split(tree_attention.FLEX_BLOCK)):
        partial, whole = (
            set(indices[0, 0, query, : num[0, 0, query]].tolist())
            for num, indices in (
                (mask.kv_num_blocks, mask.kv_indices),
                (mask.full_kv_num_blocks, mask.full_kv_indices),
            )
        )
        for key, pairs in enumerate(numbers.split(tree_attention.FLEX_BLOCK, dim=1)):
            assert (key in whole) <= bool(pairs.all())
            assert (key in partial | whole) == bool(pairs.any())
        assert not partial & whole


def test_a_model_computes_the_rest_as_before():
    model = with_head("qwen2")
    ids, mask = padded_rows([3, 2])
    before = model(input_ids=ids, attention_mask=mask).logits
    outputs_by_tree(model, ids, mask, 5)
    assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, before)
    assert "sdpa_tree" not in model.config.to_json_string()


def test_a_model_that_does_not_hand_on_the_layout_is_refused():
    trie = trie_of([[1, 2], [1, 3]])
    layout = tree_attention.layout_of(trie, blocks_of(trie, 8), torch.device("cpu"))
    with pytest.raises(RuntimeError, match=r"0 of 2 layers .* Set prefix_sharing='cache' or 'off'"):
        tree_attention.require_used(layout, 2)


def test_padding_does_not_tell_prompts_apart():
    ids = torch.tensor([[0, 5, 6], [9, 5, 6], [4, 5, 6], [0, 5, 6]])
    mask = torch.tensor([[0, 1, 1], [0, 1, 1], [1, 1, 1], [0, 1, 1]])
    shared_prompts = shared_prompts_of(ids, mask)
    assert shared_prompts.first_rows == [0, 2]
    assert shared_prompts.owners == [0, 0, 1, 0]
    assert shared_prompts.completions_per_prompt == [3, 1]
