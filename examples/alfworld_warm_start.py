"""Make the demo's starting point: a small Qwen2 that has imitated a hesitant expert on fresh ALFWorld-style games.

    python examples/alfworld_warm_start.py --output-dir examples/alfworld_warm_start

Model and tokenizer are built from scratch and trained with TRL's SFTTrainer. Every demonstration comes from a game of
its own, so the model has to learn how such games are played; epochs over few games only teach those games. The expert
takes a random action at the given share of its steps, which is what reinforcement has to unlearn.
"""

import argparse

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.demonstrations import demonstrate
from trl_3spo.tiny import tiny_model, word_tokenizer

WORLD = {
    "num_receptacles": (4, 8),
    "num_objects": (4, 10),
    "max_steps": 20,
    "prompt_format": "action",
    "history_length": 3,
}
"""Small games in few tokens."""

SEEDS = (101, 102)
"""Of the games to read and of the games to act in; the demo's own games have others."""


NAMES = r"[a-z]+ [0-9]+"
"""Numbered things are one token each: naming one is then copying one token."""


def demonstrations(num_games: int, noise: float, seed: int) -> Dataset:
    """Return the steps of one noisy expert episode on each of so many games."""
    env = AlfworldEnv(generated=num_games, seed=seed, **WORLD)
    return Dataset.from_list(list(demonstrate(env, env.tasks(), noise=noise, seed=seed)))


def imitate(model, tokenizer, dataset: Dataset, folder: str, learning_rate: float, completion_only_loss: bool) -> None:
    """Train one epoch."""
    config = SFTConfig(
        output_dir=folder,
        num_train_epochs=1,
        per_device_train_batch_size=32,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=50,
        completion_only_loss=completion_only_loss,
        train_sampling_strategy="group_by_length",
        logging_steps=50,
        save_strategy="no",
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        activation_checkpointing=False,
    )
    SFTTrainer(model, args=config, train_dataset=dataset, processing_class=tokenizer).train()


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", required=True)
    parser.add_argument("--games", type=int, nargs=2, default=(1500, 5000), help="for reading and for acting")
    parser.add_argument("--noise", type=float, default=0.5)
    options = parser.parse_args()

    reading, acting = (demonstrations(n, options.noise, seed) for n, seed in zip(options.games, SEEDS, strict=True))
    texts = (row["prompt"][0]["content"] + " " + row["completion"][0]["content"] for row in (*reading, *acting))
    tokenizer = word_tokenizer(texts, unit=NAMES)
    model = tiny_model(tokenizer, hidden_size=128, num_layers=3)
    print(f"{len(reading)} + {len(acting)} steps, {len(tokenizer)} words, {model.num_parameters():,} parameters")
    # Prompts repeat their own words: reading them teaches to copy long before actions alone would.
    imitate(model, tokenizer, reading, options.output_dir, 2e-3, completion_only_loss=False)
    imitate(model, tokenizer, acting, options.output_dir, 1e-3, completion_only_loss=True)
    model.save_pretrained(options.output_dir)
    tokenizer.save_pretrained(options.output_dir)


if __name__ == "__main__":
    main()
