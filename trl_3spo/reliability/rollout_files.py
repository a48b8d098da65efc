"""An algorithm's state in a checkpoint: arrays and JSON in npz files, without pickle."""

import json
from array import array
from collections.abc import Iterator
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

SHARED_FILE = "algorithm_shared.npz"
RANK_FILE = "algorithm_{}.npz"  # one per rank

State = dict[str, Any]


def save_state(folder: Path, state: State, rank: int) -> None:
    """Write a rank's `Algorithm.state_dict`; the first rank also writes the part that all ranks share."""
    if rank == 0:
        _write(folder / SHARED_FILE, state.get("shared", {}))
    _write(folder / RANK_FILE.format(rank), {name: value for name, value in state.items() if name != "shared"})


def load_state(folder: Path, rank: int) -> tuple[State, int] | None:
    """Return the state for a rank, and the rank that saved it: another one if there are more ranks than before.

    Returns:
        `None` if the folder holds no state.
    """
    shared = folder / SHARED_FILE
    files = list(takewhile(Path.exists, (folder / RANK_FILE.format(number) for number in count())))
    if not (shared.exists() and files):
        return None
    saved_by = rank % len(files)
    return _read(files[saved_by]) | {"shared": _read(shared)}, saved_by


def _write(file: Path, state: State) -> None:
    arrays = {path: value for path, value in _leaves(state) if isinstance(value, (array, np.ndarray))}
    plain = [(path, value) for path, value in _leaves(state) if path not in arrays]
    entries: dict[str, Any] = {path: np.asarray(value) for path, value in arrays.items()}
    np.savez(file, **entries, plain=json.dumps(plain))


def _read(file: Path) -> State:
    state: State = {}
    with np.load(file) as saved:
        for path, value in json.loads(str(saved["plain"])):
            _put(state, path, value)
        for path in saved.files:
            if path != "plain":
                _put(state, path, saved[path])
    return state


def _leaves(state: State, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in state.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _put(state: State, path: str, value: Any) -> None:
    *parents, name = path.split("/")
    for parent in parents:
        state = state.setdefault(parent, {})
    state[name] = value
