"""What a command leaves beside a model: its result with settings and versions, the episodes of an evaluation."""

import json
import platform
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trl_3spo._version import __version__
from trl_3spo.algorithm.base import Ranks
from trl_3spo.algorithm.records import Episode
from trl_3spo.recording.files import FOLDER, EpisodeFile
from trl_3spo.recording.schema import SCHEMA
from trl_3spo.recording.trees import lone_record

RESULTS = "results.json"
"""File of the latest result in a run's folder."""


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python, of this package and of others."""
    return {"python": platform.python_version(), "trl_3spo": __version__} | {name: version(name) for name in packages}


def write_results(folder: Path, result: Mapping[str, Any]) -> None:
    """Write a result, with the version of its form, in place of the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"schema": SCHEMA} | dict(result), indent=1, default=str)
    (folder / RESULTS).write_text(text + "\n", encoding="utf-8")


def recorder(folder: Path, megabytes: float, seed: int) -> Callable[[Sequence[Episode], Ranks], None] | None:
    """Return what writes a process's episodes of an evaluation below a folder, `None` where nothing is to be written.

    Args:
        folder: Folder of the evaluation.
        megabytes: Limit on the records, in megabytes; 0 records nothing.
        seed: Seed of the evaluation.
    """
    if megabytes <= 0:
        return None

    def record(episodes: Sequence[Episode], ranks: Ranks) -> None:
        run, rank = ranks.gather(uuid.uuid4().hex[:12])[0], ranks.rank
        file = EpisodeFile(folder / FOLDER / f"{run}-eval-{rank}.jsonl", int(megabytes * 1e6) // ranks.num_ranks, seed)
        now = round(time.time(), 3)
        head = {"schema": SCHEMA, "run": run, "phase": "eval", "rank": rank, "seed": seed, "time": now}
        place = {"step": 0, "panel": "", "evaluation": 1}
        numbers = range(rank, rank + len(episodes) * ranks.num_ranks, ranks.num_ranks)
        pairs = zip(numbers, episodes, strict=True)
        file.append([head | lone_record(x) | place | {"episode": number} for number, x in pairs])

    return record
