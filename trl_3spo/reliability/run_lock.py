"""One run in an output folder at a time: a lock file with the run that uses the folder."""

import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

LOCK = "_run.lock"
"""Name with an underscore, so that transformers does not push it to the Hub: the file names the machine."""
BEAT = 20.0
"""Seconds between two touches of the lock by its owner."""
STALE_AFTER = 300.0
"""Seconds without a touch after which another host's lock counts as stale: its process cannot be looked up."""


class FolderInUseError(OSError):
    """Raised if another run uses the output folder."""


class RunLock:
    """A lock file with process, host and start time of the run that uses a folder.

    Args:
        folder: The output folder.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / LOCK
        self._released = threading.Event()
        self._heart: threading.Thread | None = None

    def take(self) -> None:
        """Take the lock. A stale lock is taken over.

        Raises:
            FolderInUseError: The run that holds the lock is alive.
        """
        while not self._create():
            content, owner = self._read()
            if owner is None:
                continue  # released in between
            if _is_alive(owner, self._age()):
                raise FolderInUseError(
                    f"{self._file.parent} belongs to a run that is going on: process {owner.get('pid')} on "
                    f"{owner.get('host')}, started {owner.get('started')}. Two runs must not write to one folder. Wait "
                    f"for it, choose another output_dir, or delete {self._file} if you know that it has ended."
                )
            self._remove_stale(content)
        self._released.clear()
        self._heart = threading.Thread(target=self._beat, name="run lock", daemon=True)
        self._heart.start()

    def release(self) -> None:
        """Release the lock if it was taken."""
        if self._heart is not None:
            self._released.set()
            self._heart.join()
            self._heart = None
            self._file.unlink(missing_ok=True)

    def _create(self) -> bool:
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
            "process_started": _start_of(os.getpid()),
        }
        own = self._file.with_name(f"{LOCK}.{os.getpid()}.{socket.gethostname()}")
        own.write_text(json.dumps(owner), encoding="utf-8")
        try:
            os.link(own, self._file)  # atomic, with its content, and only if there is no lock
        except FileExistsError:
            return False
        finally:
            own.unlink()
        return True

    def _read(self) -> tuple[str, dict[str, Any] | None]:
        try:
            content = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return "", None
        try:
            return content, dict(json.loads(content))
        except ValueError:
            return content, {"pid": None, "host": None, "started": "at an unknown time"}

    def _age(self) -> float:
        """Return the seconds since the last touch, by the file system's clock."""
        probe = self._file.with_name(f"{LOCK}.{os.getpid()}.now")
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
        return now - self._file.stat().st_mtime if self._file.exists() else 0.0

    def _remove_stale(self, content: str) -> None:
        aside = self._file.with_name(f"{LOCK}.{os.getpid()}.stale")
        try:
            self._file.rename(aside)
        except FileNotFoundError:
            return  # another process was faster
        if aside.read_text(encoding="utf-8") != content:
            aside.rename(self._file)  # a new owner has taken the lock meanwhile
        else:
            aside.unlink()

    def _beat(self) -> None:
        while not self._released.wait(BEAT):
            if self._file.exists():
                os.utime(self._file)


def _is_alive(owner: dict[str, Any], age: float) -> bool:
    if owner.get("host") != socket.gethostname():
        return age < STALE_AFTER
    # Process ids are reused: only a process with the same start time is the owner.
    start = _start_of(owner.get("pid"))
    return start is not None and start == owner.get("process_started")


def _start_of(pid: Any) -> str | None:
    """Return the start time of a process on this host, in ticks since boot; `None` if it has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else str(fields[18])
