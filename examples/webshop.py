"""Train an agent to shop with 3SPO, in the bundled catalogue or in WebShop's own.

    python examples/webshop.py --tiny
    python examples/webshop.py --model Qwen/Qwen2.5-1.5B-Instruct --max-steps 500
    python examples/webshop.py --model Qwen/Qwen2.5-1.5B-Instruct --items items_shuffle.json \
        --attributes items_ins_v2.json --human items_human_ins.json

`--tiny` needs neither a download nor a GPU: it builds a small model, has it imitate the expert's purchases and makes a
few updates, in less than a minute on one core. That shows that everything works; it is no result.
"""

import argparse
from pathlib import Path

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
from trl_3spo.environments.webshop import WebShopEnv, World
from trl_3spo.environments.webshop.expert.demonstrations import demonstrate
from trl_3spo.tiny import tiny_model, word_tokenizer

HARDWARE = {"use_cpu": not torch.cuda.is_available(), "bf16": torch.cuda.is_available()}
NUM_DEMONSTRATED = 24


def make_world(options: argparse.Namespace) -> World:
    """Return the world of the files given, or the bundled one."""
    if options.items is None:
        return World.bundled(options.seed)
    return World.from_files(options.items, options.attributes, options.human, index_cache=options.index_cache)


def pretrained_trainer(world: World, options: argparse.Namespace) -> ThreeSPOTrainer:
    """Return the trainer of a model that can follow instructions: it is asked to think before it acts."""
    config = ThreeSPOConfig(
        output_dir=str(options.output_dir),
        max_steps=options.max_steps,
        per_device_train_batch_size=32,
        gradient_accumulation_steps=4,
        max_completion_length=512,
        eval_split="eval",
        logging_steps=1,
        report_to="none",
        seed=options.seed,
        **HARDWARE,
    )
    return ThreeSPOTrainer(options.model, WebShopEnv(world), config)


def tiny_trainer(world: World, options: argparse.Namespace) -> ThreeSPOTrainer:
    """Return the trainer of a small model that has seen the expert shop."""
    env = WebShopEnv(world, prompt_format="action", history_length=0, max_steps=8)
    hesitant = {"noise": 0.5, "demonstrates_noise": True, "keeps_lost": True}
    rows = list(demonstrate(env, env.tasks()[:NUM_DEMONSTRATED], **hesitant, seed=options.seed))
    tokenizer = word_tokenizer(row["prompt"][0]["content"] + row["completion"][0]["content"] for row in rows)
    model = tiny_model(tokenizer, seed=options.seed)
    shared = {
        "output_dir": str(options.output_dir),
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "seed": options.seed,
        **HARDWARE,
    }
    imitation = SFTConfig(
        num_train_epochs=1, learning_rate=3e-3, per_device_train_batch_size=8, completion_only_loss=True, **shared
    )
    SFTTrainer(model, imitation, train_dataset=Dataset.from_list(rows), processing_class=tokenizer).train()
    config = ThreeSPOConfig(
        max_steps=options.max_steps,
        learning_rate=3e-4,
        per_device_train_batch_size=32,
        max_completion_length=24,
        eval_split="eval",
        num_eval_tasks=16,
        logging_steps=1,
        **shared,
    )
    return ThreeSPOTrainer(model, env, config, processing_class=tokenizer)


def main() -> None:
    """Train, evaluate and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="name on the Hub, or a folder")
    which.add_argument("--tiny", action="store_true", help="a model from scratch on the CPU")
    parser.add_argument("--items", type=Path, help="WebShop's products; default: the bundled catalogue")
    parser.add_argument("--attributes", type=Path, help="their attributes, required with --items")
    parser.add_argument("--human", type=Path, help="human instructions in place of the catalogue's own")
    parser.add_argument("--index-cache", type=Path, help="folder to keep the search index in")
    parser.add_argument("--output-dir", type=Path, help="default: runs/webshop, with --tiny one of its own")
    parser.add_argument("--max-steps", type=int, default=3, help="optimizer steps")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.output_dir = options.output_dir or Path("runs/webshop" + "-tiny" * options.tiny)
    options.output_dir = options.output_dir or Path("runs/webshop" + "-tiny" * options.tiny)
    if (options.items is None) != (options.attributes is None):
        parser.error("--items and --attributes go together")

    make_trainer = tiny_trainer if options.tiny else pretrained_trainer
    trainer = make_trainer(make_world(options), options)
    print(trainer.evaluate())
    trainer.train()
    print(trainer.evaluate())
    trainer.save_model()


if __name__ == "__main__":
    main()
