"""What the examples with a tiny model have in common: a few demonstrations, training, success before and after."""

import argparse
import json
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer, __version__
from trl_3spo.algorithm.records import Sample, Visit
from trl_3spo.environments.base import Environment, Task
from trl_3spo.evaluation import play
from trl_3spo.evaluation.asker import Asker
from trl_3spo.evaluation.chat import Chat

CPU = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "save_strategy": "no", "report_to": "none"}
"""Settings of a training on the CPU of which only the result is kept."""


def demonstrations(env: Environment, tokenizer, tasks: Sequence[Task], expert: Callable[[Visit], str]) -> Dataset:
    """Return the tokens of every prompt and answer of one episode on each task.

    Args:
        env: The environment.
        tokenizer: The policy's.
        tasks: To play.
        expert: Returns the answer at a visit.
    """
    asker = Asker(env, Chat(tokenizer, has_tools=bool(env.tools(tasks[0]))), lambda: 0)

    def answer(visits):
        texts = [f"{expert(visit)}{tokenizer.eos_token}" for visit in visits]
        return [asker.read(asked, tokenizer.encode(text)) for asked, text in zip(asker.ask(visits), texts, strict=True)]

    rows = [row for episode in play(answer, env, tasks) for row in _rows([x.sample for x in episode.end.path()[1:]])]
    return Dataset.from_list(rows)


def _rows(steps: Sequence[Sample]) -> Iterator[dict[str, list[int]]]:
    """Yield an episode as one row where each prompt goes on from the one before, and otherwise as one row a step."""
    ids: list[int] = []
    mask: list[int] = []
    for step in steps:
        if ids and step.prompt_ids[: len(ids)] != ids:
            yield {"input_ids": ids, "completion_mask": mask}
            ids, mask = [], []
        further = row(step.prompt_ids[len(ids) :], step.completion_ids)
        ids, mask = ids + further["input_ids"], mask + further["completion_mask"]
    yield {"input_ids": ids, "completion_mask": mask}


def row(prompt_ids: list[int], completion_ids: list[int]) -> dict[str, list[int]]:
    """Return a row of a dataset for SFTTrainer of which the completion is learned."""
    mask = [0] * len(prompt_ids) + [1] * len(completion_ids)
    return {"input_ids": [*prompt_ids, *completion_ids], "completion_mask": mask}


def imitate(
    model, tokenizer, dataset: Dataset, folder: Path, *, num_epochs: float, learning_rate: float = 2e-3
) -> None:
    """Fine-tune a model on demonstrations."""
    config = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=num_epochs,
        per_device_train_batch_size=32,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=10,
        completion_only_loss=True,
        train_sampling_strategy="group_by_length",
        logging_steps=25,
        max_length=None,
        **CPU,
    )
    SFTTrainer(model, args=config, train_dataset=dataset, processing_class=tokenizer).train()


def reinforce(
    model,
    tokenizer,
    env: Environment,
    folder: Path,
    *,
    unseen: Sequence[Task],
    started: float,
    num_generations_eval: int = 1,
    **options,
) -> dict[str, object]:
    """Train a model with 3SPO and return its success on tasks it was not trained on, before and after, with minutes.

    Args:
        model: The policy, after its demonstrations.
        tokenizer: Its tokenizer.
        env: The environment. Its default split is trained on.
        folder: Of the run.
        unseen: Tasks to evaluate on, at temperature 1.
        started: When the demonstrations began, by `time.perf_counter`.
        num_generations_eval: How often each of them is played.
        options: Of ThreeSPOConfig.
    """
    config = ThreeSPOConfig(
        output_dir=str(folder),
        per_device_eval_batch_size=len(unseen) * num_generations_eval,
        num_generations_eval=num_generations_eval,
        eval_temperature=1.0,
        logging_steps=5,
        **(CPU | options),
    )
    trainer = ThreeSPOTrainer(model, env, config, eval_tasks=unseen, processing_class=tokenizer)
    trainer.evaluate()
    before = trainer.evaluation
    training = time.perf_counter()
    trainer.train()
    ended = time.perf_counter()
    trainer.evaluate()
    after = trainer.evaluation
    return {
        "before": before.to_dict(),
        "after": after.to_dict(),
        "minutes": (ended - started) / 60,
        "minutes_of_demonstrations": (training - started) / 60,
        "options": options,
    }


def options_of(description: str, max_steps: int) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the result")
    parser.add_argument("--output-dir", type=Path, default=Path("runs/tiny_agent"))
    parser.add_argument("--max-steps", type=int, default=max_steps, help="optimizer steps; default: a few minutes")
    parser.add_argument("--share", type=float, default=1.0, help="of the demonstrations; less is quicker and worse")
    parser.add_argument("--num-unseen", type=int, default=200, help="episodes of an evaluation")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def report(result: dict[str, object], script: str, options: argparse.Namespace) -> None:
    """Print a result and write it with its origin."""
    git = ["git", "-C", str(Path(__file__).parent)]
    head, changed = (
        subprocess.run([*git, *command], capture_output=True, text=True, check=False).stdout.strip()
        for command in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "-uno"])
    )
    packages = {name: version(name) for name in ("torch", "transformers", "trl")} | {"trl_3spo": __version__}
    record = result | {
        "command": f"python examples/{Path(script).name} --json FILE --max-steps {options.max_steps}"
        f" --seed {options.seed}",
        "commit": head + ("+" if changed else "") or None,
        "versions": packages | {"python": platform.python_version()},
        "threads": torch.get_num_threads(),
    }
    for name in ("before", "after"):
        success = record[name]["success"]
        print(f"{name}: {success['rate']:.1%} ({success['low']:.1%} to {success['high']:.1%})")
    print(f"{record['minutes']:.1f} minutes")
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
