"""Make the demo's starting point: a small Qwen2 that can play ALFWorld-style games but hesitates.

    python examples/alfworld_warm_start.py --output-dir examples/warm_start

Model and tokenizer are built from scratch and trained with TRL's SFTTrainer, on demonstrations that each come from a
game of their own: epochs over few games only teach those games. First it learns to play: the games are disturbed by
random actions and the expert's own answer is demonstrated everywhere (DART, Laskey et al. 2017). Then it learns to
hesitate: it is shown, and copies, an expert most of whose actions are random. What that leaves is a policy that knows
what would help and seldom does it, as pretrained models are before reinforcement.
"""

import argparse
from dataclasses import dataclass
from itertools import chain

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


NAMES = r"[a-z]+ [0-9]+"
"""Numbered things, such as `cabinet 3`, are one token."""


@dataclass(frozen=True)
class Phase:
    """One pass over fresh games.

    Args:
        seed: Of the games. The demo's own have 0.
        games: How many; every one is played once.
        noise: Share of steps at which a random action is taken in place of the expert's.
        demonstrates_noise: Whether the random action is what is demonstrated there.
        learning_rate: At its highest.
        completion_only_loss: Whether prompts are not learned.
    """

    seed: int
    games: int
    noise: float
    demonstrates_noise: bool
    learning_rate: float
    completion_only_loss: bool


PHASES = (
    # Prompts repeat their own words: reading them teaches to copy long before actions alone would.
    Phase(2, games=4000, noise=0.3, demonstrates_noise=False, learning_rate=2e-3, completion_only_loss=False),
    Phase(3, games=15000, noise=0.3, demonstrates_noise=False, learning_rate=1e-3, completion_only_loss=True),
    Phase(5, games=350, noise=0.6, demonstrates_noise=True, learning_rate=5e-4, completion_only_loss=True),
)


def demonstrations(phase: Phase, share: float) -> Dataset:
    """Return the steps of one expert episode on each of the phase's games."""
    env = AlfworldEnv(generated=round(phase.games * share), seed=phase.seed, **WORLD)
    steps = demonstrate(
        env, env.tasks(), noise=phase.noise, demonstrates_noise=phase.demonstrates_noise, seed=phase.seed
    )
    return Dataset.from_list(list(steps))


def imitate(model, tokenizer, dataset: Dataset, folder: str, phase: Phase) -> None:
    """Train one epoch."""
    config = SFTConfig(
        output_dir=folder,
        num_train_epochs=1,
        per_device_train_batch_size=32,
        learning_rate=phase.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=50,
        completion_only_loss=phase.completion_only_loss,
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
    parser.add_argument("--share", type=float, default=1.0, help="of the games; less is quicker and worse")
    options = parser.parse_args()

    datasets = [demonstrations(phase, options.share) for phase in PHASES]
    rows = chain.from_iterable(datasets)
    texts = (row["prompt"][0]["content"] + " " + row["completion"][0]["content"] for row in rows)
    tokenizer = word_tokenizer(texts, unit=NAMES)
    model = tiny_model(tokenizer, hidden_size=128, num_layers=3)
    print(f"{sum(map(len, datasets))} steps, {len(tokenizer)} words, {model.num_parameters():,} parameters", flush=True)
    for phase, dataset in zip(PHASES, datasets, strict=True):
        imitate(model, tokenizer, dataset, options.output_dir, phase)
    model.save_pretrained(options.output_dir)
    tokenizer.save_pretrained(options.output_dir)


if __name__ == "__main__":
    main()
