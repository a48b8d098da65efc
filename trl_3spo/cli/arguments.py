"""Parts that several commands share: how options are written, and which environment and tasks they name."""

import argparse
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from trl_3spo.cli.names import ALFWORLD, make_environment
from trl_3spo.environments.base import Environment, Task
from trl_3spo.evaluation.panel_sample import sample_panel


class Parser(argparse.ArgumentParser):
    """A parser that proposes the option that was probably meant."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, with a proposal for options that are not known, and exit with 2."""
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            known = {name for action in self._actions for name in action.option_strings}
            message += proposal(unknown.split()[0].partition("=")[0], known)
        super().error(message)


def proposal(unknown: str, known: Iterable[str]) -> str:
    """Return which of the known names was probably meant, as an end of a sentence; nothing if none is near."""
    near = get_close_matches(unknown, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def underscored(arguments: Sequence[str]) -> list[str]:
    """Return arguments with underscores in the names of options: `--num-tasks` is `--num_tasks`."""
    return [_underscored(argument) if argument.startswith("--") else argument for argument in arguments]


def _underscored(argument: str) -> str:
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def positive(text: str) -> int:
    """Read a number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} must be at least 1")
    return number


def add_environment_options(group: argparse._ActionsContainer) -> None:
    """Add the arguments of an environment, however it is named itself."""
    group.add_argument(
        "--environment_options", nargs="*", default=[], metavar="NAME=VALUE", help="options, such as split=valid_unseen"
    )


def task_options() -> argparse.ArgumentParser:
    """Return the options that name an environment and some of its tasks."""
    parser = Parser(add_help=False)
    world = parser.add_argument_group("the environment")
    world.add_argument("--environment", metavar="MODULE:NAME", help=f"class or function; default: {ALFWORLD}")
    add_environment_options(world)
    group = parser.add_argument_group("its tasks")
    group.add_argument(
        "--num_tasks", type=positive, help="size of a panel with every task type in its share; default: all"
    )
    group.add_argument("--panel_seed", type=int, default=0, help="seed for the choice of tasks")
    group.add_argument(
        "--seed", type=int, default=0, help="seed for sampling or the expert; games have their own option"
    )
    return parser


def environment_of(options: argparse.Namespace) -> Environment:
    """Make the environment that options name."""
    return make_environment(options.environment or ALFWORLD, options.environment_options)


def tasks_of(env: Environment, options: argparse.Namespace) -> Sequence[Task]:
    """Return the tasks that options name."""
    return sample_panel(env.tasks(), options.num_tasks, seed=options.panel_seed)
