"""Generated games in the form ALFWorld itself loads: `game.tw-pddl` and `traj_data.json` in its layout of folders."""

import importlib.util
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trl_3spo.environments.alfworld.data.files import GAME_FILE, TRAJECTORY_FILE

TRIAL = "trial_0"
"""Name of a game's folder below its task's folder. The released games have the time of their recording there."""


def write_games(
    games: Iterable[Mapping[str, Any]], folder: Path | str, *, domain: str | None = None, grammar: str | None = None
) -> list[Path]:
    """Write games as a split of ALFWorld, `<folder>/<id>/trial_0/game.tw-pddl`, and return the paths of the files.

    To play them in ALFWorld, set `dataset.data_path` in its configuration to the folder. ALFWorld skips games whose
    target has to be sliced, as in its own data. textworld plays these too.

    Args:
        games: Games of `generate_games`.
        folder: Folder to write; it is created if it does not exist.
        domain: Text of `alfred.pddl`; `None` takes the text of the installed alfworld package.
        grammar: Text of `alfred.twl2`, likewise.

    Raises:
        ModuleNotFoundError: The alfworld package is not installed, and a text is missing.
        ValueError: The grammar has no place for the task.
    """
    domain = _installed("alfred.pddl") if domain is None else domain
    grammar = _installed("alfred.twl2") if grammar is None else grammar
    return [write_game(game, Path(folder) / game["id"] / TRIAL, domain, grammar) for game in games]


def write_game(game: Mapping[str, Any], folder: Path | str, domain: str, grammar: str) -> Path:
    """Write `game.tw-pddl` and `traj_data.json` to a folder, made if need be, and return the path of the former."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / GAME_FILE
    path.write_text(json.dumps(to_textworld(game, domain, grammar)), encoding="utf-8")
    trajectory = {"task_id": game["id"], "task_type": game["kind"], "pddl_params": game["parameters"]}
    path.with_name(TRAJECTORY_FILE).write_text(json.dumps(trajectory, indent=2), encoding="utf-8")
    return path


def to_textworld(game: Mapping[str, Any], domain: str, grammar: str) -> dict[str, Any]:
    """Return the content of a `game.tw-pddl` file that ALFWorld's engine plays.

    Args:
        game: A generated game.
        domain: Text of `alfred.pddl`, as installed with the alfworld package.
        grammar: Text of `alfred.twl2`, likewise.

    Raises:
        ValueError: The grammar has no place for the task.
    """
    sentence = f"Your task is to: {game['task']}"
    grammar, num_places = re.subn(r'Your task is to: [^"]*', lambda _: sentence, grammar)
    if num_places != 1:
        raise ValueError(
            f"the grammar says 'Your task is to: ' {num_places} times: once is required; pass the text of alfred.twl2"
        )
    keys = ("pddl_problem", "solvable", "walkthrough")
    return {"pddl_domain": domain, "grammar": grammar, **{key: game[key] for key in keys}}


def _installed(name: str) -> str:
    """Return the text of a data file of the alfworld package, whose import would make a folder in the user's home."""
    spec = importlib.util.find_spec("alfworld")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"The alfworld package, which brings {name}, is not installed: `pip install trl_3spo[alfworld]`, or pass "
            "domain= and grammar=."
        )
    return (Path(spec.origin).parent / "data" / name).read_text(encoding="utf-8")
