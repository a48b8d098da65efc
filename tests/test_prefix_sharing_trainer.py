"""GRPOTrainer and the trainer that shares prompts train alike, on fewer tokens."""

import logging

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from trl.trainer import grpo_trainer

from prefix_models import MODELS
from prefix_training import curve, make_tokenizer, save_model, train_both_ways, trained
from rank_training import on_ranks


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


def assert_alike(one, other, grad_norm_rel=1e-3):
    for name in ("loss", "grad_norm", "entropy", "reward"):
        rel = grad_norm_rel if name == "grad_norm" else 1e-3
        assert curve(one, name) == pytest.approx(curve(other, name), rel=rel, abs=1e-6), name


@pytest.mark.parametrize("sharing", ["cache", "tree", "auto"])
def test_twenty_updates_equal_stock_grpo(tmp_path, model_folder, tokenizer, sharing):
    """With old and reference log-probabilities, KL, and the same samples from generation."""
    settings = {"max_steps": 20, "num_iterations": 2, "beta": 0.05}
    stock, num_plain = trained(tmp_path, model_folder, tokenizer, sharing=None, **settings)
    shared, num_shared = trained(tmp_path, model_folder, tokenizer, sharing=sharing, **settings)
    assert len(curve(stock)) == 20
    assert len(set(curve(stock, "reward"))) > 5
    assert_alike(shared, stock)
    assert curve(shared, "kl") == pytest.approx(curve(stock, "kl"), rel=1e-3, abs=1e-6)
    assert num_shared < (0.9 if sharing == "auto" else 0.7) * num_plain  # alone, the tiniest batches are not worth it


FOUR_BITS = {
    "dtype": "float32",
    "quantization_config": BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    ),
}
VARIANTS = {
    "checkpointing": {"gradient_checkpointing": True},
    "accumulation": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3},
    "more batches than accumulated": {"per_device_train_batch_size": 4, "steps_per_generation": 6},
    "adapters": {"peft": True, "beta": 0.05, "num_iterations": 2},
    "adapters and checkpointing": {"peft": True, "gradient_checkpointing": True},
    "adapters on four bits": {"peft": True, "model_init_kwargs": FOUR_BITS, "num_iterations": 2},
    "temperature": {"temperature": 0.7, "top_p": 0.9},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_equal_stock_grpo(tmp_path, model_folder, tokenizer, variant):
    stock, num_plain = trained(tmp_path, model_folder, tokenizer, sharing=None, **VARIANTS[variant])
    shared, num_shared = trained(tmp_path, model_folder, tokenizer, sharing="tree", **VARIANTS[variant])
    # TRL keeps adapters on four bits in bfloat16: the norm of their gradients may be rounded to the next number.
    assert_alike(shared, stock, grad_norm_rel=2**-7 if variant == "adapters on four bits" else 1e-3)
    assert num_shared < 0.9 * num_plain


@pytest.mark.parametrize("variant", ["checkpointing", "accumulation", "adapters"])
def test_bounded_tries_equal_stock_grpo(tmp_path, model_folder, tokenizer, variant):
    stock, num_plain = trained(tmp_path, model_folder, tokenizer, sharing=None, **VARIANTS[variant])
    bounded = VARIANTS[variant] | {"max_tree_tokens": 40}
    shared, num_shared = trained(tmp_path, model_folder, tokenizer, sharing="auto", **bounded)
    assert_alike(shared, stock)
    assert num_shared < 1.8 * num_plain  # every trie goes forward twice


PLAIN_GENERATION = {
    "without a cache": {"generation_kwargs": {"use_cache": False}},
    "with a static cache": {"cache_implementation": "static"},
    "by beams": {"generation_kwargs": {"num_beams": 2}},
}


@pytest.mark.parametrize("kind", PLAIN_GENERATION)
def test_generation_is_left_alone(tmp_path, model_folder, tokenizer, kind):
    stock, num_plain = trained(tmp_path, model_folder, tokenizer, sharing=None, **PLAIN_GENERATION[kind])
    shared, num_shared = trained(tmp_path, model_folder, tokenizer, sharing="cache", **PLAIN_GENERATION[kind])
    assert_alike(shared, stock)
    assert num_shared < num_plain


