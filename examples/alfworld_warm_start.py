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

TRAIN_SEED, PANEL_SEED, WARM_START_SEED = 0, 1, 2


def demonstrations(num_games: int, noise: float) -> Dataset:
    """Return the steps of one noisy expert episode on each of so many games."""
    env = AlfworldEnv(generated=num_games, seed=WARM_START_SEED, **WORLD)
    return Dataset.from_list(list(demonstrate(env, env.tasks(), noise=noise)))


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", required=True)
    parser.add_argument("--games", type=int, default=4000)
    parser.add_argument("--noise", type=float, default=0.6)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    options = parser.parse_args()

    dataset = demonstrations(options.games, options.noise)
    tokenizer = word_tokenizer(row["prompt"][0]["content"] + " " + row["completion"][0]["content"] for row in dataset)
    model = tiny_model(tokenizer, hidden_size=128, num_layers=3)
    print(f"{len(dataset)} steps of {options.games} games, {model.num_parameters():,} parameters", flush=True)
    config = SFTConfig(
        output_dir=options.output_dir,
        num_train_epochs=1,
        per_device_train_batch_size=32,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=100,
        completion_only_loss=False,  # prompts repeat their own words, which teaches to copy long before actions do
        train_sampling_strategy="group_by_length",
        logging_steps=50,
        save_strategy="no",
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        activation_checkpointing=False,
    )
    trainer = SFTTrainer(model, args=config, train_dataset=dataset, processing_class=tokenizer)
    trainer.train()
    trainer.save_model(options.output_dir)


if __name__ == "__main__":
    main()
