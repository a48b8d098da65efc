"""A line in the log after a minute without one: the current activity of the training."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from transformers import TrainerCallback

logger = logging.getLogger(__name__)

SECONDS = 60.0
"""Seconds without a line after which one is written."""


class Heartbeat(TrainerCallback):
    """Writes a line whenever nothing was logged for some seconds. As a context manager it runs a thread.

    Args:
        describe: Function that returns the current activity. It is called in that thread.
        seconds: Seconds without a line.
    """

    def __init__(self, describe: Callable[[], str], seconds: float | None = None) -> None:
        self._describe = describe
        self._seconds = SECONDS if seconds is None else seconds
        self._ending = threading.Event()
        self._latest = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="trl_3spo heartbeat", daemon=True)

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        """Note that the trainer has logged."""
        self._latest = time.monotonic()

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._latest = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        """Stop, and wait for the thread to end."""
        self._ending.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ending.wait(max(self._latest + self._seconds - time.monotonic(), 0.0)):
            if time.monotonic() - self._latest >= self._seconds:
                logger.warning("Nothing was logged for %.0f seconds. Waiting for %s", self._seconds, self._describe())
                self._latest = time.monotonic()
