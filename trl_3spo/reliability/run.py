"""One run of a trainer in its output folder, from its start or a checkpoint to its end."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerState
from transformers.trainer_jit_checkpoint import JITCheckpointCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput

from trl_3spo.reliability.checkpoints import (
    STAGING,
    TRAINER_STATE,
    Record,
    last_good,
    name_best,
    publish,
    record_of,
    recover,
    remove_surplus,
    saving_to,
)
from trl_3spo.reliability.fingerprint import check_fingerprint, fingerprint
from trl_3spo.reliability.loop_state import load_loop, save_loop
from trl_3spo.reliability.ranks import failing_together, gather
from trl_3spo.reliability.rollout_files import RANK_FILE, SHARED_FILE, load_state, save_state
from trl_3spo.reliability.run_folder import check_room, checkpoint_size, make_way, resolve, warn_of_missing
from trl_3spo.reliability.run_lock import RunLock
from trl_3spo.reliability.step_guard import hold_weights

if TYPE_CHECKING:
    from trl_3spo.training.agent_trainer import AgentTrainer

logger = logging.getLogger(__name__)

NO_SIGNAL = "no_signal"
"""Training stopped because `max_idle_rounds` rounds had nothing to learn from."""
SIGTERM = "sigterm"
"""Training stopped because the process got SIGTERM; see `enable_jit_checkpoint`."""


class Run(TrainerCallback):
    """Locks the output folder during a training, saves whole checkpoints and resumes from them exactly.

    It replaces transformers' reaction to SIGTERM with `enable_jit_checkpoint`. transformers saves at once, when weights
    and history may belong to different steps. Here the current update is finished first.

    Args:
        trainer: Trainer of the run.
    """

    def __init__(self, trainer: "AgentTrainer[Any]") -> None:
        self.id = uuid.uuid4().hex[:12]
        self.stop_reason: str | None = None
        self._trainer = trainer
        self._resumed: Path | None = None
        self._fingerprint: Record | None = None
        self._on_sigterm: JITCheckpointCallback | None = trainer.pop_callback(JITCheckpointCallback)

    # -- beginning and end ---------------------------------------------------------------------------------------------

    @contextmanager
    def opened(self, wanted: str | bool | None) -> Iterator[str | None]:
        """Lock the output folder; yield the checkpoint to resume, if any.

        Args:
            wanted: Value of `resume_from_checkpoint` in `AgentTrainer.train`.

        Raises:
            ValueError: The checkpoint cannot be resumed, or the folder has checkpoints of another run.
            FolderInUseError: Another run has the folder.
            OSError: The folder has no room for two checkpoints.
        """
        folder = Path(self._trainer.args.output_dir)
        lock = RunLock(folder)
        self.stop_reason = self._fingerprint = None
        try:
            with failing_together():
                opened = self._open(folder, lock, wanted) if self._trainer.args.should_save else None
            found = next((x for x in gather(opened) if x is not None), None)
            self._resumed, self.id = found or (None, self.id)
            if self._resumed is not None:
                warn_of_missing(self._resumed, self._trainer.ranks.rank, self._trainer.ranks.num_ranks)
            yield None if self._resumed is None else str(self._resumed)
        finally:
            lock.release()

    def _open(self, folder: Path, lock: RunLock, wanted: str | bool | None) -> tuple[Path | None, str]:
        trainer = self._trainer
        folder.mkdir(parents=True, exist_ok=True)
        lock.take()
        recover(folder)
        if trainer.args.save_strategy != "no":
            check_room(folder, checkpoint_size(trainer))
        resumed = resolve(folder, wanted)
        record = record_of(resumed) if resumed is not None else None
        if resumed is not None:
            self._check(resumed, record)
        goes_on_here = resumed is not None and resumed.resolve().parent == folder.resolve()
        run = str(record["run"]) if record is not None and goes_on_here else self.id
        make_way(folder, resumed, run, has_consent=trainer.args.set_aside_checkpoints)
        return resumed, run

    def _check(self, checkpoint: Path, record: Record | None) -> None:
        if record is None:
            logger.warning(
                "%s does not say what saved it, so that environment, tasks and method cannot be compared.", checkpoint
            )
            return
        differences = check_fingerprint(record, fingerprint(self._trainer), str(checkpoint))
        if differences:
            logger.warning("%s was saved with other options: %s.", checkpoint, "; ".join(differences))

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Load the saved state of the algorithm and the loop; a collective."""
        if self._resumed is not None and self._load_algorithm(self._resumed):
            with failing_together():
                load_loop(self._resumed, self._trainer)
            gather(None)

    def _load_algorithm(self, checkpoint: Path) -> bool:
        """Load the saved state of the algorithm and return whether there is any; a collective."""
        trainer = self._trainer
        loaded = load_state(checkpoint, trainer.ranks.rank)
        if loaded is None:
            logger.warning("%s holds no %s and its like; history and search start afresh.", checkpoint, SHARED_FILE)
            return False
        state, saved_by = loaded
        if saved_by != trainer.ranks.rank:
            missing = RANK_FILE.format(trainer.ranks.rank)
            logger.warning("%s holds no %s; this rank begins new searches.", checkpoint, missing)
        with failing_together():  # the environment may have to replay the actions to every waiting state
            trainer.algorithm.load_state_dict(state, saved_by=saved_by)
        gather(None)
        return True

    def is_over(self, checkpoint: str | None) -> bool:
        """Whether a checkpoint already has all requested updates; transformers would make one more."""
        if checkpoint is None or self._trainer.is_fsdp_enabled or self._trainer.is_deepspeed_enabled:
            return False
        max_steps = self._trainer.args.max_steps
        return bool(0 < max_steps <= TrainerState.load_from_json(f"{checkpoint}/{TRAINER_STATE}").global_step)

    def as_it_ended(self, checkpoint: str | None) -> TrainOutput:
        """Return the output of training, with weights and history of a checkpoint that has all updates."""
        trainer = self._trainer
        trainer._load_from_checkpoint(checkpoint)
        self._load_algorithm(Path(str(checkpoint)))
        trainer.state = TrainerState.load_from_json(f"{checkpoint}/{TRAINER_STATE}")
        logger.warning("%s has all %d steps that are asked for.", checkpoint, trainer.args.max_steps)
        return TrainOutput(trainer.state.global_step, 0.0, {})

    # -- stopping ------------------------------------------------------------------------------------------------------

    def stop_without_signal(self) -> None:
        """End training because no sample has any signal, and keep the weights."""
        trainer = self._trainer
        logger.warning(
            "Nothing that was sampled in %d rounds had rewards that differ, so there is nothing to learn from and "
            "training ends. If the success rate is near 0, start from a better policy or easier tasks; if it is near "
            "1, the tasks are solved.",
            trainer.args.max_idle_rounds,
        )
        self.stop(NO_SIGNAL)
        hold_weights(trainer.optimizer)

    def stop(self, reason: str) -> None:
        """End training after this update: save, and write the reason to the trainer's log history."""
        trainer = self._trainer
        self.stop_reason = reason
        trainer.control.should_training_stop = True
        trainer.control.should_save = trainer.args.save_strategy != "no" or reason == SIGTERM
        trainer.state.log_history.append({"stop_reason": reason, "step": trainer.state.global_step})

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop if any rank got SIGTERM."""
        if self._on_sigterm is None or self.stop_reason == SIGTERM:
            return
        if any(gather(self._on_sigterm.jit_manager.is_checkpoint_requested)):
            self.stop(SIGTERM)
            self._trainer.control.should_evaluate = False  # there is no time left

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Restore the handler of SIGTERM."""
        if self._on_sigterm is not None:
            self._on_sigterm.on_train_end(*args, **kwargs)

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    @contextmanager
    def saving(self, trial: Any) -> Iterator[None]:
        """Let the trainer save its own files inside, and make a whole checkpoint of them; a collective.

        Raises:
            NonFiniteError: Weights are not finite.
            OSError: The checkpoint cannot be written; earlier checkpoints are unchanged.
        """
        trainer = self._trainer
        folder = Path(trainer._get_output_dir(trial))
        final = folder / f"{PREFIX_CHECKPOINT_DIR}-{trainer.state.global_step}"
        staged = folder / STAGING / final.name
        trainer.step_guard.check_weights()
        with failing_together(), _naming_the_last_good(final):
            if trainer.args.should_save:
                recover(folder)
        gather(None)
        with failing_together(), _naming_the_last_good(final):
            staged.mkdir(parents=True, exist_ok=True)
            save_state(staged, trainer.algorithm.state_dict(), trainer.ranks.rank)
            save_loop(staged, trainer, is_batch_over=self.stop_reason == NO_SIGNAL)
            with saving_to(trainer, staged.parent):
                yield
        gather(None)
        with failing_together(), _naming_the_last_good(final):
            if trainer.args.should_save:
                name_best(staged, final, trainer.state)
                publish(staged, final, self._record())
        gather(None)
        if staged.exists() and trainer.is_local_process_zero():
            publish(staged, final, self._record())  # once per node: nodes may have their own disks
        if trainer.args.should_save:
            remove_surplus(folder, trainer.args.save_total_limit, trainer.state.best_model_checkpoint)
        if trainer.args.push_to_hub:
            trainer._push_from_checkpoint(str(final))

    def _record(self) -> Record:
        # Computed once, because it goes through all tasks.
        self._fingerprint = self._fingerprint or fingerprint(self._trainer)
        return {"run": self.id, "step": self._trainer.state.global_step} | self._fingerprint


@contextmanager
def _naming_the_last_good(final: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{final.name} could not be written to {final.parent}: {error}. {last_good(final.parent)} Make sure that "
            "there is room and that the folder can be written to, and resume from it."
        ) from error
