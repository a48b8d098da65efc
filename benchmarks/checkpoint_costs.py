"""What a checkpoint costs in time and space, beside that of stock GRPOTrainer for the same model in the same process.

    python benchmarks/checkpoint_costs.py --json benchmarks/results/checkpoint_costs.json

Both trainers save after the same update of the same model, in turns. Ours holds a history of so many states besides,
and waits until everything is on the disk, which stock does not. Numbers are medians. Seconds by the clock hold that
wait, and what other programs take; those of the processor do not.
"""

import argparse
import json
import logging
import os
import shutil
import statistics
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from provenance import provenance
from trl import GRPOConfig, GRPOTrainer

from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.tiny import tiny_model, word_tokenizer

SETTINGS: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "per_device_train_batch_size": 16,
    "num_generations": 4,
    "max_completion_length": 1,
    "max_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--hidden-size", type=int, default=512, help="of the model")
    parser.add_argument("--layers", type=int, default=8, help="of the model")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, required=True, help="file to write the result to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    origin = provenance("torch", "transformers", "trl")
    with tempfile.TemporaryDirectory() as folder:
        env = CorridorEnv(length=4)
        texts = [env.prompt(task, env.reset(task), [])[0]["content"] for task in env.tasks()]
        tokenizer = word_tokenizer([*texts, "left right open red blue"])
        shape = {"hidden_size": arguments.hidden_size, "num_layers": arguments.layers}
        stock = stock_trainer(Path(folder) / "stock", tokenizer, shape)
        ours = own_trainer(Path(folder) / "ours", env, tokenizer, shape)
        rows = [measure(stock, ours, states, arguments.repeats) for states in arguments.states]
        num_parameters = sum(p.numel() for p in ours.model.parameters())
    result = {"num_parameters": num_parameters, "repeats": arguments.repeats, "rows": rows} | origin
    arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def stock_trainer(folder: Path, tokenizer: Any, shape: dict[str, int]) -> GRPOTrainer:
    prompts = Dataset.from_list([{"prompt": [{"role": "user", "content": "left"}]}] * 16)
    trainer = GRPOTrainer(
        tiny_model(tokenizer, **shape),
        lambda completions, **_: [float(i % 2) for i in range(len(completions))],
        args=GRPOConfig(output_dir=str(folder), **SETTINGS),
        train_dataset=prompts,
        processing_class=tokenizer,
    )
    trainer.train()
    return trainer


def own_trainer(folder: Path, env: CorridorEnv, tokenizer: Any, shape: dict[str, int]) -> ThreeSPOTrainer:
    config = ThreeSPOConfig(output_dir=str(folder), novelty_weight=0.3, **SETTINGS)
    trainer = ThreeSPOTrainer(tiny_model(tokenizer, **shape), env, config, processing_class=tokenizer)
    trainer.train()
    return trainer


def measure(stock: GRPOTrainer, ours: ThreeSPOTrainer, num_states: int, repeats: int) -> dict[str, Any]:
    """Save in turns, and return medians."""
    fill(ours, num_states)
    spent: dict[str, list[tuple[float, float]]] = {"stock": [], "our": []}
    sizes = {}
    for _ in range(repeats):
        for name, trainer in (("stock", stock), ("our", ours)):
            spent[name].append(save(trainer))
            sizes[name] = size_of(trainer)
    row: dict[str, Any] = {"states": num_states}
    for number, what in enumerate(("seconds", "processor_seconds")):
        medians = {name: statistics.median(x[number] for x in values) for name, values in spent.items()}
        row |= {f"{name}_{what}": round(x, 4) for name, x in medians.items()}
        row[f"{what}_ratio"] = round(medians["our"] / medians["stock"], 3)
    row |= {f"{name}_bytes": size for name, size in sizes.items()}
    return row | {"bytes_ratio": round(sizes["our"] / sizes["stock"], 4)}


def fill(trainer: ThreeSPOTrainer, num_states: int) -> None:
    """Give a trainer a history of so many states, and as many states reached."""
    rng = np.random.default_rng(0)
    keys = np.unique(rng.integers(0, 2**64, size=num_states, dtype=np.uint64))
    visits = rng.integers(1, 50, size=len(keys)).astype(np.float64)
    trainer.algorithm.history.load_state_dict(
        {
            "num_episodes": num_states // 5,
            "keys": array("Q", keys.tolist()),
            "visits": array("d", visits.tolist()),
            "worths": array("d", (visits * rng.random(len(keys))).tolist()),
            "updated": array("q", rng.integers(0, num_states // 5, size=len(keys)).tolist()),
        }
    )
    trainer.algorithm.tally._states = set(keys.tolist())


def save(trainer: GRPOTrainer) -> tuple[float, float]:
    """Save, and return the seconds by the clock and of the processor."""
    shutil.rmtree(Path(trainer.args.output_dir) / "checkpoint-1", ignore_errors=True)
    os.sync()  # nobody waits for what another one wrote
    began, began_processor = time.perf_counter(), time.process_time()
    trainer._save_checkpoint(trainer.model, None)
    return time.perf_counter() - began, time.process_time() - began_processor


def size_of(trainer: GRPOTrainer) -> int:
    files = (Path(trainer.args.output_dir) / "checkpoint-1").rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


if __name__ == "__main__":
    main()
