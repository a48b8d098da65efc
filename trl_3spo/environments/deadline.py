"""A limit on the time that a call may take."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StepTimeoutError(BaseException):
    """A call took too long. No `Exception`, so that `except Exception` in the call cannot swallow it."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Interrupt what is done within after some seconds.

    An alarm interrupts it: Python code, sleeping, and waiting for a lock, pipe or socket. Nothing goes on afterwards in
    a thread of its own. Code in C that neither returns nor lets signals through cannot be interrupted. Timers that
    others have set, such as those of a test runner, go on afterwards.

    Args:
        seconds: Above 0; `None` sets no limit. Off the main thread, which alone gets signals, there is no limit either.

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
