"""`trl-3spo merge`: an adapter and its base as one plain model."""

import argparse
from pathlib import Path
from typing import Any


def add_command(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to a parser's."""
    merge = commands.add_parser(
        "merge", parents=[common], help="add a trained adapter to its base and save one plain model"
    )
    merge.add_argument("--adapter", type=Path, required=True, help="folder of the adapter")
    merge.add_argument("--output", type=Path, required=True, help="folder to write")
    merge.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16", "float16"],
        default="auto",
        help="data type of the merged weights; default: the base's. 16 bits may round a small adapter away",
    )
    merge.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Merge."""
    from trl_3spo.evaluation.policies import merge_adapter

    merge_adapter(options.adapter, options.output, dtype=options.dtype)
    print(f"merged model in {options.output}")
