"""What the processes of a training (ranks) tell each other, so that they go on together or end together.

A rank whose environment raises would leave the others waiting in a collective until it times out. Here every message
carries whether its sender is well: who fails sends that in place of its next message, and all ranks raise.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from accelerate.utils import gather_object

T = TypeVar("T")


class OtherRankFailedError(RuntimeError):
    """Raised where all was well when another rank failed."""


def gather(value: T) -> list[T]:
    """Return the values of all ranks, in their order; a collective.

    Raises:
        OtherRankFailedError: A rank has left `failing_together` by an exception.
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
    """The processes of a training, as accelerate has started them.

    Args:
        accelerator: Of the training.
    """

    def __init__(self, accelerator: Any) -> None:
        self.rank: int = accelerator.process_index
        self.num_ranks: int = accelerator.num_processes

    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks, see `gather`."""
        return gather(value)


@contextmanager
def failing_together() -> Iterator[None]:
    """Let the other ranks raise at their next `gather` if this rank's work raises.

    Within it, and until the next `gather`, no rank may enter another collective that this one would miss.
    """
    try:
        yield
    except OtherRankFailedError:
        raise
    except Exception as error:
        gather_object([(f"{type(error).__name__}: {error}", None)])
        raise


def announce_generation() -> None:
    """Tell the other ranks, within `generating_equally`, that this one is about to generate."""
    gather(True)


@contextmanager
def generating_equally(idle: Callable[[], object]) -> Iterator[None]:
    """Let every rank generate as often as it likes, and all of them equally often: a model in shards asks for that.

    Args:
        idle: Generates something. Called on ranks that are done for as long as others announce themselves by
            `announce_generation`.
    """
    with failing_together():
        yield
    while any(gather(False)):
        idle()
