"""Runs that are resumed, in one process or on several: what they have to agree on with a run that was never ended."""

import math
from pathlib import Path

import torch
from peft import LoraConfig

from rank_training import UnevenEnv
from search_options import FRONTIER, STEPWISE
from training import SpokenCorridor, config_for, tokenizer_for, untrained
from trl_3spo import (
    EpisodeGRPOConfig,
    EpisodeGRPOTrainer,
    GiGPOConfig,
    GiGPOTrainer,
    StepPOConfig,
    StepPOTrainer,
    ThreeSPOConfig,
    ThreeSPOTrainer,
)

METHODS = {
    "3spo": (ThreeSPOTrainer, ThreeSPOConfig, {"novelty_weight": 0.3}),
    "3spo, frontier": (ThreeSPOTrainer, ThreeSPOConfig, FRONTIER),
    "3spo, published": (
        ThreeSPOTrainer,
        ThreeSPOConfig,
        STEPWISE | {"baseline": "group", "novelty_weight": 0.3},
    ),
    "grpo": (EpisodeGRPOTrainer, EpisodeGRPOConfig, {}),
    "gigpo": (GiGPOTrainer, GiGPOConfig, {}),
    "steppo, group": (StepPOTrainer, StepPOConfig, {"value_source": "group"}),
    "steppo, history": (StepPOTrainer, StepPOConfig, {"value_source": "history"}),
    "steppo, critic": (StepPOTrainer, StepPOConfig, {"value_source": "critic", "critic_learning_rate": 1e-2}),
}

TIMES = ("seconds/", "step_time", "train_")


def trainer_of(method, folder, *, adapters=False, env=None, **changes):
    """Return a trainer of a method; with adapters, of a LoRA."""
    trainer_class, config_class, settings = METHODS[method]
    env = env or (UnevenEnv() if "3spo" in method else SpokenCorridor())
    tokenizer = tokenizer_for(env)
    settings = {"per_device_train_batch_size": 16, "ddp_timeout": 120} | settings | changes
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM") if adapters else None
    config = config_for(folder, config_class, **settings)
    return trainer_class(untrained(tokenizer), env, config, processing_class=tokenizer, peft_config=lora)


def outcome(trainer):
    """Return everything that two equal runs have in common."""
    return {
        "parameters": {name: p.detach().clone() for name, p in trainer.model.named_parameters()},
        "optimizer": trainer.optimizer.state_dict(),
        "algorithm": trainer.algorithm.state_dict(),
        "rows": [
            (row.sample.prompt_ids, row.sample.completion_ids, row.reward, row.advantage) for row in trainer._rows
        ],
        "logs": [
            {name: value for name, value in entry.items() if not name.startswith(TIMES)}
            for entry in trainer.state.log_history
            if "train_runtime" not in entry
        ],
    }


def differences(one, other, path=""):
    """Return where two outcomes differ, bit by bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = {str(name) for name in one.keys() ^ other.keys()}
        both = [x for name in one.keys() & other.keys() for x in differences(one[name], other[name], f"{path}/{name}")]
        return [f"{path}/{name} is in one only" for name in sorted(names)] + both
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [path]
    if hasattr(one, "tolist"):
        return differences(one.tolist(), other.tolist() if hasattr(other, "tolist") else other, path)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        return [x for i, pair in enumerate(zip(one, other, strict=True)) for x in differences(*pair, f"{path}/{i}")]
    is_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return [] if is_nan or one == other else [path]


def train_and_resume(rank, folder, method, changes, at, steps):
    """Train in one go, saving once; train again from there. Return where the two differ, and how many updates."""
    whole = trainer_of(method, Path(folder) / "whole", **changes, max_steps=steps, save_strategy="steps", save_steps=at)
    whole.train()
    rest = trainer_of(method, Path(folder) / "rest", **changes, max_steps=steps)
    rest.train(resume_from_checkpoint=str(Path(folder) / "whole" / f"checkpoint-{at}"))
    return differences(outcome(whole), outcome(rest)), rest.state.global_step
