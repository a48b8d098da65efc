"""The command line, `trl-3spo`; docs/command_line.md describes it."""

import argparse
import sys
from collections.abc import Sequence

from trl_3spo._version import __version__
from trl_3spo.cli import config, demos, evaluate, merge, play, train_help, view
from trl_3spo.cli.arguments import Parser, underscored

EXIT_CODES = """exit codes:
  0    done
  1    an error, told in a line; --debug shows where
  2    the options are wrong
  3    train: nothing is left to learn from
  130  interrupted from the keyboard
  143  train: told to end by SIGTERM, after a checkpoint"""

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; see `trl-3spo --help`."""
    parser = _parser()
    options, rest = parser.parse_known_args(underscored(sys.argv[1:] if arguments is None else arguments))
    if rest and options.command != "train":
        options.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    if "" not in sys.path:
        sys.path.append("")  # an environment may be in a file here, which must not stand in for an installed package
    try:
        options.run(options)
    except (ImportError, FloatingPointError, OSError, ValueError) as error:
        if options.debug:
            raise
        parser.exit(1, f"trl-3spo {options.command}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(INTERRUPTED, "\n")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="trl-3spo",
        description="Train, evaluate and look at language-model agents. Options may be written with - or _.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    common = Parser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show where an error comes from")
    for module in (evaluate, view, play, demos, merge, config):
        module.add_command(commands, common)
    train = commands.add_parser("train", parents=[common], add_help=False, help="train, by options or a YAML file")
    train.add_argument("--help", "-h", action="store_true")
    train.set_defaults(run=_train)
    for name, command in commands.choices.items():
        command.set_defaults(parser=command, command=name)
    return parser


def _train(options: argparse.Namespace) -> None:
    if options.help:
        print(train_help.text(options.rest))
        return
    # Imported here: torch takes seconds, which `--help` and mistakes in other commands need not wait for.
    from trl_3spo.cli.train import main as train

    train(options.rest)
