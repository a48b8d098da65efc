"""`trl-3spo view`: a page of a run's trees and episodes."""

import argparse
from pathlib import Path
from typing import Any


def add_command(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to a parser's."""
    view = commands.add_parser(
        "view",
        parents=[common],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        help="make a page of a run's trees and episodes",
    )
    view.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="output folder of a run; two stand side by side"
    )
    view.add_argument("--output", type=Path, help="file to write; default: view.html in the (first) run's folder")
    view.add_argument("--max_megabytes", type=float, default=80.0, help="of records on the page; some are left out")
    view.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the page."""
    from trl_3spo.view.page import write_page

    output = options.output or options.runs[0] / "view.html"
    num_left_out = write_page(options.runs, output, megabytes=options.max_megabytes)
    left_out = (
        f" {num_left_out} trees and episodes are left out; --max_megabytes has room for more." if num_left_out else ""
    )
    print(f"{output}: open it in a browser.{left_out}")
