"""Environment, tasks, method and options that saved a checkpoint, and which may differ when it is resumed."""

import inspect
import json
from dataclasses import fields
from typing import Any

from trl_3spo._version import __version__
from trl_3spo.environments.base import Environment
from trl_3spo.evaluation.results import panel_hash

FORMAT = 1
"""Version of the checkpoint files. It is raised when they have to be read differently."""

WITHOUT_EFFECT = (
    "output_dir", "run_name", "disable_tqdm", "project", "trackio", "log", "save", "hub", "push", "eval", "report",
    "dataloader", "ddp", "resume", "restore", "set_aside", "on_nonfinite", "enable_jit", "num_completions_to_print",
    "skip_memory", "tf32", "debug", "local_rank", "remove_unused", "include", "batch_eval", "per_device_eval",
    "num_generations_eval", "num_eval_tasks", "panel_seed", "load_best", "metric_for_best",
)  # fmt: skip
"""Beginnings of names of options that may differ without a warning."""


def fingerprint(trainer: Any) -> dict[str, Any]:
    """Return a trainer's properties that are compared when its checkpoint is resumed."""
    ids = [task.id for task in trainer.train_tasks]
    return {
        "format": FORMAT,
        "version": __version__,
        "method": type(trainer.algorithm).__qualname__,
        "environment": {"class": type(trainer.env).__qualname__, "options": options_of(trainer.env)},
        "tasks": {"number": len(ids), "hash": panel_hash(ids)},
        "num_ranks": trainer.ranks.num_ranks,
        "options": plain_options(trainer.args),
    }


def options_of(env: Environment) -> dict[str, Any]:
    """Return the constructor's arguments that an environment keeps as attributes, if JSON can hold them."""
    names = inspect.signature(type(env).__init__).parameters
    found = {name: getattr(env, name, getattr(env, f"_{name}", inspect.Parameter.empty)) for name in names}
    return {name: value for name, value in found.items() if _is_plain(value)}


def check_fingerprint(saved: dict[str, Any], present: dict[str, Any], checkpoint: str) -> list[str]:
    """Compare the trainer that saved a checkpoint with the one that resumes it.

    Args:
        saved: Fingerprint in the checkpoint.
        present: Fingerprint of the trainer.
        checkpoint: Name of the checkpoint.

    Returns:
        All other differences, as `name: saved value, now present value`.

    Raises:
        ValueError: Format, environment class, tasks or method differ.
    """
    if saved.get("format") != FORMAT:
        raise ValueError(
            f"{checkpoint} has format {saved.get('format')!r} and was saved by trl_3spo {saved.get('version')}; this "
            f"version, {__version__}, reads format {FORMAT}. Resume it with the version that saved it, or start a new "
            "run with the checkpoint as its model."
        )
    wanted = _required(present)
    for name, value in _required(saved).items():
        if value != wanted[name]:
            raise ValueError(
                f"{checkpoint} was saved with another {name}: {value}, now {wanted[name]}. History and search of one "
                f"mean nothing in the other. Resume with the {name} it was saved with, or start a new run with the "
                "checkpoint as its model."
            )
    return [
        *_differences("environment option ", saved["environment"]["options"], present["environment"]["options"]),
        *_differences("", saved["options"], present["options"]),
        *_differences("", {"num_ranks": saved["num_ranks"]}, {"num_ranks": present["num_ranks"]}),
    ]


def _required(found: dict[str, Any]) -> dict[str, str]:
    return {
        "environment class": str(found["environment"]["class"]),
        "list of tasks": f"{found['tasks']['number']} tasks with hash {found['tasks']['hash']}",
        "method": str(found["method"]),
    }


def plain_options(args: Any) -> dict[str, Any]:
    """Return the options of a configuration that affect training and fit into JSON, without secrets."""
    values = {x.name: getattr(args, x.name) for x in fields(args) if not x.name.startswith(WITHOUT_EFFECT)}
    return {name: value for name, value in values.items() if _is_plain(value) and "token" not in name}


def _differences(prefix: str, saved: dict[str, Any], present: dict[str, Any]) -> list[str]:
    names = [name for name in saved.keys() & present.keys() if saved[name] != _as_json(present[name])]
    return [f"{prefix}{name}: {saved[name]!r}, now {present[name]!r}" for name in sorted(names)]


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))
