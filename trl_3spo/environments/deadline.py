"""A time limit for a call."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StepTimeoutError(BaseException):
    """A call took too long. It is not an `Exception`, so `except Exception` in the call cannot swallow it."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Interrupt the code in the `with` block after some seconds.

    An alarm interrupts Python code, sleeping, and waiting for a lock, pipe or socket. No thread continues afterwards.
    Code in C cannot be interrupted if it neither returns nor lets signals through. Timers of others, such as a test
    runner's, continue afterwards.

    Args:
        seconds: Limit in seconds, above 0; `None` sets none. There is also none outside the main thread, which alone
            gets signals.

    Raises:
        StepTimeoutError: Time is up.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    is_over = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not is_over:
            raise StepTimeoutError

    handler = signal.signal(signal.SIGALRM, interrupt)
    began = time.monotonic()
    # It rings again, should a call swallow the first interruption.
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, max(seconds, 1.0))
    try:
        try:
            yield
        finally:
            is_over = True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 1e-3), interval)
