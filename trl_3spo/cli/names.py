"""Environments by name, as the command line and its files have them: `module:name` and `NAME=VALUE` options."""

import json
import pkgutil
from collections.abc import Sequence
from typing import Any

from trl_3spo.environments.base import Environment

ALFWORLD = "trl_3spo.environments.alfworld:AlfworldEnv"


def make_environment(name: str, options: Sequence[str]) -> Environment:
    """Call what `module:name` names with `NAME=VALUE` options.

    Raises:
        ValueError: There is no such thing, it does not take these options, or it makes no environment.
    """
    try:
        env = resolve(name)(**dict(map(_option, options)))
    except TypeError as error:
        raise ValueError(f"{name} with the options {' '.join(options) or '(none)'}: {error}") from error
    if not isinstance(env, Environment):
        raise ValueError(f"{name} made a {type(env).__name__}; an Environment is required, such as {ALFWORLD}.")
    return env


def resolve(name: str) -> Any:
    """Return what `module:name` names.

    Raises:
        ValueError: There is no such thing.
    """
    try:
        return pkgutil.resolve_name(name)
    except (AttributeError, ImportError, ValueError) as error:
        raise ValueError(f"There is no {name}: {error}. MODULE:NAME is required, such as {ALFWORLD}.") from error


def _option(text: str) -> tuple[str, Any]:
    """Read `name=value`, the value as JSON where it is, else as a string."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"The environment option {text!r} has no value; NAME=VALUE is required, such as seed=1.")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
