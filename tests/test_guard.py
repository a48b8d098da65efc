"""Nothing changes while the house is rebuilt: parameters and batches of six updates, bit by bit as they were before."""

import hashlib
import importlib
import json
from pathlib import Path

import pytest
import torch

from training import SpokenCorridor, baseline_trainer, config_for, tokenizer_for, untrained
from trl_3spo import EpisodeGRPOTrainer, GiGPOTrainer, StepPOTrainer, ThreeSPOConfig, ThreeSPOTrainer

FILE = Path(__file__).parent / "guard.json"
NUM_UPDATES = 6


def search_trainer(folder, config_class, **changes):
    env = SpokenCorridor()
    tokenizer = tokenizer_for(env)
    settings = {"max_steps": NUM_UPDATES, "num_generations": 8} | changes
    config = config_for(folder, config_class, **settings)
    return ThreeSPOTrainer(untrained(tokenizer), env, config, processing_class=tokenizer)


def demo_trainer(name, folder):
    demo = importlib.import_module("demo")
    trainer = demo.make_trainer(demo.WORLDS[name], folder, NUM_UPDATES, seed=0)
    trainer.args.eval_strategy = "no"
    return trainer


BASELINE = {"max_steps": NUM_UPDATES, "per_device_train_batch_size": 16}
RUNS = {
    "alfworld": lambda folder: demo_trainer("alfworld", folder),
    "webshop": lambda folder: demo_trainer("webshop", folder),
    "defaults": lambda folder: search_trainer(folder, ThreeSPOConfig, num_generations=2),
    "published": lambda folder: search_trainer(folder, ThreeSPOConfig.published, beta=0.0, learning_rate=1e-3),
    "accumulation": lambda folder: search_trainer(
        folder, ThreeSPOConfig, num_generations=4, per_device_train_batch_size=16, gradient_accumulation_steps=2
    ),
    "grpo": lambda folder: baseline_trainer(EpisodeGRPOTrainer, folder, **BASELINE),
    "gigpo": lambda folder: baseline_trainer(GiGPOTrainer, folder, **BASELINE),
    "steppo group": lambda folder: baseline_trainer(StepPOTrainer, folder, **BASELINE),
    "steppo critic": lambda folder: baseline_trainer(StepPOTrainer, folder, value_source="critic", **BASELINE),
    "steppo history": lambda folder: baseline_trainer(
        StepPOTrainer, folder, value_source="history", gae_lambda=0.9, **BASELINE
    ),
}


def digests(trainer):
    """Train, and name what every update was given and what the parameters are in the end."""
    batches = hashlib.sha256()
    loss = trainer._compute_loss

    def remember(model, inputs):
        for name in ("prompt_ids", "completion_ids", "completion_mask", "tool_mask", "advantages"):
            if name in inputs:
                batches.update(inputs[name].contiguous().numpy().tobytes())
        return loss(model, inputs)

    trainer._compute_loss = remember
    trainer.train()
    parameters = hashlib.sha256()
    for parameter in trainer.model.parameters():
        parameters.update(parameter.detach().numpy().tobytes())
    return {"batches": batches.hexdigest(), "parameters": parameters.hexdigest(), "steps": trainer.state.global_step}


@pytest.mark.parametrize("name", RUNS)
def test_updates_are_what_they_were(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "examples"))
    torch.set_num_threads(1)
    found = digests(RUNS[name](tmp_path))
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    if name not in known:
        FILE.write_text(json.dumps(known | {name: found}, indent=1))
    assert known.get(name, found) == found


TABLES = ("3spo", "defaults", "stepwise", "published", "grpo", "gigpo", "steppo", "no_scores", "no_adaptive_group_size")


@pytest.mark.parametrize("method", TABLES)
def test_tables_are_what_they_were(method, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    run = importlib.import_module("tabular").play("dead_ends", method, 2.0, 1, 3000)
    found = hashlib.sha256(json.dumps(run).encode()).hexdigest()
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    name = f"table {method}"
    if name not in known:
        FILE.write_text(json.dumps(known | {name: found}, indent=1))
    assert known.get(name, found) == found
