"""What recording every search tree costs a training, beside the same training without records.

    python benchmarks/record_costs.py --json benchmarks/results/record_costs.json

Both train the same untrained model of some 20 thousand parameters in the same corridor, in turns in one process. The
share is the largest there is: with a larger model a step takes longer, and a record does not. Seconds are those of the
processor; medians of seven trainings each. Weights are compared bit by bit.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from provenance import provenance

from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.tiny import tiny_model, word_tokenizer

SETTINGS: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "per_device_train_batch_size": 64,
    "num_generations": 4,
    "max_completion_length": 1,
    "max_steps": 20,
    "learning_rate": 1e-3,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}
REPEATS = 7


def train(folder: Path, megabytes: float) -> tuple[float, ThreeSPOTrainer]:
    """Train, and return the processor's seconds and the trainer."""
    env = CorridorEnv(length=5, max_steps=10)
    tokenizer = word_tokenizer(env.prompt(task, env.reset(task), [])[0]["content"] for task in env.tasks())
    config = ThreeSPOConfig(str(folder), record_megabytes=megabytes, **SETTINGS)
    model = tiny_model(tokenizer, hidden_size=32)
    trainer = ThreeSPOTrainer(model, env, config, processing_class=tokenizer)
    began = time.process_time()
    trainer.train()
    return time.process_time() - began, trainer


def measure(folder: Path) -> dict[str, Any]:
    """Return what both take."""
    train(folder / "warm", 0.0)
    without, recorded = [], []
    for number in range(REPEATS):
        seconds, plain = train(folder / f"without-{number}", 0.0)
        without.append(seconds)
        seconds, trainer = train(folder / f"with-{number}", 1000.0)
        recorded.append(seconds)
        pairs = zip(plain.model.parameters(), trainer.model.parameters(), strict=True)
        assert all(torch.equal(x, y) for x, y in pairs), "records have changed a training"
    files = list((folder / "with-0" / "episodes").glob("*-train-*.jsonl"))
    size = sum(file.stat().st_size for file in files)
    num_samples = sum(map(num_samples_of, files))
    ratio = statistics.median(x / y for x, y in zip(recorded, without, strict=True))
    return {
        "without_seconds": round(statistics.median(without), 2),
        "recorded_seconds": round(statistics.median(recorded), 2),
        "ratio": round(ratio, 3),
        "steps": SETTINGS["max_steps"],
        "samples": num_samples,
        "bytes": size,
        "parameters": sum(x.numel() for x in plain.model.parameters()),
        "repeats": REPEATS,
    }


def num_samples_of(file: Path) -> int:
    """Return how many sampled actions a file tells."""
    records = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return sum(1 + len(step["others"]) for record in records for step in record["steps"])


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder)) | provenance("torch", "transformers", "trl")
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
