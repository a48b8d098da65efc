"""Make the demo's starting point: a small Qwen2 that can play ALFWorld-style games but hesitates.

    python examples/alfworld_warm_start.py --output-dir examples/warm_start

Model and tokenizer are built from scratch and trained with TRL's SFTTrainer, every game being played once: epochs over
few games only teach those games. First an expert shows how, at every turn of games that random actions disturb (DART,
Laskey et al. 2017). Then the model plays itself and the expert says what it would have done (DAgger, Ross et al. 2011).
Last it learns to hesitate: it is shown, and copies, an expert half of whose actions are random. What that leaves is a
policy that knows what would help and often does something else, as pretrained models are before reinforcement.
"""

import argparse
from dataclasses import dataclass
from itertools import chain

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from trl_3spo.checkpoint import load_policy
from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.demonstrations import demonstrate
from trl_3spo.environments.alfworld.expert import SearchExpert
from trl_3spo.evaluation import play
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


UNSEEN = ["Nothing happens."]
"""What the expert never gets to read, since all its actions are admissible."""


@dataclass(frozen=True)
class Phase:
    """One pass over fresh games.

    Args:
        seed: Of the games. The demo's own have 0.
        games: How many; every one is played once.
        learning_rate: At its highest.
        noise: Share of the expert's steps at which a random action is taken instead.
        demonstrates_noise: Whether the random action is what is demonstrated there.
        plays_itself: Whether the model plays in place of the expert, who then says what it should have done.
        completion_only_loss: Whether prompts are not learned.
    """

    seed: int
    games: int
    learning_rate: float
    noise: float = 0.0
    demonstrates_noise: bool = False
    plays_itself: bool = False
    completion_only_loss: bool = True


PHASES = (
    # Prompts repeat their own words: reading them teaches to copy long before actions alone would.
    Phase(seed=2, games=4000, learning_rate=2e-3, noise=0.3, completion_only_loss=False),
    Phase(seed=3, games=15000, learning_rate=1e-3, noise=0.3),
    Phase(seed=6, games=2500, learning_rate=7e-4, plays_itself=True),
    Phase(seed=7, games=2500, learning_rate=7e-4, plays_itself=True),
    Phase(seed=5, games=350, learning_rate=5e-4, noise=0.5, demonstrates_noise=True),
)


def make_env(phase: Phase, share: float) -> AlfworldEnv:
    """Return the phase's games, or a share of them."""
    return AlfworldEnv(generated=round(phase.games * share), seed=phase.seed, **WORLD)


def demonstrations(phase: Phase, share: float) -> Dataset:
    """Return the steps of one expert episode on each of the phase's games."""
    env = make_env(phase, share)
    steps = demonstrate(
        env,
        env.tasks(),
        noise=phase.noise,
        demonstrates_noise=phase.demonstrates_noise,
        plays_by_prompt=True,
        seed=phase.seed,
    )
    return Dataset.from_list(list(steps))


def corrections(phase: Phase, share: float, folder: str) -> Dataset:
    """Return what the expert would have done at every step of one episode of the saved model on each of the games."""
    env = make_env(phase, share)
    policy = load_policy(folder, temperature=1.0, max_completion_length=10)
    rows = []
    for episode in play(policy, env, env.tasks(), batch_size=256):
        visits = episode.end.path()
        expert = SearchExpert(visits[0].observation.text, phase.seed, history_length=env.history_length)
        for visit in visits[:-1]:
            expert.observe(visit.observation.text)
            answer = expert.act(visit.observation.admissible_actions)
            prompt = env.prompt(visit.task, visit.observation, visit.turns())
            rows.append({"prompt": prompt, "completion": [{"role": "assistant", "content": answer}]})
    return Dataset.from_list(rows)


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

    shown = {phase: demonstrations(phase, options.share) for phase in PHASES if not phase.plays_itself}
    rows = chain.from_iterable(shown.values())
    texts = (row["prompt"][0]["content"] + " " + row["completion"][0]["content"] for row in rows)
    tokenizer = word_tokenizer(chain(texts, UNSEEN), unit=NAMES)
    model = tiny_model(tokenizer, hidden_size=128, num_layers=3)
    print(f"{len(tokenizer)} words, {model.num_parameters():,} parameters", flush=True)
    for phase in PHASES:
        dataset = shown[phase] if phase in shown else corrections(phase, options.share, options.output_dir)
        print(f"{len(dataset)} steps: {phase}", flush=True)
        imitate(model, tokenizer, dataset, options.output_dir, phase)
        model.save_pretrained(options.output_dir)
        tokenizer.save_pretrained(options.output_dir)


if __name__ == "__main__":
    main()
