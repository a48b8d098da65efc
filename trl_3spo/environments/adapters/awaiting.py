"""Asynchronous functions of an environment, called from synchronous code."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Sequence
from functools import cache
from typing import Any


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return an event loop that runs in its own thread. In a notebook, this thread's loop runs already."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="environments", daemon=True).start()
    return loop


def result_of(value: Any) -> Any:
    """Return a value, or its result if it has to be awaited.

    Raises:
        Exception: The awaited code raised it.
    """
    return asyncio.run_coroutine_threadsafe(_await(value), _loop()).result() if inspect.isawaitable(value) else value


def results_of(values: Sequence[Awaitable[Any]]) -> list[Any]:
    """Await some values together and return their results or exceptions."""
    return list(result_of(_gather(values))) if values else []


async def _await(value: Awaitable[Any]) -> Any:
    return await value


async def _gather(values: Sequence[Awaitable[Any]]) -> list[Any]:
    return await asyncio.gather(*values, return_exceptions=True)
