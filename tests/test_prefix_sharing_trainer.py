"""GRPOTrainer and the trainer that shares prompts train alike, on fewer tokens."""

import logging

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM
from trl import GRPOConfig, GRPOTrainer

from prefix_models import MODELS
from trl_3spo import ThreeSPOConfig
from trl_3spo.prefix_sharing_trainer import PrefixSharingTrainer
from trl_3spo.tiny import tiny_model, word_tokenizer

WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
]
PROMPTS = [" ".join(WORDS[i : i + 4 + i % 5] * 4) for i in range(8)]


def reward_length(completion_ids, **_):
    return [float(sum(ids) % 7) for ids in completion_ids]


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer([" ".join(WORDS)])


@pytest.fixture(scope="module")
def model_folder(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_model(tokenizer, hidden_size=32, initializer_range=0.1).save_pretrained(folder)
    return str(folder)


def trained(folder, model, tokenizer, *, sharing, peft=False, **changes):
    """Train, by stock GRPOTrainer where `sharing` is None; return the trainer and how many tokens its model saw."""
    settings = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "per_device_train_batch_size": 12,
        "num_generations": 4,
        "max_completion_length": 4,
        "learning_rate": 1e-3,
        "max_steps": 2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 7,
    } | changes
    kind, config = (GRPOTrainer, GRPOConfig) if sharing is None else (PrefixSharingTrainer, ThreeSPOConfig)
    settings |= {} if sharing is None else {"scale_rewards": "group", "prefix_sharing": sharing}
    trainer = kind(
        model,
        reward_length,
        args=config(**settings),
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in PROMPTS * 4]),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear") if peft else None,
    )
    seen = []
    trainer.model.get_input_embeddings().register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].numel()))
    trainer.train()
    return trainer, sum(seen)


def curve(trainer, name="loss"):
    return [log[name] for log in trainer.state.log_history if name in log]


def assert_alike(one, other):
    for name in ("loss", "grad_norm", "entropy", "reward"):
        assert curve(one, name) == pytest.approx(curve(other, name), rel=1e-3, abs=1e-6), name


@pytest.mark.parametrize("sharing", ["cache", "mask", "auto"])
def test_twenty_updates_equal_stock_grpo(tmp_path, model_folder, tokenizer, sharing):
    """With old and reference log-probabilities, KL, and the same samples from generation."""
    settings = {"max_steps": 20, "num_iterations": 2, "beta": 0.05}
    stock, num_plain = trained(tmp_path, model_folder, tokenizer, sharing=None, **settings)
    shared, num_shared = trained(tmp_path, model_folder, tokenizer, sharing=sharing, **settings)
    assert len(curve(stock)) == 20
    assert len(set(curve(stock, "reward"))) > 5
    assert_alike(shared, stock)
    assert curve(shared, "kl") == pytest.approx(curve(stock, "kl"), rel=1e-3, abs=1e-6)
    assert num_shared < 0.7 * num_plain


VARIANTS = {
    "checkpointing": {"activation_checkpointing": True},
    "accumulation": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3},
    "more batches than accumulated": {"per_device_train_batch_size": 4, "steps_per_generation": 6},
    "adapters": {"peft": True, "beta": 0.05, "num_iterations": 2},
    "adapters and checkpointing": {"peft": True, "activation_checkpointing": True},
    "temperature": {"temperature": 0.7, "top_p": 0.9},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_equal_stock_grpo(tmp_path, model_folder, tokenizer, variant):
    stock, num_plain = trained(tmp_path, model_folder, tokenizer, sharing=None, **VARIANTS[variant])
    shared, num_shared = trained(tmp_path, model_folder, tokenizer, sharing="auto", **VARIANTS[variant])
    assert_alike(shared, stock)
    assert num_shared < 0.9 * num_plain


def test_off_is_stock_grpo(tmp_path, model_folder, tokenizer):
    stock, num_plain = trained(tmp_path, model_folder, tokenizer, sharing=None)
    off, num_off = trained(tmp_path, model_folder, tokenizer, sharing="off")
    assert curve(off) == curve(stock)
    assert num_off == num_plain


def test_accumulated_batches_keep_equal_prompts_together(tmp_path, model_folder, tokenizer):
    settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3, "max_steps": 1}
    trainer, _ = trained(tmp_path, model_folder, tokenizer, sharing="auto", **settings)
    for batch in trainer._buffered_inputs:
        assert len(batch["prompt_ids"]) == 4
        assert len(batch["prompt_ids"].unique(dim=0)) == 1


def test_half_precision_trains(tmp_path, model_folder, tokenizer):
    for sharing in ("cache", "mask"):
        trainer, _ = trained(tmp_path, model_folder, tokenizer, sharing=sharing, bf16=True, beta=0.05)
        assert all(torch.isfinite(torch.tensor(curve(trainer, "grad_norm"))))


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
        trained(tmp_path, model_folder, tokenizer, sharing="cache", activation_checkpointing=True, max_steps=1)
    assert "no cache, because activation checkpointing" in caplog.text
