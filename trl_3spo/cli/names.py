"""Environments by name, as the command line and its files have them: `module:name` and `NAME=VALUE` options."""

import functools
import inspect
import json
import pkgutil
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trl_3spo.environments.base import Environment

ALFWORLD = "trl_3spo.environments.alfworld:AlfworldEnv"

Options = Sequence[str | Mapping[str, Any]] | Mapping[str, Any]
"""Options of an environment: `NAME=VALUE` texts, or mappings as YAML has them."""


def make_environment(name: str, options: Options) -> Environment:
    """Call what `module:name` names, an environment's class or a function that makes one, with options.

    Nothing is called that does not say that it makes an environment. Its module is imported, though, and what stands
    there is executed: names and files must come from somebody who is trusted.

    Raises:
        ValueError: There is no such thing, it does not take these options, or it makes no environment.
    """
    make = resolve(name)
    _require_environment(name, make)
    named = _read_options(options)
    try:
        env = make(**named)
    except TypeError as error:
        written = " ".join(f"{option}={value}" for option, value in named.items()) or "(none)"
        raise ValueError(f"{name} with the options {written}: {error}") from error
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


def resolve_expert(name: str) -> Callable[..., Any]:
    """Return the function `module:name` names, which has to take an environment and its tasks as `demonstrate` does.

    Raises:
        ValueError: There is no such function.
    """
    expert = resolve(name)
    if not inspect.isfunction(expert) or list(inspect.signature(expert).parameters)[:2] != ["env", "tasks"]:
        raise ValueError(
            f"{name} is no expert and was not called. A function is required that begins with `def demonstrate(env, "
            "tasks, …)`, such as trl_3spo.environments.alfworld.expert.demonstrations:demonstrate."
        )
    return expert


def _require_environment(name: str, make: Any) -> None:
    """Raise a ValueError unless something says of itself, without being called, that it makes an environment."""
    made = _made_by(make)
    if isinstance(made, type) and issubclass(made, Environment):
        return
    if isinstance(made, type):
        raise ValueError(
            f"{name} was not called: it would have made a {made.__name__}; an Environment is required, such as "
            f"{ALFWORLD}."
        )
    raise ValueError(
        f"{name} was not called: it does not say what it makes. Required is a subclass of Environment, or a function "
        "whose annotation says that it returns one: `def make(…) -> Environment`."
    )


def _made_by(make: Any) -> Any:
    """Return the class of what a call would make, `None` if nothing says so."""
    if isinstance(make, functools.partial):
        return _made_by(make.func)
    if isinstance(make, type):
        return make
    if not inspect.isroutine(make):
        return None
    try:
        made = typing.get_type_hints(make).get("return")
    except (NameError, TypeError):
        return None
    owner = getattr(make, "__self__", None)
    return owner if made is typing.Self else typing.get_origin(made) or made


def _read_options(options: Any) -> dict[str, Any]:
    if isinstance(options, Mapping):
        return dict(options)
    given = [options] if isinstance(options, str) else options
    if not isinstance(given, Sequence) or not all(isinstance(option, str | Mapping) for option in given):
        raise ValueError(
            f"The environment options are {options!r}; a mapping is required, such as {{seed: 1}}, or NAME=VALUE texts."
        )
    pairs: dict[str, Any] = {}
    for option in given:
        pairs |= option if isinstance(option, Mapping) else dict([_option(option)])
    return pairs


def _option(text: str) -> tuple[str, Any]:
    """Read `name=value`, the value as JSON where it is, else as a string."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"The environment option {text!r} has no value; NAME=VALUE is required, such as seed=1.")
    try:
        return name, json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        return name, value
