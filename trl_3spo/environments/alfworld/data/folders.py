"""Where the splits of the official data are, also where the folders are not quite as they were downloaded."""

import difflib
import os
from pathlib import Path

from trl_3spo.environments.alfworld.data.files import GAME_FILE

RELEASE = "json_2.1.1"
SPLITS = ("train", "valid_seen", "valid_unseen")

_MEANT = {
    "train": ("training", "expert", "train_games"),
    "valid_seen": ("eval_in_distribution", "in_distribution", "id", "seen", "eval_seen", "test_seen", "dev_seen"),
    "valid_unseen": ("eval_out_of_distribution", "out_of_distribution", "ood", "unseen", "eval_unseen", "test_unseen"),
}
"""Names by which ALFWorld's configuration, papers and other benchmarks know a split."""


def data_folder() -> Path:
    """Return the folder ALFWorld keeps its data in."""
    return Path(os.environ.get("ALFWORLD_DATA") or "~/.cache/alfworld").expanduser()


def release_folder() -> Path:
    """Return the folder that has the splits as its folders.

    It is the release below `$ALFWORLD_DATA`. It is found too where `$ALFWORLD_DATA` is that folder itself, and where an
    archive was unpacked into a folder of its own name.
    """
    usual = data_folder() / RELEASE
    for folder in (usual, data_folder(), usual / RELEASE):
        if any((folder / split).is_dir() for split in SPLITS):
            return folder
    is_meant = data_folder().name == RELEASE or _has_games_without_splits(data_folder())
    return data_folder() if is_meant and not usual.is_dir() else usual


def split_folder(split: str) -> Path:
    """Return the folder of a split, which need not be there if it is one of the three.

    Raises:
        ValueError: There is no such split; the one that was meant is named.
    """
    release = release_folder()
    present = {entry.name for entry in release.iterdir() if entry.is_dir()} if release.is_dir() else set()
    known = sorted(present.union(SPLITS))
    if split in present or (split in SPLITS and not _has_games_without_splits(release)):
        return release / split
    if _has_games_without_splits(release):
        raise ValueError(
            f"There is no split {split!r} in {release}, whose games are in no split: {release}/SPLIT/TASK/TRIAL/"
            f"{GAME_FILE} is required. Move the folders into one such as {release / 'train'}, or pass the files "
            "themselves as games=[…]."
        )
    meant = _meant(split, known)
    if meant is not None:
        raise ValueError(f"There is no split {split!r}; the name of what was probably meant is {meant!r}.")
    raise ValueError(f"There is no split {split!r} in {release}; there are {', '.join(known)}.")


def _has_games_without_splits(release: Path) -> bool:
    """Return whether games are one or two folders below, where splits should be, and no split is there."""
    if any((release / split).is_dir() for split in SPLITS):
        return False
    return any(next(release.glob(f"{way}{GAME_FILE}"), None) for way in ("", "*/", "*/*/"))


def _meant(split: str, known: list[str]) -> str | None:
    name = split.strip().lower().replace("-", "_").replace(" ", "_")
    named = [meant for meant, names in _MEANT.items() if name == meant or name in names]
    return next(iter(named or difflib.get_close_matches(name, known, n=1, cutoff=0.8)), None)
