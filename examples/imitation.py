"""Make a starting point for the demo: a small model that can play a world but hesitates.

Model and tokenizer are built from scratch and trained with TRL's SFTTrainer, every task being played once: epochs over
few tasks only teach those tasks. First an expert shows how, at every turn of episodes that random actions disturb
(DART, Laskey et al. 2017). Then the model plays itself and the expert says what it would have done (DAgger, Ross et
al. 2011). Last it learns to hesitate: it is shown, and copies, an expert many of whose actions are random. What that
leaves is a policy that knows what would help and often does something else, as pretrained models are before
reinforcement.
"""

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from trl_3spo.environments.base import Environment, Observation
from trl_3spo.environments.demonstrations import Expert, demonstrate
from trl_3spo.evaluation import play
from trl_3spo.evaluation.policies import load_policy
from trl_3spo.tiny import tiny_model, word_tokenizer


@dataclass(frozen=True)
class Phase:
    """One pass over fresh tasks.

    Args:
        seed: Of the tasks. The demo's own have 0.
        num_tasks: How many; every one is played once.
        learning_rate: At its highest.
        noise: Share of the expert's steps at which a random action is taken instead.
        demonstrates_noise: Whether the random action is what is demonstrated there.
        plays_itself: Whether the model plays in place of the expert, who then says what it should have done.
        completion_only_loss: Whether prompts are not learned.
    """

    seed: int
    num_tasks: int
    learning_rate: float
    noise: float = 0.0
    demonstrates_noise: bool = False
    plays_itself: bool = False
    completion_only_loss: bool = True


@dataclass(frozen=True)
class Lessons:
    """What is taught.

    Args:
        make_env: Makes a number of tasks from a seed.
        new_expert: Makes the expert of one episode from its first observation and a seed.
        phases: In this order.
        unit: Regular expression of what is one token besides single words.
        ignored_actions: Not taken at random.
        max_completion_length: Tokens of an action.
        unseen: Texts whose words no expert gets to read.
        num_repetitions: Texts to repeat before the first phase; see `repetitions`.
        initializer_range: Of the model's weights.
    """

    make_env: Callable[[int, int], Environment]
    new_expert: Callable[[Observation, int], Expert]
    phases: Sequence[Phase]
    unit: str
    ignored_actions: Sequence[str]
    max_completion_length: int
    unseen: Sequence[str] = ()
    num_repetitions: int = 0
    initializer_range: float = 0.02


def demonstrations(lessons: Lessons, phase: Phase, share: float) -> Dataset:
    """Return the steps of one expert episode on each of the phase's tasks."""
    env = lessons.make_env(round(phase.num_tasks * share), phase.seed)
    steps = demonstrate(
        env,
        env.tasks(),
        lessons.new_expert,
        noise=phase.noise,
        demonstrates_noise=phase.demonstrates_noise,
        ignored_actions=lessons.ignored_actions,
        keeps_lost=True,  # to hesitate is to lose now and then
        seed=phase.seed,
    )
    return Dataset.from_list(list(steps))


def corrections(lessons: Lessons, phase: Phase, share: float, folder: str) -> Dataset:
    """Return what the expert would have done at every step of one episode of the saved model on each of the tasks."""
    env = lessons.make_env(round(phase.num_tasks * share), phase.seed)
    policy = load_policy(folder, temperature=1.0, max_completion_length=lessons.max_completion_length)
    rows = []
    for episode in play(policy.answering(env), env, env.tasks(), batch_size=256):
        visits = episode.end.path()
        expert = lessons.new_expert(visits[0].observation, phase.seed)
        for visit in visits[:-1]:
            answer = expert(visit.observation, visit.turns()).action
            prompt = env.prompt(visit.task, visit.observation, visit.turns())
            rows.append({"prompt": prompt, "completion": [{"role": "assistant", "content": answer}]})
    return Dataset.from_list(rows)


def repetitions(tokenizer, count: int) -> Dataset:
    """Return random words to repeat: they teach in seconds to copy any word, which actions alone take long for."""
    rng = random.Random(0)
    words = sorted(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens))
    texts = [" ".join(rng.choices(words, k=16)) for _ in range(count)]
    return Dataset.from_list([{"prompt": text, "completion": f" {text}"} for text in texts])


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
        gradient_checkpointing=False,
    )
    SFTTrainer(model, args=config, train_dataset=dataset, processing_class=tokenizer).train()


def teach(lessons: Lessons, folder: str, share: float) -> None:
    """Train a new model and save it after every phase.

    Args:
        lessons: What is taught.
        folder: Where model and tokenizer are saved.
        share: Of the tasks; less is quicker and worse.
    """
    shown = {phase: demonstrations(lessons, phase, share) for phase in lessons.phases if not phase.plays_itself}
    rows = chain.from_iterable(shown.values())
    texts = (row["prompt"][0]["content"] + " " + row["completion"][0]["content"] for row in rows)
    tokenizer = word_tokenizer(chain(texts, lessons.unseen), unit=lessons.unit)
    model = tiny_model(tokenizer, hidden_size=128, num_layers=3, initializer_range=lessons.initializer_range)
    print(f"{len(tokenizer)} words, {model.num_parameters():,} parameters", flush=True)
    if lessons.num_repetitions:
        reading = Phase(seed=0, num_tasks=0, learning_rate=2e-3)
        imitate(model, tokenizer, repetitions(tokenizer, round(lessons.num_repetitions * share)), folder, reading)
    for phase in lessons.phases:
        dataset = shown[phase] if phase in shown else corrections(lessons, phase, share, folder)
        print(f"{len(dataset)} steps: {phase}", flush=True)
        imitate(model, tokenizer, dataset, folder, phase)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def main(description: str, lessons: Lessons) -> None:
    """Teach as the command line says."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", required=True)
    parser.add_argument("--share", type=float, default=1.0, help="of the tasks; less is quicker and worse")
    options = parser.parse_args()
    teach(lessons, options.output_dir, options.share)
