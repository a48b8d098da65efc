"""Records of a trainer's episodes and logs on disk; see docs/records.md."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from trl_3spo.algorithm.base import Round
from trl_3spo.algorithm.records import Episode
from trl_3spo.recording.files import FOLDER, EpisodeFile, append_line, rewrite
from trl_3spo.recording.schema import SCHEMA, Record, number
from trl_3spo.recording.trees import TreeRecorder, lone_record
from trl_3spo.reliability.ranks import gather

if TYPE_CHECKING:
    from trl_3spo.training.agent_trainer import AgentTrainer

logger = logging.getLogger(__name__)


class Records(TrainerCallback):
    """Writes the episodes of training and evaluation, and the logs, below the output folder.

    Every process writes its own files, named by run, phase and rank. If a training begins or resumes at step k, records
    of later steps of the same run are removed. No random number is drawn, and only the run's id is sent to other
    processes. A training with records therefore equals one without.

    Args:
        trainer: Trainer whose episodes are recorded.
    """

    def __init__(self, trainer: "AgentTrainer[Any]") -> None:
        self._trainer = trainer
        self._max_bytes = int(trainer.args.record_megabytes * 1e6) // trainer.ranks.num_ranks
        self._files: dict[Path, EpisodeFile] = {}
        self._recorder = self._new_recorder()
        self._sampled_at = 0
        self._num_trees = 0  # that were met at that step
        self._num_evaluations = 0
        if self._max_bytes > 0:
            trainer.run.id = gather(trainer.run.id)[0]
            if hasattr(trainer.algorithm, "on_round"):
                trainer.algorithm.on_round = self._take

    # -- training ------------------------------------------------------------------------------------------------------

    def _new_recorder(self) -> TreeRecorder:
        return TreeRecorder(lambda tree: self._file("train").wants(tree))

    def _take(self, found: Round) -> None:
        if self._sampled_at != self._step:
            self._sampled_at, self._num_trees = self._step, 0
        self._recorder.take(found, self._new_id)

    def _new_id(self) -> str:
        """Return the id of the next tree; a run repeated from a checkpoint gives the same ids."""
        self._num_trees += 1
        return f"{self._sampled_at}-{self._trainer.ranks.rank}-{self._num_trees}"

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Remove the run's records of steps that will be repeated."""
        begin = self._step
        self._recorder, self._sampled_at, self._num_trees = self._new_recorder(), begin, 0
        if self._max_bytes > 0:
            self._attempt(lambda: self._go_back(begin))

    def _go_back(self, begin: int) -> None:
        """Rewrite this rank's files, and the files of ranks that no longer exist."""
        rank, num_ranks = self._trainer.ranks.rank, self._trainer.ranks.num_ranks
        for path in self._folder.glob(f"{self._trainer.run.id}-*.jsonl"):
            _, phase, number_ = path.stem.rsplit("-", 2)
            if int(number_) % num_ranks != rank:
                continue
            if phase == "log":
                rewrite(path, lambda record: bool(record["step"] <= begin))
            elif phase == "train":
                self._open(path).go_back(lambda record: bool(record["step"] < begin))
            else:
                self._open(path).go_back(lambda record: bool(record["step"] <= begin))

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Write the episodes that ended, with the advantages used in training."""
        self._write_trees(self._recorder.records(self._trainer._rows))

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Write the unfinished search trees."""
        self._write_trees(self._recorder.rest())

    def _write_trees(self, records: Sequence[Record]) -> None:
        if records:
            self._write("train", [{"step": self._sampled_at, "panel": ""} | record for record in records])

    def on_log(self, *_: Any, logs: Mapping[str, Any] | None = None, **__: Any) -> None:
        """Write the logs."""
        if self._max_bytes > 0 and logs and self._trainer.is_world_process_zero():
            values = {name: number(x) if isinstance(x, float) else x for name, x in logs.items()}
            head = {"schema": SCHEMA, "run": self._trainer.run.id, "step": self._step, "time": round(time.time(), 3)}
            self._attempt(lambda: append_line(self._path("log"), head | {"metrics": values}))

    # -- evaluation ----------------------------------------------------------------------------------------------------

    def evaluated(self, episodes: Sequence[Episode], panel: str) -> None:
        """Write this rank's episodes of an evaluation.

        Args:
            episodes: Episodes in the order in which they were played.
            panel: Name of the panel; empty if there is only one.
        """
        self._num_evaluations += 1
        if self._max_bytes > 0:
            place = {"step": self._step, "panel": panel, "evaluation": self._num_evaluations}
            rank, num_ranks = self._trainer.ranks.rank, self._trainer.ranks.num_ranks
            records = [lone_record(x) | place | {"episode": rank + i * num_ranks} for i, x in enumerate(episodes)]
            self._write("eval", records)

    # -- files ---------------------------------------------------------------------------------------------------------

    @property
    def _step(self) -> int:
        return int(self._trainer.state.global_step)

    @property
    def _folder(self) -> Path:
        return Path(self._trainer.args.output_dir) / FOLDER

    def _path(self, phase: str) -> Path:
        return self._folder / f"{self._trainer.run.id}-{phase}-{self._trainer.ranks.rank}.jsonl"

    def _file(self, phase: str) -> EpisodeFile:
        return self._open(self._path(phase))

    def _open(self, path: Path) -> EpisodeFile:
        if path not in self._files:
            self._files[path] = EpisodeFile(path, self._max_bytes, self._trainer.args.seed)
        return self._files[path]

    def _write(self, phase: str, records: Sequence[Record]) -> None:
        seed, rank = self._trainer.args.seed, self._trainer.ranks.rank
        run, now = self._trainer.run.id, round(time.time(), 3)
        head = {"schema": SCHEMA, "run": run, "phase": phase, "rank": rank, "seed": seed, "time": now}
        self._attempt(lambda: self._file(phase).append([head | record for record in records]))

    def _attempt(self, write: Callable[[], None]) -> None:
        """Write, and stop recording if that fails: a training is worth more than its records."""
        try:
            write()
        except OSError as error:
            self._max_bytes = 0
            if hasattr(self._trainer.algorithm, "on_round"):
                self._trainer.algorithm.on_round = None
            logger.warning("Episodes are no longer recorded: %s. The training goes on without.", error)
