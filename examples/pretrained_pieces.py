"""Work in pieces of any length: trainings that end in time, and the seconds of all pieces."""

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback


class TimeIsUpError(Exception):
    """The piece is over; what was done is saved."""


class Piece(TrainerCallback):
    """Ends a training when the time of this call or all of its actions are used up, and saves.

    The learning rate falls linearly to zero over the actions, since methods differ in how many an update takes.

    Args:
        ends_at: Time, as of `time.monotonic`.
        num_actions: Actions to sample in all; `None` where there are none.
    """

    def __init__(self, ends_at: float, num_actions: int | None = None) -> None:
        self._ends_at = ends_at
        self._num_actions = num_actions

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._ends_at

    def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
        if self._num_actions is not None:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * max(1.0 - num_sampled(state) / self._num_actions, 0.0)

    def on_step_end(self, args, state, control, **kwargs):
        if self.is_over:
            control.should_save = control.should_training_stop = True

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self._num_actions is not None and "sampled_actions" in logs:
            used = num_sampled(state)
            print(f"{used:.0f} of {self._num_actions} actions sampled.", flush=True)
            if used >= self._num_actions:
                control.should_save = control.should_training_stop = True


def num_sampled(state) -> float:
    """Return how many actions a training has sampled."""
    return sum(entry.get("sampled_actions", 0.0) for entry in state.log_history)


class Clock:
    """Sums up the seconds of all pieces, by stage, in a file.

    Args:
        file: Where they are kept.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.seconds: dict[str, float] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def timed(self, stage: str, function: Any, *arguments: Any) -> Any:
        """Call a function and add its seconds to those of a stage, also where it ends with an error."""
        began = time.monotonic()
        try:
            return function(*arguments)
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - began
            self._file.write_text(json.dumps(self.seconds), encoding="utf-8")
