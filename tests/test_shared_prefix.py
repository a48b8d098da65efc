"""Log-probabilities, entropies and gradients are those of the plain computation, whichever way prompts are shared."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from trl.trainer.utils import add_fused_lm_head

from prefix_models import MODELS, gradient, padded_rows, plain_outputs, with_head
from trl_3spo.prefix_sharing.log_probs import (
    SharedPrompts,
    _arranged,
    outputs_by_cache,
    outputs_by_mask,
    shared_prompts_of,
)

ROUTES = {
    "cache": outputs_by_cache,
    "mask, 1 a row": lambda *x: outputs_by_mask(*x, completions_per_row=1),
    "mask, 3 a row": lambda *x: outputs_by_mask(*x, completions_per_row=3),
    "mask, 8 a row": lambda *x: outputs_by_mask(*x, completions_per_row=8),
}
MASKS = [name for name in ROUTES if name != "cache"]


def assert_equal_to_plain(model, route, seed=0, completion_size=5, tolerance=1e-5):
    group_sizes = torch.randint(1, 9, (4,), generator=torch.Generator().manual_seed(seed)).tolist()
    ids, mask = padded_rows(group_sizes, completion_size=completion_size, seed=seed)
    shared_prompts = shared_prompts_of(ids[:, :-completion_size], mask[:, :-completion_size])
    shared = ROUTES[route](model, ids, mask, completion_size, shared_prompts)
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


@pytest.mark.parametrize("route", ["cache", "mask, 3 a row"])
def test_completions_of_one_token(route):
    assert_equal_to_plain(with_head("qwen2"), route, completion_size=1)


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("route", MASKS)
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
        shared = ROUTES[route](model, ids, mask, 5, shared_prompts_of(ids[:, :-5], mask[:, :-5]))
        assert (shared[0] - plain_outputs(model, ids, mask, 5)[0]).abs().max() <= 1e-5


@pytest.mark.parametrize("route", ["cache", "mask, 3 a row"])
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
        shared, _ = ROUTES[route](model, ids, mask, 10, shared_prompts_of(ids[:, :-10], mask[:, :-10]))
    rounding = (plain - exact).abs()
    assert rounding.max() > 0
    assert (shared - exact).abs().mean() <= 2 * rounding.mean()
    assert (shared - exact).abs().max() <= 2 * rounding.max()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 9))
@settings(max_examples=50)
def test_rows_hold_one_prompt_and_every_completion_once(prompts, completions_per_row):
    distinct = list(dict.fromkeys(prompts))
    shared_prompts = SharedPrompts([prompts.index(x) for x in distinct], [distinct.index(x) for x in prompts])
    row_prompts, rows, slots = _arranged(shared_prompts, completions_per_row)
    assert [prompts[row_prompts[row]] for row in rows] == prompts
    assert len(set(zip(rows, slots, strict=True))) == len(prompts)
    assert max(slots) < completions_per_row
    assert len(row_prompts) == sum(-(-prompts.count(x) // completions_per_row) for x in distinct)


def test_padding_does_not_tell_prompts_apart():
    ids = torch.tensor([[0, 5, 6], [9, 5, 6], [4, 5, 6], [0, 5, 6]])
    mask = torch.tensor([[0, 1, 1], [0, 1, 1], [1, 1, 1], [0, 1, 1]])
    shared_prompts = shared_prompts_of(ids, mask)
    assert shared_prompts.first_rows == [0, 2]
    assert shared_prompts.owners == [0, 0, 1, 0]
    assert shared_prompts.completions_per_prompt == [3, 1]
