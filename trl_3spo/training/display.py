"""[`Display`]: a readable line for every log, or a live table on a terminal, with the progress of long steps."""

import importlib.util
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tqdm.auto import tqdm
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from trl_3spo.training.log_line import as_line, evaluation_lines, training_fields

NUM_ROWS = 12
"""Number of latest updates in the table."""
REFRESHES_PER_SECOND = 2


class Display(TrainerCallback):
    """Shows the progress of a training instead of transformers' dictionaries: first process, standard output.

    On a terminal with rich it shows a table of the latest updates, with the current activity below it. Otherwise, and
    with `disable_tqdm`, it prints one line per log. The heartbeat reports long steps without a log.

    Args:
        trainer: Trainer that gets this callback; its callbacks that print dictionaries are removed.
    """

    def __init__(self, trainer: Any) -> None:
        self._args = trainer.args
        self._is_first = trainer.is_world_process_zero()
        plain = (PrinterCallback, ProgressCallback)
        self._prints = any(isinstance(x, plain) for x in trainer.callback_handler.callbacks)  # a notebook has its own
        for kind in plain:
            trainer.remove_callback(kind)
        self._live: Any = None
        self._rows: deque[dict[str, str]] = deque(maxlen=NUM_ROWS)
        self._evaluations: deque[str] = deque(maxlen=3)
        self._num_sampled = 0
        self._evaluated: tuple[int, int] | None = None
        self._began: tuple[float, int] | None = None
        self._step = self._num_steps = 0

    # -- how far it is -------------------------------------------------------------------------------------------------

    def sampled(self, count: int) -> None:
        """Add to the number of actions sampled for the current update."""
        self._num_sampled += count
        self._refresh()

    @contextmanager
    def evaluating(self, num_episodes: int) -> Iterator[Callable[[int], None]]:
        """Show the progress of an evaluation; yields a function that takes the number of ended episodes."""
        is_off = not self._is_first or self._live is not None or self._args.disable_tqdm
        # `None` switches it off unless there is a terminal.
        with tqdm(total=num_episodes, desc="evaluation", unit="episode", leave=False, disable=is_off or None) as bar:

            def ended(count: int) -> None:
                done, total = self._evaluated or (0, num_episodes)
                self._evaluated = (min(done + count, total), total)
                bar.update(count)
                self._refresh()

            self._evaluated = (0, num_episodes)
            try:
                yield ended
            finally:
                self._evaluated = None

    def progress(self) -> str:
        """Return the progress of the current update or evaluation."""
        if self._evaluated is not None:
            done, total = self._evaluated
            return f"{done} of {total} episodes of the evaluation have ended."
        return f"{self._num_sampled} actions were sampled for step {self._step + 1}."

    # -- what transformers calls ---------------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to count."""
        self._began, self._num_sampled = (time.perf_counter(), state.global_step), 0
        self._step, self._num_steps = state.global_step, state.max_steps

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to count for the next update."""
        self._step, self._num_sampled = state.global_step, 0

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Show an update or an evaluation."""
        if not (self._is_first and self._prints and logs):
            return
        self._step, self._num_steps = state.global_step, state.max_steps
        for line in evaluation_lines(logs, state.global_step):
            self._evaluations.append(line)
            self._print(line)
        if "success_rate" in logs or "loss" in logs:
            fields = training_fields(logs, state.global_step, state.max_steps, self._seconds_left(state))
            self._rows.append(fields)
            self._print(as_line(fields))
        elif "train_runtime" in logs:
            self._print(f"trained {state.global_step} steps in {logs['train_runtime']:.0f} seconds")
        self._refresh()

    def _seconds_left(self, state: Any) -> float | None:
        if self._began is None or state.global_step <= self._began[1]:
            return None
        began, first = self._began
        seconds = (time.perf_counter() - began) / (state.global_step - first)
        return float(seconds * (state.max_steps - state.global_step))

    def _print(self, line: str) -> None:
        if self._live is None:
            print(line, flush=True)

    # -- the table -----------------------------------------------------------------------------------------------------

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the table inside the context, if there is a terminal for it."""
        is_wanted = self._is_first and self._prints and not self._args.disable_tqdm
        with ExitStack() as stack:
            if is_wanted and sys.stdout.isatty() and importlib.util.find_spec("rich") is not None:
                from rich.live import Live

                self._live = stack.enter_context(Live(self._table(), refresh_per_second=REFRESHES_PER_SECOND))
            try:
                yield
            finally:
                self._refresh()
                self._live = None

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._table())

    def _table(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table(title="training", title_justify="left")
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        for name in columns:
            table.add_column(name, justify="right")
        for row in self._rows:
            table.add_row(*(row.get(name, "") for name in columns))
        below = [*self._evaluations, f"step {self._step} of {self._num_steps}. {self.progress()}"]
        bar = ProgressBar(total=max(self._num_steps, 1), completed=self._step)
        return Group(table, *map(Text, below), bar)
