"""The YAML file of `trl-3spo train --config FILE`, read and checked before anything is made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from trl_3spo.cli.arguments import proposal
from trl_3spo.cli.train_help import given

NOT_SETTINGS = ("config", "env")
"""What TRL's parser takes beside the options: the file, and variables of the process's environment, in the file."""


def read_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the settings of the file that arguments name; none without one.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no YAML, or no mapping.
    """
    name = given(arguments, "config")
    if name is None:
        return {}
    try:
        settings = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is no YAML: {' '.join(str(error).split())}") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ValueError(f"{name} holds a {type(settings).__name__}; it must be a mapping, such as `max_steps: 100`.")
    return settings


def require_known(arguments: Sequence[str], settings: Mapping[str, Any], kinds: Sequence[type]) -> None:
    """Raise a ValueError that names an unknown option or setting and the one that was probably meant.

    Args:
        arguments: Arguments of the command line.
        settings: Settings of the file.
        kinds: Dataclasses with the options there are.
    """
    known = {field.name for kind in kinds for field in fields(kind)}
    known |= {f"no_{field.name}" for kind in kinds for field in fields(kind) if field.type is bool}
    for name in settings:
        if name not in known and name not in NOT_SETTINGS:
            raise ValueError(f"The file has a setting {name!r}, which is not known{proposal(str(name), known)}.")
    for argument in arguments:
        name = argument[2:].partition("=")[0]
        if argument.startswith("--") and name not in known and name not in NOT_SETTINGS:
            raise ValueError(f"There is no option --{name}{proposal(name, known)}. --help lists them.")
