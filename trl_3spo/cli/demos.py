"""`trl-3spo demos`: an expert's steps as prompts and completions."""

import argparse
from pathlib import Path
from typing import Any

from trl_3spo.cli.arguments import environment_of, task_options, tasks_of
from trl_3spo.cli.names import resolve_expert
from trl_3spo.environments.base import Environment


def add_command(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to a parser's."""
    demos = commands.add_parser(
        "demos",
        parents=[task_options(), common],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        help="write an expert's steps as prompts and completions for SFTTrainer",
    )
    demos.add_argument(
        "--expert", metavar="MODULE:NAME", help="function `demonstrate`; default: the environment's own, if it has one"
    )
    demos.add_argument("--output", type=Path, required=True, help="file to write, .parquet or .jsonl")
    demos.add_argument("--noise", type=float, default=0.0, help="share of steps at which a random action is taken")
    demos.add_argument(
        "--demonstrate_noise", action="store_true", help="demonstrate the random action, not the expert's"
    )
    demos.add_argument("--keep_lost", action="store_true", help="keep episodes that do not succeed")
    demos.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Play the expert and write its steps."""
    from datasets import Dataset

    if options.output.suffix not in (".parquet", ".jsonl"):
        raise ValueError(f"--output is {options.output}; it must end in .parquet or .jsonl.")
    env = environment_of(options)
    demonstrate = resolve_expert(options.expert or _expert_of(env))
    play = {"noise": options.noise, "demonstrates_noise": options.demonstrate_noise}
    play |= {"keeps_lost": True} if options.keep_lost else {}  # an expert of one's own need not know it
    dataset = Dataset.from_list(list(demonstrate(env, tasks_of(env, options), **play, seed=options.seed)))
    if not len(dataset):
        raise ValueError("No episode succeeded, so there is nothing to write. --keep_lost writes episodes as they are.")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write = dataset.to_parquet if options.output.suffix == ".parquet" else dataset.to_json
    write(str(options.output))
    print(f"{len(dataset)} steps in {options.output}")


def _expert_of(env: Environment) -> str:
    if env.expert is None:
        raise ValueError(
            f"{type(env).__name__} names no expert; give one with --expert MODULE:NAME, a function that begins with "
            "`def demonstrate(env, tasks, …)`."
        )
    return env.expert
