"""ALFWorld's game files: where they are, what their folders say, and how they are opened."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trl_3spo.environments.alfworld.assignment import KINDS
from trl_3spo.environments.alfworld.game import Game

GAME_FILE = "game.tw-pddl"
TRAJECTORY_FILE = "traj_data.json"
RELEASE = "json_2.1.1"
SPLITS = ("train", "valid_seen", "valid_unseen")


@dataclass(frozen=True)
class GameSource:
    """A game that may not have been opened yet.

    Args:
        id: Name of its task.
        kind: Task type, empty where it is not known.
        data: Content of the game, or `None` where it is in a file.
        path: The file, or `None`.
    """

    id: str
    kind: str
    data: Mapping[str, Any] | None = field(default=None, repr=False)
    path: Path | None = None

    def load(self) -> Game:
        """Open the game.

        Raises:
            FileNotFoundError: Its file is gone.
            ValueError: It is no ALFWorld game.
        """
        if self.path is None:
            data = self.data or {}
            return _new_game(self.id, data, self.kind, data.get("parameters"))
        kind, parameters = describe_task(self.path)
        return _new_game(str(self.path), read_json(self.path), kind, parameters)


def _new_game(origin: str, data: Any, kind: str, parameters: Mapping[str, Any] | None) -> Game:
    try:
        return Game(data, kind=kind, parameters=parameters)
    except ValueError as error:
        raise ValueError(f"{origin} is no ALFWorld game. {error}") from error


def source_from_data(data: Mapping[str, Any], task_id: str) -> GameSource:
    """Return a source for a game's content, which may say its own `kind` and `parameters`.

    Raises:
        TypeError: It is no mapping.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"A game was given as {type(data).__name__}; a path or the content of a game file is required.")
    return GameSource(task_id, str(data.get("kind", "")), data=data)


def source_from_path(path: str | Path) -> GameSource:
    """Return a source for a game file, or for the folder that holds one.

    Raises:
        FileNotFoundError: There is no such file.
    """
    path = Path(path)
    path = path / GAME_FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"There is no game file {path}; give a {GAME_FILE} file or the folder that holds it.")
    is_in_release = path.name == GAME_FILE and read_folder_name(path.parent.parent.name) is not None
    return GameSource(_id_in_release(path) if is_in_release else str(path), describe_task(path)[0], path=path)


def find_games(split: str) -> list[GameSource]:
    """Return the games of a split below `$ALFWORLD_DATA`, or `~/.cache/alfworld`, in alphabetical order.

    As in ALFWorld itself, games of other than the six task types and those with sliced objects are left out.

    Raises:
        FileNotFoundError: The split has not been downloaded.
        ValueError: There is no such split.
    """
    release = data_folder() / RELEASE
    present = {entry.name for entry in release.iterdir() if entry.is_dir()} if release.is_dir() else set()
    if split not in present and split not in SPLITS:
        raise ValueError(
            f"There is no split {split!r} in {release}; there are {', '.join(sorted(present.union(SPLITS)))}."
        )
    paths = sorted(path for path in (release / split).glob(f"*/*/{GAME_FILE}") if _is_released(path))
    if not paths:
        raise FileNotFoundError(
            f"There are no ALFWorld games in {release / split}; fetch them with `alfworld-download` of the alfworld "
            "package, or point $ALFWORLD_DATA to the folder that holds json_2.1.1."
        )
    return [GameSource(_id_in_release(path), describe_task(path)[0], path=path) for path in paths]


def data_folder() -> Path:
    """Return the folder ALFWorld keeps its data in."""
    return Path(os.environ.get("ALFWORLD_DATA") or "~/.cache/alfworld").expanduser()


def _is_released(path: Path) -> bool:
    folder = path.parent.parent.name
    return read_folder_name(folder) is not None and "Sliced" not in folder


def _id_in_release(path: Path) -> str:
    return "/".join(path.parts[-4:-1])


def describe_task(path: Path) -> tuple[str, dict[str, Any]]:
    """Return type and parameters of a game file's task: from its folder's name, else from the file beside it.

    Both say the same in the release, and the name needs no second file to be read. Without either, both are empty.

    Raises:
        ValueError: The file beside it is broken.
    """
    named = read_folder_name(path.parent.parent.name)
    if named is not None:
        return named
    trajectory = path.with_name(TRAJECTORY_FILE)
    content = read_json(trajectory) if trajectory.is_file() else {}
    if not isinstance(content, dict):
        raise ValueError(f"{trajectory} holds a {type(content).__name__}; an object with a 'task_type' is required.")
    return str(content.get("task_type", "")), dict(content.get("pddl_params") or {})


def read_folder_name(name: str) -> tuple[str, dict[str, Any]] | None:
    """Read `type-Object-MovableReceptacle-Receptacle-scene`; `None` if a name is not of this form.

    Where the task is to look at something under a lamp, the lamp stands in the receptacle's place.
    """
    parts = name.split("-")
    if len(parts) != 5 or parts[0] not in KINDS:
        return None
    kind, target, movable, place = ("" if part == "None" else part for part in parts[:4])
    is_lamp = kind.startswith("look_at")
    return kind, {
        "object_target": target.removesuffix("Sliced"),
        "parent_target": "" if is_lamp else place,
        "mrecep_target": movable,
        "toggle_target": place if is_lamp else "",
        "object_sliced": target.endswith("Sliced"),
    }


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no file {path} any more; it was there when the games were listed.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not JSON ({error}), perhaps cut off; fetch it again with `alfworld-download`, or leave it out."
        ) from error
