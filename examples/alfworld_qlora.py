"""Train Qwen2.5-7B-Instruct with 3SPO on ALFWorld by QLoRA: four-bit weights, adapters in bfloat16, one GPU of 24 GB.

    python examples/alfworld_qlora.py
    python examples/alfworld_qlora.py --tiny

Needs ALFWorld's data (docs/environments.md) and `pip install trl_3spo[qlora]`. `--tiny` needs neither a download nor a
GPU: it trains adapters on a small four-bit model made on the spot, for two updates. That 24 GB are enough is a
prediction (docs/scaling.md).
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import BitsAndBytesConfig

from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.evaluation.policies import load_tokenizer
from trl_3spo.tiny import save_tiny_policy

FULL = {"max_steps": 400, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 32, "eval_strategy": "steps"}
TINY = {
    "max_steps": 2,
    "per_device_train_batch_size": 32,
    "max_completion_length": 1,
    "num_eval_tasks": 8,
    "gradient_checkpointing": False,
    "bf16": False,
    "use_cpu": True,
}


def main() -> None:
    """Train, evaluate and save the adapter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a small model made on the spot, on the CPU")
    parser.add_argument("--output-dir", type=Path, help="default: runs/alfworld_qlora, with --tiny one of its own")
    options = parser.parse_args()
    options.output_dir = options.output_dir or Path("runs/alfworld_qlora" + "-tiny" * options.tiny)

    model, tokenizer, settings = "Qwen/Qwen2.5-7B-Instruct", None, FULL
    if options.tiny:
        env = AlfworldEnv(generated=16, max_steps=4, prompt_format="action")
        model, settings = str(options.output_dir / "base"), TINY
        save_tiny_policy(env, model)
        tokenizer = load_tokenizer(model)
    else:
        env = AlfworldEnv(split="train")
    config: dict[str, Any] = {
        "learning_rate": 1e-5,
        "beta": 0.01,
        "max_completion_length": 512,
        "eval_split": None if options.tiny else "valid_unseen",
        "eval_steps": 50,
        "optim": "adamw_torch" if options.tiny else "paged_adamw_8bit",
        "logging_steps": 1,
        "report_to": "none",
    }
    dtype = torch.float32 if options.tiny else torch.bfloat16
    trainer = ThreeSPOTrainer(
        model,
        env,
        ThreeSPOConfig(str(options.output_dir), **config | settings),
        processing_class=tokenizer,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        ),
        peft_config=LoraConfig(r=32, lora_alpha=64, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    trainer.train()
    print(trainer.evaluate())
    trainer.save_model()


if __name__ == "__main__":
    main()
