"""Predict what fits into GPUs: Qwen2.5-1.5B and 7B, full, LoRA and QLoRA, with and without shared prompts.

    python benchmarks/memory_plan.py --json benchmarks/results/memory_plan.json

Nothing is measured: this is `trl_3spo.cli.memory_plan` for the models' published sizes, with activation checkpointing,
KL, groups of 8 and AdamW. `tests/test_memory_plan.py` compares its parts with what torch, PEFT and bitsandbytes hold.
"""

import argparse
import json
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from trl_3spo import __version__
from trl_3spo.cli.memory_plan import RESERVE, most_rows, plan_memory
from trl_3spo.cli.memory_setup import MemorySetup
from trl_3spo.model_shape import LayerShape, ModelShape

SHAPES = {
    "Qwen2.5-1.5B": ModelShape(LayerShape(1536, 8960, 1536, 256), 28, 151936, has_tied_head=True),
    "Qwen2.5-7B": ModelShape(LayerShape(3584, 18944, 3584, 512), 28, 152064, has_tied_head=False),
}
CARDS = (24, 48, 80, 141)
"""GB of 10⁹ bytes."""

FULL = MemorySetup(
    weight_bytes=2,
    num_bits=None,
    computes_in_half=True,
    adapter_rank=None,
    has_reference=True,
    has_8bit_optimizer=False,
    has_checkpointing=True,
    shares_prefixes=True,
    num_rows=8,
    num_generated=64,
    completions_per_prompt=8,
    prompt_size=1024,
    completion_size=512,
)
LORA = replace(FULL, adapter_rank=32, has_reference=False)
SETUPS = {"full bf16": FULL, "LoRA": LORA, "QLoRA": replace(LORA, num_bits=4)}


def predict(shape: ModelShape, setup: MemorySetup) -> dict[str, Any]:
    plan = plan_memory(shape, setup)
    standing = plan.weights + plan.gradients + plan.optimizer + RESERVE
    plain = replace(setup, shares_prefixes=False)
    return {
        "standing_gb": round(standing / 1e9, 1),
        "cache_of_64_rows_gb": round(plan.cache / 1e9, 1),
        "rows_shared": {card: most_rows(shape, setup, card * 1e9) for card in CARDS},
        "rows_plain": {card: most_rows(shape, plain, card * 1e9) for card in CARDS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the predictions to")
    file = parser.parse_args().json
    predictions = {
        model: {name: predict(shape, setup) for name, setup in SETUPS.items()} for model, shape in SHAPES.items()
    }
    print("| | | without rows | cache | " + " | ".join(f"{card} GB" for card in CARDS) + " |")
    print("|---" * (4 + len(CARDS)) + "|")
    for model, modes in predictions.items():
        for name, x in modes.items():
            cells = [f"{x['rows_shared'][card]} / {x['rows_plain'][card]}" for card in CARDS]
            print(f"| {model} | {name} | {x['standing_gb']} | {x['cache_of_64_rows_gb']} | " + " | ".join(cells) + " |")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    record = {
        "predictions": predictions,
        "setup": asdict(FULL),
        "commit": commit,
        "versions": {"trl_3spo": __version__},
    }
    file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
