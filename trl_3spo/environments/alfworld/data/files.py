"""Game files: what their folders say of them, and how they are opened."""

import contextlib
import functools
import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trl_3spo.environments.alfworld.assignment import KINDS
from trl_3spo.environments.alfworld.data.cache import cached
from trl_3spo.environments.alfworld.simulator.definition import Definition, read_definition
from trl_3spo.environments.alfworld.simulator.game import Game

GAME_FILE = "game.tw-pddl"
TRAJECTORY_FILE = "traj_data.json"
MAX_SHOWN = 5
"""Number of games a warning names."""

_MALFORMED = (AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading a game raises where something else is in its place, such as lists nested a thousand deep."""


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
            FileNotFoundError: The game's file is gone.
            ValueError: It is no ALFWorld game, or its file cannot be read.
        """
        if self.path is None:
            data = self.data or {}
            with _naming(self.id):
                return Game(data, kind=self.kind, parameters=data.get("parameters"))
        kind, parameters = describe_task(self.path)
        definition = cached(functools.partial(_read_definition, self.path), _read_bytes(self.path))
        with _naming(self.path):
            return Game(definition, kind=kind, parameters=parameters)


def _read_definition(path: Path, content: bytes) -> Definition:
    data = _parse_json(path, content)
    with _naming(path):
        return read_definition(data)


@contextlib.contextmanager
def _naming(origin: str | Path) -> Iterator[None]:
    try:
        yield
    except _MALFORMED as error:
        said = str(error) if type(error) is ValueError else f"Something else is where a game has its parts ({error!r})."
        raise ValueError(f"{origin} cannot be played here. {said} Mend it or leave it out.") from error


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
    return GameSource(id_in_release(path) if is_in_release else str(path), describe_task(path)[0], path=path)


def id_in_release(path: Path) -> str:
    """Return the name of a released game: `split/task/trial`."""
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
    parameters = content.get("pddl_params") or {}
    if not isinstance(parameters, dict):
        raise ValueError(f"{trajectory} has a {type(parameters).__name__} as 'pddl_params'; an object is required.")
    return str(content.get("task_type") or ""), parameters


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


def leave_out_duplicates(sources: Sequence[GameSource]) -> tuple[list[GameSource], list[str]]:
    """Return the games without files that equal an earlier one, and what is wrong with those."""
    sizes = Counter(source.path.stat().st_size for source in sources if source.path)
    first: dict[bytes, Path] = {}
    kept, problems = [], []
    for source in sources:
        if source.path and sizes[source.path.stat().st_size] > 1:
            digest = hashlib.blake2b(source.path.read_bytes()).digest()
            if digest in first:
                problems.append(_duplicate(source.path, first[digest]))
                continue
            first[digest] = source.path
        kept.append(source)
    return kept, problems


def _duplicate(path: Path, first: Path) -> str:
    if path == first:
        return f"{path} is given twice; give it once."
    return f"{path} holds the same game as {first}; keep one of them."


def warn_of(problems: Sequence[str], num_games: int) -> None:
    """Say which games are left out, and why; the others go on."""
    if problems:
        shown = [*problems[:MAX_SHOWN], f"… and {len(problems) - MAX_SHOWN} more"][: len(problems)]
        lines = "\n  ".join([f"{len(problems)} of {num_games} ALFWorld games are left out:", *shown])
        warnings.warn(lines, stacklevel=2)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON, or cannot be read.
    """
    return _parse_json(path, _read_bytes(path))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no file {path} any more; it was there when the games were listed.") from None
    except OSError as error:
        raise ValueError(unreadable(path, error)) from error


def unreadable(path: Path, error: OSError) -> str:
    """Return a sentence on a file that the system does not read."""
    if path.is_dir():
        return f"{path} is a folder; a file of that name is required. Rename the folder or leave it out."
    return f"{path} cannot be read ({error.strerror or error}); make it readable, or leave it out."


def _parse_json(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (RecursionError, ValueError) as error:
        raise ValueError(
            f"{path} is not JSON ({error}), perhaps cut off; fetch it again with `alfworld-download --force`, or leave "
            "it out."
        ) from error
