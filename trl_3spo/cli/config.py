"""`trl-3spo config`: configurations to begin with, as files for `train` and `accelerate launch`."""

import argparse
from pathlib import Path
from typing import Any

from trl_3spo.cli.arguments import proposal

FOLDER = Path(__file__).parents[1] / "configurations"


def add_command(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the main parser."""
    config = commands.add_parser(
        "config", parents=[common], help="print a configuration to begin with: trl-3spo config NAME > mine.yaml"
    )
    config.add_argument("name", nargs="?", help="name of a configuration; without it, all are listed")
    config.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print a configuration, or list all of them.

    Raises:
        ValueError: There is no such configuration.
    """
    files = {str(file.relative_to(FOLDER).with_suffix("")): file for file in sorted(FOLDER.rglob("*.yaml"))}
    if options.name is None:
        print("\n".join(f"{name:<24} {_purpose(file)}" for name, file in files.items()))
    elif options.name in files:
        print(files[options.name].read_text(encoding="utf-8"), end="")
    else:
        known = proposal(options.name, files)
        raise ValueError(f"There is no configuration {options.name!r}{known}. `trl-3spo config` lists them.")


def _purpose(file: Path) -> str:
    """Return the first sentence of a file's comment."""
    lines = file.read_text(encoding="utf-8").splitlines()
    comment = " ".join(line.lstrip("# ") for line in lines[:3] if line.startswith("#"))
    return comment.partition(". ")[0]