class Engine:
    """In the place of TRL's door to vLLM, which runs on GPUs."""

    def __init__(self, **_):
        self.prompts = []

    def sync_weights(self):
        pass

    def generate(self, prompts, **_):
        self.prompts += prompts
        completions = [[(sum(prompt) + 3 * row + i) % 9 + 4 for i in range(4)] for row, prompt in enumerate(prompts)]
        return prompts, completions, [[[-2.5]] * 4 for _ in prompts], None


def test_with_vllm_generation_is_the_engines(tmp_path, model_folder, tokenizer, monkeypatch):
    monkeypatch.setattr(grpo_trainer, "VLLMGeneration", Engine)
    settings = {"use_vllm": True, "vllm_mode": "colocate"}
    stock, num_plain = trained(tmp_path, model_folder, tokenizer, sharing=None, **settings)
    shared, num_shared = trained(tmp_path, model_folder, tokenizer, sharing="cache", **settings)
    assert shared.vllm_generation.prompts == stock.vllm_generation.prompts
    assert_alike(shared, stock)
    assert num_shared < 0.7 * num_plain


def test_off_is_stock_grpo(tmp_path, model_folder, tokenizer):
    stock, num_plain = trained(tmp_path, model_folder, tokenizer, sharing=None)
    off, num_off = trained(tmp_path, model_folder, tokenizer, sharing="off")
    assert curve(off) == curve(stock)
    assert num_off == num_plain


def test_accumulated_batches_keep_equal_prompts_together(tmp_path, model_folder, tokenizer):
    settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3, "max_steps": 1}
    trainer, _ = trained(tmp_path, model_folder, tokenizer, sharing="tree", **settings)
    for batch in trainer._buffered_inputs:
        assert len(batch["prompt_ids"]) == 4
        assert len(batch["prompt_ids"].unique(dim=0)) == 1


def test_half_precision_is_as_near_as_its_rounding(tmp_path, model_folder, tokenizer):
    stock, _ = trained(tmp_path, model_folder, tokenizer, sharing=None, bf16=True, beta=0.05)
    for sharing in ("cache", "tree"):
        shared, _ = trained(tmp_path, model_folder, tokenizer, sharing=sharing, bf16=True, beta=0.05)
        assert curve(shared, "entropy") == pytest.approx(curve(stock, "entropy"), rel=0.02)


def test_what_cannot_be_shared_is_said_once(tmp_path, tokenizer, caplog):
    folder = tmp_path / "model"
    model = MODELS["gemma2"](attn_implementation="eager")
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    with caplog.at_level(logging.WARNING, logger="trl_3spo"):
        stock, num_plain = trained(tmp_path, str(folder), tokenizer, sharing=None)
        shared, num_shared = trained(tmp_path, str(folder), tokenizer, sharing="auto")
    said = [record.getMessage() for record in caplog.records if record.name.startswith("trl_3spo")]
    assert len(said) == 1
    assert "no cache, because sliding_attention layers" in said[0]
    assert_alike(shared, stock)
    assert num_shared == num_plain


def test_forced_cache_under_checkpointing_says_so(tmp_path, model_folder, tokenizer, caplog):
    with caplog.at_level(logging.WARNING, logger="trl_3spo"):
        trained(tmp_path, model_folder, tokenizer, sharing="cache", gradient_checkpointing=True, max_steps=1)
    assert "no cache, because activation checkpointing" in caplog.text


def test_two_processes_equal_stock_grpo(tmp_path, model_folder):
    """Data parallelism allows one forward pass before each backward pass, which is the tree's."""
    results = on_ranks(2, train_both_ways, tmp_path, model_folder)[0]
    stock, shared = results[None], results["tree"]
    assert results["processes"] == 2
    assert shared["loss"] == pytest.approx(stock["loss"], rel=1e-3, abs=1e-6)
    assert shared["grad_norm"] == pytest.approx(stock["grad_norm"], rel=1e-3)
    assert shared["tokens"] < 0.7 * stock["tokens"]
