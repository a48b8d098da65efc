"""Checks of a run's output folder: it is writable, has room, and has only the run's own checkpoints."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from trl_3spo.reliability.checkpoints import checkpoints_in, newest_whole, record_of, set_aside, step_of, why_torn

logger = logging.getLogger(__name__)


def check_writable(folder: Path) -> None:
    """Make a folder, write a file to it and remove the file.

    Raises:
        OSError: The folder cannot be written to.
    """
    probe = folder / f"probe.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"output_dir is {folder}, and a file cannot be written there: {error}. Checkpoints would be lost. Choose "
            "a folder that can be written to."
        ) from error


def check_room(folder: Path, needed: int) -> None:
    """Check that a folder has room for two checkpoints: the newest stays until the next is whole.

    Raises:
        OSError: There is less room.
    """
    free = shutil.disk_usage(folder).free
    if free < 2 * needed:
        raise OSError(
            f"{folder} has {_megabytes(free)} left, and two checkpoints take {_megabytes(2 * needed)}. Free space, or "
            "choose an output_dir elsewhere; save_only_model=True saves without the optimizer, but cannot be resumed "
            "exactly."
        )


def checkpoint_size(trainer: Any) -> int:
    """Return a lower bound for the bytes of a checkpoint: the saved weights and Adam's moments."""
    trained = sum(x.numel() * x.element_size() for x in trainer.model.parameters() if x.requires_grad)
    every = sum(x.numel() * x.element_size() for x in trainer.model.parameters())
    saved = trained if hasattr(trainer.model, "peft_config") else every
    optimizer = str(getattr(trainer.args.optim, "value", trainer.args.optim))
    has_moments = "adamw_torch" in optimizer or "adamw_apex" in optimizer
    is_saved = has_moments and not trainer.args.save_only_model
    return int(saved + 2 * trained if is_saved else saved)


def resolve(folder: Path, wanted: str | bool | None) -> Path | None:
    """Return the checkpoint to resume.

    Args:
        folder: The output folder.
        wanted: Path of a checkpoint. `True` or `"latest"`: the folder's newest whole one. `"auto"`: the same if there
            is one. None: no checkpoint.

    Raises:
        ValueError: The checkpoint asked for is not there or cannot be read.
    """
    if wanted is None or wanted is False:
        return None
    if wanted is True or wanted in ("latest", "auto"):
        newest, torn = newest_whole(folder)
        if torn and newest is not None:
            logger.warning("Resuming from %s. Passed over as not whole: %s.", newest, _listed(torn))
        if newest is None and wanted != "auto":
            raise ValueError(
                f"There is no whole checkpoint in {folder}"
                + (f"; not whole are {_listed(torn)}. " if torn else ". ")
                + "Pass the path of one elsewhere, or start without resume_from_checkpoint."
            )
        return newest
    return _given(Path(wanted))


def _given(checkpoint: Path) -> Path:
    is_foreign = record_of(checkpoint) is None
    if is_foreign and any(checkpoint.glob("rollout_*.npz")):
        raise ValueError(
            f"{checkpoint} was saved by an earlier version of trl_3spo, whose history and search this one does not "
            "read. Resume it with that version, or start a new run with the checkpoint as its model."
        )
    reason = why_torn(checkpoint)
    if reason is not None and is_foreign:
        raise ValueError(
            f"{checkpoint} is not a whole checkpoint: {reason}. Pass a whole one, or "
            "resume_from_checkpoint=True for the newest of the output folder."
        )
    if reason is not None:
        logger.warning("%s is not as it was saved: %s. It is resumed because it was named.", checkpoint, reason)
    return checkpoint


def make_way(folder: Path, resumed: Path | None, run: str, *, has_consent: bool) -> None:
    """Leave in an output folder only checkpoints of the run itself, up to the one it resumes.

    A later resume could confuse any other checkpoint with the run's own, so the others are moved to a subfolder. Torn
    checkpoints and later ones of the same run are always moved. For checkpoints of another run, consent is needed.

    Args:
        folder: The output folder.
        resumed: Checkpoint to resume.
        run: Id of the run that resumes or begins.
        has_consent: Whether other runs' checkpoints may be moved.

    Raises:
        ValueError: There are checkpoints of another run, and no consent.
    """
    goes_on_here = resumed is not None and resumed.resolve().parent == folder.resolve()
    last_step = step_of(resumed) if resumed is not None and goes_on_here else 0
    others = [path for path in checkpoints_in(folder) if _run(path) != run or step_of(path) > last_step]
    if goes_on_here:
        others = [path for path in others if resumed is not None and path.resolve() != resumed.resolve()]
    foreign = [path for path in others if _run(path) != run and why_torn(path) is None]
    if foreign and not goes_on_here and not has_consent:
        raise ValueError(
            f"{folder} holds checkpoints of another run, {_listed([path.name for path in foreign])}, and resuming "
            "would mix the two. Choose another output_dir; or go on with that run by resume_from_checkpoint=True; or "
            "set set_aside_checkpoints=True to move them to a subfolder and begin anew."
        )
    if others:
        target = set_aside(others)
        logger.warning("Moved to %s, since this run does not go on from them: %s.", target, _listed(_names(others)))


def warn_of_missing(checkpoint: Path, rank: int, num_ranks: int) -> None:
    """Warn of what a checkpoint lacks, and that the resumed run will differ."""
    rng = "rng_state.pth" if num_ranks == 1 else f"rng_state_{rank}.pth"
    files = {"optimizer": "optimizer*", "scheduler": "scheduler.pt", "random generators": rng}
    lacking = [what for what, pattern in files.items() if not any(checkpoint.rglob(pattern))]
    if lacking:
        logger.warning(
            "%s holds no state of %s (it was saved with save_only_model, by another number of ranks, or lost files). "
            "They start afresh, so the run will differ from the one that was saved.",
            checkpoint,
            ", ".join(lacking),
        )


def _run(checkpoint: Path) -> str | None:
    run = (record_of(checkpoint) or {}).get("run")
    return None if run is None else str(run)


def _names(checkpoints: list[Path]) -> list[str]:
    return [path.name for path in checkpoints]


def _listed(found: dict[str, str] | list[str]) -> str:
    return ", ".join(f"{name} ({x})" for name, x in found.items()) if isinstance(found, dict) else ", ".join(found)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
