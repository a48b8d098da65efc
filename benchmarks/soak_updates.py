"""Updates of a tiny model in an environment with faults: how memory and the time of an update grow."""

import random
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from faulty import Faults, FaultyEnvironment
from transformers import TrainerCallback

from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.tiny import tiny_model, word_tokenizer

EVERY = 20
"""Updates between two readings."""
PAGE_MB = 4096 / 1e6


class ShortCorridor(CorridorEnv):
    """A corridor in which any answer is one of the three actions, so that there is always something to learn."""

    def parse_action(self, completion: str) -> str:
        """Return an action for any text."""
        return ("left", "right", "open")[sum(map(ord, completion)) % 3]


class Readings(TrainerCallback):
    """Reads memory and time every few updates."""

    def __init__(self) -> None:
        self.megabytes: list[float] = []
        self.seconds: list[float] = []
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Read."""
        if state.global_step % EVERY == 0:
            self.megabytes.append(int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * PAGE_MB)
            self.seconds.append((time.perf_counter() - self._began) / EVERY)
            self._began = time.perf_counter()


def train(folder: str, num_updates: int) -> dict[str, Any]:
    """Make so many updates and return slopes over the second half of them."""
    clean, faults, rng, readings = ShortCorridor(length=4, max_steps=6), Faults(), random.Random(0), Readings()
    texts = [clean.prompt(task, clean.reset(task), [])[0]["content"] for task in clean.tasks()]
    tokenizer = word_tokenizer([*texts, "cellar 1 2 3 4 left right open"])
    config = ThreeSPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=16,
        max_completion_length=1,
        learning_rate=1e-5,
        max_steps=num_updates,
        logging_steps=100,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        step_timeout=0.3,
    )
    trainer = ThreeSPOTrainer(
        tiny_model(tokenizer),
        lambda: FaultyEnvironment(clean, rng, faults, 0.05 / 6, 0.01 / 6),
        config,
        processing_class=tokenizer,
        callbacks=[readings],
    )
    trainer.train()
    half = len(readings.megabytes) // 2
    updates = np.arange(half, len(readings.megabytes)) * EVERY
    memory, _ = np.polyfit(updates, readings.megabytes[half:], 1)
    first, second = statistics.median(readings.seconds[:half]), statistics.median(readings.seconds[half:])
    return {
        "updates": int(trainer.state.global_step),
        "updates_exceptions": faults["exceptions"],
        "updates_hangs": faults["hangs"],
        "updates_dropped": trainer.guard.counts["failed_episodes"],
        "memory_slope_mb_per_1000_updates": round(float(memory) * 1000, 3),
        "memory_mb": round(readings.megabytes[-1], 1),
        "seconds_per_update": {"first half": round(first, 4), "second half": round(second, 4)},
    }
