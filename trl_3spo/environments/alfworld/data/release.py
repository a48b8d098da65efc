"""The official data: where they are, and which games a split of them has."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trl_3spo.environments.alfworld.assignment import KINDS
from trl_3spo.environments.alfworld.data.files import (
    GAME_FILE,
    TRAJECTORY_FILE,
    GameSource,
    describe_task,
    id_in_release,
    leave_out_duplicates,
    read_json,
    unreadable,
    warn_of,
)
from trl_3spo.environments.alfworld.data.folders import RELEASE, split_folder
from trl_3spo.environments.alfworld.simulator.definition import OLD_RELEASE

_LEFT_OUT_KIND = "pick_and_place_with_movable_recep"
_UNSOLVABLE = "known to be unsolvable ('solvable': false)"
_LEFT_OUT = "of a type that ALFWorld does not play (movable receptacles, sliced targets)"
_TAIL_BYTES = 4096
_SOLVABLE = re.compile(rb'"solvable":\s*(true|false)')


@dataclass
class _Listing:
    """What a folder holds besides the games of the split.

    Args:
        problems: A sentence on each game that is broken.
        passed_over: Why ALFWorld itself leaves out games, and how many.
    """

    problems: list[str] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


def find_games(split: str) -> list[GameSource]:
    """Return the games of a split below `$ALFWORLD_DATA`, or `~/.cache/alfworld`, in alphabetical order.

    These are the games that ALFWorld itself plays: the six task types, without sliced objects, known to be solvable.
    Broken and repeated games are left out with a warning. Only the ends of a file are read, so thousands are listed in
    less than a second. Damage further up shows when the game is opened.

    Raises:
        FileNotFoundError: The split has not been downloaded.
        ValueError: There is no such split, or none of its games can be played.
    """
    folder = split_folder(split)
    listing = _Listing()
    listed = list(_list_games(folder, listing))
    kept, duplicates = leave_out_duplicates(listed)
    problems = listing.problems + duplicates
    if not kept:
        _refuse_empty(folder, listing)
    warn_of(problems, len(kept) + len(problems))
    return kept


def _refuse_empty(folder: Path, listing: _Listing) -> None:
    """Raise the error that says why a folder has no games to play."""
    problems, passed_over = listing.problems, listing.passed_over
    also = "".join(f" {count} more are {reason}." for reason, count in passed_over.items())
    if problems:
        raise ValueError(f"None of the {len(problems)} games in {folder} can be played. {problems[0]}{also}")
    if passed_over:
        reasons = ", and ".join(f"{count} are {reason}" for reason, count in passed_over.items())
        raise ValueError(
            f"ALFWorld plays none of the {passed_over.total()} games in {folder}: {reasons}. Take another split."
        )
    found = next(folder.rglob(GAME_FILE), None) if folder.is_dir() else None
    if found is not None:
        raise FileNotFoundError(
            f"There are no ALFWorld games in {folder} where they belong, {folder}/TASK/TRIAL/{GAME_FILE}; the first "
            f"one is {found}. Move the folders, or pass the files themselves as games=[…]."
        )
    raise FileNotFoundError(
        f"There are no ALFWorld games in {folder}; fetch them with `alfworld-download` of the alfworld package, or "
        f"point $ALFWORLD_DATA to the folder that holds {RELEASE}."
    )


def _list_games(folder: Path, listing: _Listing) -> Iterator[GameSource]:
    for path in sorted(folder.glob(f"*/*/{GAME_FILE}")):
        try:
            kind = _kind(path)
            if kind is None:
                listing.passed_over[_LEFT_OUT] += 1
            elif not _is_solvable(path):
                listing.passed_over[_UNSOLVABLE] += 1
            else:
                yield GameSource(id_in_release(path), kind, path=path)
        except OSError as error:
            listing.problems.append(unreadable(path, error))
        except ValueError as error:
            listing.problems.append(str(error))


def _kind(path: Path) -> str | None:
    """Return a game's task type, `None` where ALFWorld leaves that type out.

    Raises:
        ValueError: The type cannot be told, or is none of ALFWorld's.
    """
    name = path.parent.parent.name
    if "movable" in name or "Sliced" in name:
        return None
    kind, parameters = describe_task(path)
    if kind == _LEFT_OUT_KIND or parameters.get("object_sliced") is True:
        return None
    if kind in KINDS:
        return kind
    if kind:
        raise ValueError(f"{path} has the task type {kind!r}; required is one of {', '.join(KINDS)}. Leave it out.")
    raise ValueError(
        f"{path} does not tell its task type: its folder {name} is not named TYPE-Object-MovableReceptacle-Receptacle-"
        f"scene, and there is no {TRAJECTORY_FILE} with a 'task_type' beside it. Give the folder back its name, or add "
        "that file."
    )


def _is_solvable(path: Path) -> bool:
    """Return what the end of a game file says.

    Raises:
        ValueError: The file is cut off, no game, or of an older release.
    """
    with path.open("rb") as file:
        start = file.read(64)
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        tail = file.read()
    said = _SOLVABLE.search(tail)
    is_whole = start.lstrip().startswith(b"{") and tail.rstrip().endswith(b"}")
    if said is None or not is_whole:
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("solvable"), bool):
            raise ValueError(f"{path} does not say whether it is 'solvable', as a game of ALFWorld does; leave it out.")
        return bool(content["solvable"])
    # What is said for placing stands in the walkthrough, if something is placed, and else further up.
    if b"move " not in tail[said.end() :] and b" in/on " in (tail if b" in/on " in tail else path.read_bytes()):
        raise ValueError(f"{path} cannot be played here. {OLD_RELEASE}")
    return said.group(1) == b"true"
