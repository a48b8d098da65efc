"""The official data: where they are, and which games a split of them has."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from trl_3spo.environments.alfworld.assignment import KINDS
from trl_3spo.environments.alfworld.data.files import (
    GAME_FILE,
    GameSource,
    describe_task,
    id_in_release,
    leave_out_duplicates,
    read_json,
    warn_of,
)
from trl_3spo.environments.alfworld.simulator.definition import OLD_RELEASE

RELEASE = "json_2.1.1"
SPLITS = ("train", "valid_seen", "valid_unseen")

_TAIL_BYTES = 4096
_SOLVABLE = re.compile(rb'"solvable":\s*(true|false)')


def data_folder() -> Path:
    """Return the folder ALFWorld keeps its data in."""
    return Path(os.environ.get("ALFWORLD_DATA") or "~/.cache/alfworld").expanduser()


def find_games(split: str) -> list[GameSource]:
    """Return the games of a split below `$ALFWORLD_DATA`, or `~/.cache/alfworld`, in alphabetical order.

    They are those ALFWorld itself plays: of the six task types, without sliced objects, known to be solvable. What is
    broken or there twice is left out with a warning. Only the end of a file is read, so that thousands are listed in
    less than a second; what is wrong further up shows when the game is opened.

    Raises:
        FileNotFoundError: The split has not been downloaded.
        ValueError: There is no such split, or none of its games can be played.
    """
    folder = _split_folder(split)
    problems: list[str] = []
    listed = list(_list_games(folder, problems))
    kept, duplicates = leave_out_duplicates(listed)
    problems += duplicates
    if problems and not kept:
        raise ValueError(f"None of the {len(problems)} games in {folder} can be played. {problems[0]}")
    if not kept:
        raise FileNotFoundError(
            f"There are no ALFWorld games in {folder}; fetch them with `alfworld-download` of the alfworld package, or "
            f"point $ALFWORLD_DATA to the folder that holds {RELEASE}."
        )
    warn_of(problems, len(kept) + len(problems))
    return kept


def _split_folder(split: str) -> Path:
    release = data_folder() / RELEASE
    present = {entry.name for entry in release.iterdir() if entry.is_dir()} if release.is_dir() else set()
    if split not in present and split not in SPLITS:
        raise ValueError(
            f"There is no split {split!r} in {release}; there are {', '.join(sorted(present.union(SPLITS)))}."
        )
    return release / split


def _list_games(folder: Path, problems: list[str]) -> Iterator[GameSource]:
    for path in sorted(folder.glob(f"*/*/{GAME_FILE}")):
        if "movable" in path.parent.parent.name or "Sliced" in path.parent.parent.name:
            continue
        try:
            kind, _ = describe_task(path)
            if kind in KINDS and _is_solvable(path):
                yield GameSource(id_in_release(path), kind, path=path)
        except (OSError, ValueError) as error:
            problems.append(str(error))


def _is_solvable(path: Path) -> bool:
    """Return what the end of a game file says.

    Raises:
        ValueError: The file is cut off, no game, or of an older release.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        tail = file.read()
    said = _SOLVABLE.search(tail)
    if said is None or not tail.rstrip().endswith(b"}"):
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("solvable"), bool):
            raise ValueError(f"{path} does not say whether it is 'solvable', as a game of ALFWorld does; leave it out.")
        return bool(content["solvable"])
    # What is said for placing stands in the walkthrough, if something is placed, and else further up.
    if b"move " not in tail[said.end() :] and b" in/on " in (tail if b" in/on " in tail else path.read_bytes()):
        raise ValueError(f"{path} cannot be played here. {OLD_RELEASE}")
    return said.group(1) == b"true"
