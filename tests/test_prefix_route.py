"""Ways of sharing prompts are ruled out where they would be wrong and chosen where they pay."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, PromptTuningConfig, TaskType, get_peft_model

from prefix_models import MODELS
from trl_3spo.prefix_sharing.route import BatchSizes, TreeSizes, best_route, is_checkpointing, why_no_cache, why_no_tree

FORGETFUL = {
    "gemma2": "sliding_attention layers",
    "mistral": "sliding window of 4 tokens",
    "mamba": "layers do not see or keep the whole prompt",
}
SMALL = SimpleNamespace(
    hidden_size=256,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=1024,
    num_hidden_layers=4,
    vocab_size=2048,
)


@pytest.mark.parametrize("name", FORGETFUL)
def test_layers_that_do_not_keep_the_prompt_rule_out_both(name):
    model = MODELS[name]()
    for reason in (why_no_cache(model, is_checkpointing=False), why_no_tree(model)):
        assert FORGETFUL[name] in reason


def test_rotary_models_of_full_attention_allow_both():
    for name in ("qwen2", "llama", "gemma"):
        model = MODELS[name]()
        assert (why_no_cache(model, is_checkpointing=False), why_no_tree(model)) == (None, None)


def test_recomputing_activations_rules_out_the_cache_in_training():
    model = MODELS["qwen2"]()
    assert not is_checkpointing(model.train())
    model.gradient_checkpointing_enable()
    assert is_checkpointing(model)
    assert not is_checkpointing(model.eval())
    assert "checkpointing" in why_no_cache(model, is_checkpointing=True)
    assert why_no_tree(model) is None


def test_attention_without_masks_and_positions_that_are_not_rotary_rule_out_the_tree():
    eager, absolute = MODELS["qwen2"](attn_implementation="eager"), MODELS["gpt2"]()
    assert "'eager'" in why_no_tree(eager)
    assert "not rotary" in why_no_tree(absolute)
    assert why_no_cache(eager, is_checkpointing=False) is why_no_cache(absolute, is_checkpointing=False) is None


def test_positions_that_stretch_with_the_row_rule_out_both():
    stretched = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    model = MODELS["llama"](rope_parameters=stretched)
    assert "length of the row" in why_no_cache(model, is_checkpointing=False)
    assert "length of the row" in why_no_tree(model)


def test_adapters_may_change_weights_but_not_the_prompt():
    weights = get_peft_model(MODELS["llama"](), LoraConfig(target_modules="all-linear"))
    assert why_no_cache(weights, is_checkpointing=False) is why_no_tree(weights) is None
    prompt = get_peft_model(MODELS["llama"](), PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=2))
    assert "tokens of its own" in why_no_cache(prompt, is_checkpointing=False)


def test_the_cheaper_way_is_chosen():
    both = ("cache", "tree")
    # One pass of few tokens.
    assert best_route(both, BatchSizes([8], 64, 1, TreeSizes(71, 71**2, 1)), SMALL, "cpu") == "tree"
    # Ten prompts, each of which is the one before and a little more: only the tree shares anything of these.
    conversation = BatchSizes([1] * 10, 600, 20, TreeSizes(600, 600 * 400, 3))
    assert best_route(both, conversation, SMALL, "cpu") == "tree"
    assert best_route(("cache",), conversation, SMALL, "cpu") == "plain"
    # Many tiny blocks cost more than a second pass.
    assert best_route(both, BatchSizes([8], 256, 16, TreeSizes(383, 383**2, 200)), SMALL, "cpu") == "cache"
    # Launching a second pass costs an accelerator more than it saves here.
    assert best_route(("cache",), BatchSizes([4], 64, 16), SMALL, "cuda") == "plain"


def test_plain_where_nothing_is_to_be_gained():
    apart = TreeSizes(2 * 1087, 2 * 1087**2, 2)
    assert best_route((), BatchSizes([8], 1024, 64), SMALL, "cpu") == "plain"
    assert best_route(("cache", "tree"), BatchSizes([1, 1], 1024, 64, apart), SMALL, "cpu") == "plain"
    assert best_route(("cache",), BatchSizes([8], 1, 64), SMALL, "cpu") == "plain"
    assert best_route(("cache",), BatchSizes([8], 16, 1024), SMALL, "cpu") == "plain"


@given(st.lists(st.integers(1, 8), min_size=1, max_size=6), st.integers(2, 4096), st.integers(1, 512))
def test_forced_ways_are_taken_wherever_they_are_possible(groups, prompt, completion):
    tree = TreeSizes(10**6, 10**9, 10**4)
    assert best_route(("tree",), BatchSizes(groups, prompt, completion, tree), SMALL, "cpu", -float("inf")) == "tree"
    cache = best_route(("cache",), BatchSizes(groups, prompt, completion), SMALL, "cpu", -float("inf"))
    assert cache == ("cache" if max(groups) > 1 else "plain")
