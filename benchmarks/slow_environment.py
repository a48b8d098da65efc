"""What a slow environment costs a training step: one instance, and one for every tree that is alive.

    python benchmarks/slow_environment.py --json benchmarks/results/slow_environment.json

Sixteen search trees in a corridor whose every step waits 50 milliseconds, as one behind a server does. The policy is a
small model of random weights that answers with 60 tokens. `lost` is the share of sampling that goes into environment,
search and credit (`seconds/environment` of `seconds/environment` and `seconds/generation`), the median over the updates
after the first. Seconds are those of the clock, so the numbers depend on what else the machine does.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from provenance import provenance
from transformers import PrinterCallback

from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
from trl_3spo.environments.base import Environment, StepResult
from trl_3spo.environments.concurrent import ConcurrentEnvironment
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.tiny import tiny_model, word_tokenizer

NUM_TREES, NUM_STEPS, NUM_TOKENS = 16, 8, 60
SECONDS = 0.05


class SlowCorridor(CorridorEnv):
    """A corridor whose every step takes a while."""

    def __init__(self) -> None:
        super().__init__(length=7, max_steps=NUM_STEPS)

    def step(self, action: str) -> StepResult:
        time.sleep(SECONDS)
        return super().step(action)

    def parse_action(self, completion: str) -> str:
        """Take any text for one of the three actions, so that a model that knows nothing acts."""
        return ("left", "right", "open")[sum(map(ord, completion)) % 3]


def measure(env: Environment, num_updates: int) -> dict[str, Any]:
    tokenizer = word_tokenizer([env.prompt(task, env.reset(task), [])[0]["content"] for task in env.tasks()])
    with tempfile.TemporaryDirectory() as folder:
        config = ThreeSPOConfig(
            output_dir=folder,
            max_steps=num_updates,
            per_device_train_batch_size=NUM_TREES * NUM_STEPS,
            max_episodes_per_tree=1,
            max_completion_length=NUM_TOKENS,
            max_idle_rounds=1000,
            logging_steps=1,
            num_eval_tasks=1,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            record_megabytes=0.0,
        )
        model = tiny_model(tokenizer, hidden_size=256, initializer_range=0.05)
        trainer = ThreeSPOTrainer(model, env, config, processing_class=tokenizer)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    log = [entry for entry in trainer.state.log_history if "seconds/generation" in entry][1:]
    environment, generation = ([entry[f"seconds/{name}"] for entry in log] for name in ("environment", "generation"))
    shares = [x / (x + y) for x, y in zip(environment, generation, strict=True)]
    return {
        "lost": round(statistics.median(shares), 3),
        "environment_seconds": round(statistics.median(environment), 2),
        "generation_seconds": round(statistics.median(generation), 2),
        "sampled_actions": statistics.median(entry["sampled_actions"] for entry in log),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    parser.add_argument("--updates", type=int, default=6)
    arguments = parser.parse_args()
    results = provenance("torch", "transformers", "trl") | {"trees": NUM_TREES, "step_seconds": SECONDS}
    with SlowCorridor() as one, ConcurrentEnvironment(SlowCorridor, NUM_TREES) as many:
        results |= {"one_instance": measure(one, arguments.updates), "instance_each": measure(many, arguments.updates)}
    arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
