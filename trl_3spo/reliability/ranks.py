"""Messages between the processes (ranks) of a training, so that they continue together or end together.

If one rank raised, the others would wait in a collective until it times out. Here every message says whether its sender
has failed. A rank that fails sends its error instead of its next message, and all ranks raise.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from accelerate.utils import gather_object

T = TypeVar("T")


class OtherRankFailedError(RuntimeError):
    """Raised on the other ranks when a rank fails."""


def gather(value: T) -> list[T]:
    """Return the values of all ranks, in their order; a collective.

    Raises:
        OtherRankFailedError: Another rank raised inside `failing_together`.
    """
    messages: list[tuple[str | None, T]] = gather_object([(None, value)])
    failures = [f"rank {rank}: {failure}" for rank, (failure, _) in enumerate(messages) if failure]
    if failures:
        raise OtherRankFailedError(
            f"Training ends on all ranks because {len(failures)} of {len(messages)} failed ({'; '.join(failures)}). "
            "The traceback is in that rank's own output."
        )
    return [received for _, received in messages]


class AllRanks:
    """The processes of a training that accelerate has started.

    Args:
        accelerator: Accelerator of the training.
    """

    def __init__(self, accelerator: Any) -> None:
        self.rank: int = accelerator.process_index
        self.num_ranks: int = accelerator.num_processes

    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks, see `gather`."""
        return gather(value)


@contextmanager
def failing_together() -> Iterator[None]:
    """If the code inside raises on this rank, let the other ranks raise at their next `gather`.

    Inside, and until the next `gather`, no rank may enter any other collective: this rank could miss it.
    """
    try:
        yield
    except OtherRankFailedError:
        raise
    except Exception as error:
        gather_object([(f"{type(error).__name__}: {error}", None)])
        raise


def announce_generation() -> None:
    """Tell the other ranks, inside `generating_equally`, that this one is about to generate."""
    gather(True)


@contextmanager
def generating_equally(idle: Callable[[], object]) -> Iterator[None]:
    """Let every rank generate as often as it needs, and make all generate equally often; sharded models need this.

    Args:
        idle: Function with one dummy generation. Finished ranks call it while other ranks call `announce_generation`.
    """
    with failing_together():
        yield
    while any(gather(False)):
        idle()
