"""The processes of an evaluation without a trainer, as `accelerate launch` or `torchrun` started them."""

import os
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

T = TypeVar("T")


class Processes:
    """The processes, of which this is one. Each holds a whole model.

    Attributes:
        rank: Number of this process, from 0.
        num_ranks: Number of processes.
        place: Number of this process's GPU; `None` takes all.
    """

    def __init__(self) -> None:
        is_launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
        state = PartialState(cpu=not torch.cuda.is_available()) if is_launched else None
        self.rank: int = state.process_index if state else 0
        self.num_ranks: int = state.num_processes if state else 1
        self.place: int | None = state.local_process_index if state else None

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in their order; a collective."""
        if self.num_ranks == 1:
            return [value]
        gathered: list[T] = gather_object([value])
        return gathered
