"""Files of JSON lines that stay below a size, lose no whole line in a crash, and go back to where a run resumes."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from trl_3spo.recording.schema import SCHEMA, Record

logger = logging.getLogger(__name__)

FOLDER = "episodes"
"""Where a run's records lie in its output folder."""
LEAST_SHARE = 2.0**-30


def lines_of(file: Path) -> Iterator[Record]:
    """Yield the records of a file, without a last line that a crash has torn.

    Raises:
        ValueError: A record is of a later version of the form.
    """
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            record = _parsed(line)
            if record is None:
                logger.warning("%s, line %d is not whole and is left out.", file, number)
            elif record.get("schema", 0) > SCHEMA:
                raise ValueError(
                    f"{file}, line {number} is of version {record['schema']} of the form, and this version of trl_3spo "
                    f"reads up to {SCHEMA}; upgrade it."
                )
            else:
                yield record


def _parsed(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and line.endswith(b"\n") else None


def place(seed: int, unit: str) -> float:
    """Return where a unit lies between 0 and 1: the same in every process, and no random number is drawn for it."""
    name = f"{seed}/{unit}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "little") / 2.0**64


def unit_of(record: Record) -> str:
    """Return what is kept or left out as a whole: the tree, or the task of an episode that belongs to none."""
    return str(record["tree"] or record["task"]["id"])


class EpisodeFile:
    """Records of one process, at most so many bytes of them.

    A file that grows beyond that is thinned: the share of the units it holds is halved, those it has already included.
    What is left is spread over the whole run, whereas leaving out the oldest would lose how it began.

    Args:
        path: The file; its folder is made with the first record.
        max_bytes: Above 0.
        seed: Seed for the choice of units.
    """

    def __init__(self, path: Path, max_bytes: int, seed: int) -> None:
        self.path = path
        self.share = 1.0
        self._max_bytes = max_bytes
        self._seed = seed

    def wants(self, unit: str) -> bool:
        """Whether the records of a unit are kept as of now."""
        return place(self._seed, unit) < self.share

    def append(self, records: Sequence[Record]) -> None:
        """Add records, whole lines at once."""
        kept = [record | {"share": self.share} for record in records if self.wants(unit_of(record))]
        if not kept:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(b"".join(map(_line, kept)))
        while self.path.stat().st_size > self._max_bytes and self.share > LEAST_SHARE:
            self.share /= 2
            rewrite(self.path, lambda record: self.wants(unit_of(record)), share=self.share)

    def go_back(self, keep: Callable[[Record], bool]) -> None:
        """Keep some of the records, and go on with the share that the file was left with."""
        if self.path.exists():
            self.share = min((record["share"] for record in lines_of(self.path)), default=1.0)
            rewrite(self.path, keep)


def append_line(path: Path, record: Record) -> None:
    """Add one line to a file, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(_line(record))


def rewrite(path: Path, keep: Callable[[Record], bool], **changes: Any) -> None:
    """Write a file anew with some of its records, beside the old one until it is whole.

    Args:
        path: The file.
        keep: Says which records stay.
        changes: Entries that these get.
    """
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        for record in lines_of(path):
            if keep(record):
                file.write(_line(record | changes))
    os.replace(partial, path)


def _line(record: Record) -> bytes:
    # ASCII: half of a surrogate pair, which a model may write, has no other encoding.
    return json.dumps(record, separators=(",", ":"), default=str).encode("ascii") + b"\n"
