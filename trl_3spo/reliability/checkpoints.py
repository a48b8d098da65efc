"""Checkpoints that are complete ("whole") or absent: written to another folder, synced to the disk, then renamed.

A checkpoint is a folder `checkpoint-N` in the output folder, where N is the step. It is written in the subfolder
`_saving`. Its last file, `checkpoint.json`, lists all other files with their sizes. If the process is killed at any
moment, earlier checkpoints are unchanged. The next start clears `_saving`.
"""

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

STAGING = "_saving"  # names that begin with an underscore are not pushed to the Hub
MARKER = "checkpoint.json"
TRAINER_STATE = "trainer_state.json"
REPLACED = "replaced-"

Record = dict[str, Any]
"""Content of a checkpoint's `checkpoint.json`."""


def step_of(checkpoint: Path) -> int:
    """Return the N of a folder `checkpoint-N`, or -1 if that is not its name."""
    prefix, _, number = checkpoint.name.rpartition("-")
    return int(number) if prefix == PREFIX_CHECKPOINT_DIR and number.isdecimal() else -1


def checkpoints_in(folder: Path) -> list[Path]:
    """Return a folder's checkpoints, whole or not, in the order of their steps."""
    found = [path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.is_dir() and step_of(path) >= 0]
    return sorted(found, key=step_of)


def record_of(checkpoint: Path) -> Record | None:
    """Return the content of a checkpoint's `checkpoint.json`, or `None` if it is missing or unreadable."""
    try:
        record = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def why_torn(checkpoint: Path) -> str | None:
    """Return what a checkpoint lacks, or `None` if it is whole.

    With `checkpoint.json`, it is whole if every listed file has its listed size. Without, it comes from an earlier
    version or another trainer. It is then whole if the weights and the trainer's state, written last, are readable.
    """
    record = record_of(checkpoint)
    if record is None:
        return _why_unreadable(checkpoint)
    wrong = [name for name, size in record.get("files", {}).items() if _size(checkpoint / name) != size]
    return f"{_few(wrong)} missing or of another length" if wrong else None


def newest_whole(folder: Path) -> tuple[Path | None, dict[str, str]]:
    """Return a folder's newest whole checkpoint, and the defects of newer ones by name."""
    torn: dict[str, str] = {}
    for checkpoint in reversed(checkpoints_in(folder)):
        reason = why_torn(checkpoint)
        if reason is None:
            return checkpoint, torn
        torn[checkpoint.name] = reason
    return None, torn


def last_good(folder: Path) -> str:
    """Return a sentence that names the newest whole checkpoint."""
    checkpoint, _ = newest_whole(folder)
    return f"The last good checkpoint is {checkpoint}." if checkpoint else f"There is no good checkpoint in {folder}."


@contextmanager
def saving_to(trainer: Any, folder: Path) -> Iterator[None]:
    """Let a Trainer save its checkpoint in a subfolder of another folder, without pushing it to the Hub from there."""
    trainer._get_output_dir = lambda trial=None: str(folder)
    trainer._push_from_checkpoint = lambda checkpoint: None
    try:
        yield
    finally:
        del trainer._get_output_dir, trainer._push_from_checkpoint


def name_best(staged: Path, final: Path, state: TrainerState) -> None:
    """If the checkpoint is the best so far, record its final path in the trainer's state."""
    if state.best_model_checkpoint == str(staged):
        state.best_model_checkpoint = str(final)
        if (staged / TRAINER_STATE).exists():
            state.save_to_json(str(staged / TRAINER_STATE))


def publish(staged: Path, final: Path, record: Record) -> None:
    """Give a written checkpoint its name after all its files have reached the disk.

    An older checkpoint of the same name is kept until then. If this is interrupted in between, `recover` restores it.
    """
    files = sorted(path for path in staged.rglob("*") if path.is_file() and path != staged / MARKER)
    sizes = {str(path.relative_to(staged)): path.stat().st_size for path in files}
    (staged / MARKER).write_text(json.dumps(record | {"files": sizes}, indent=1), encoding="utf-8")
    folders = [staged, *(path for path in staged.rglob("*") if path.is_dir())]
    with ThreadPoolExecutor(8) as pool:  # one commit of the file system's journal serves several at a time
        list(pool.map(make_durable, [*files, staged / MARKER, *folders]))
    if final.exists():
        final.rename(staged.with_name(REPLACED + final.name))
    staged.rename(final)
    make_durable(final.parent)


def make_durable(path: Path) -> None:
    """Wait until a file or folder has reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def recover(folder: Path) -> None:
    """Remove the rest of an interrupted write, and restore a checkpoint that it was about to replace."""
    staging = folder / STAGING
    for replaced in staging.glob(f"{REPLACED}*"):
        final = folder / replaced.name.removeprefix(REPLACED)
        if not final.exists():
            replaced.rename(final)
    shutil.rmtree(staging, ignore_errors=True)


def remove_surplus(folder: Path, limit: int | None, best: str | None) -> None:
    """Remove the oldest checkpoints above a limit, but neither the newest nor the best.

    Each is renamed first, so that a half-removed folder does not look like a checkpoint.
    """
    checkpoints = checkpoints_in(folder)
    protected = {path for path in checkpoints if best is not None and path.resolve() == Path(best).resolve()}
    protected.update(checkpoints[-1:])
    num_surplus = len(checkpoints) - max(limit, len(protected)) if limit is not None and limit > 0 else 0
    removable = [path for path in checkpoints if path not in protected]
    (folder / STAGING).mkdir(exist_ok=True)
    for checkpoint in removable[: max(num_surplus, 0)]:
        checkpoint.rename(folder / STAGING / f"old-{checkpoint.name}")
    shutil.rmtree(folder / STAGING, ignore_errors=True)


def set_aside(checkpoints: list[Path]) -> Path:
    """Move checkpoints of one folder to a new subfolder, and return it."""
    parent = checkpoints[0].parent
    number = 1
    while (parent / f"_set_aside_{number}").exists():
        number += 1
    folder = parent / f"_set_aside_{number}"
    folder.mkdir()
    for checkpoint in checkpoints:
        checkpoint.rename(folder / checkpoint.name)
    return folder


def _why_unreadable(checkpoint: Path) -> str | None:
    try:
        json.loads((checkpoint / TRAINER_STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"{TRAINER_STATE} missing or unreadable"
    for file in checkpoint.glob("*.safetensors"):
        try:
            with safe_open(str(file), framework="numpy"):
                pass
        except (OSError, SafetensorError):
            return f"{file.name} unreadable"
    return None


def _size(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
