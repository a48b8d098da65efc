"""State of the training loop that is saved beside TRL's own files, so that resuming is exact.

It is the open logging window. If a checkpoint falls between updates that share a generation batch, it is also that
batch. Every rank has its own.
"""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from trl_3spo.training.agent_trainer import AgentTrainer

logger = logging.getLogger(__name__)

LOOP_FILE = "loop_{}.json"
BUFFER_FILE = "buffer_{}.safetensors"


def save_loop(folder: Path, trainer: "AgentTrainer[Any]", *, is_batch_over: bool = False) -> None:
    """Write the state of a trainer's loop on this rank.

    Args:
        folder: Folder of the checkpoint.
        trainer: Trainer between two updates.
        is_batch_over: Whether the rest of the generation batch will not be trained on.
    """
    period = trainer.args.steps_per_generation * trainer.num_iterations
    num_used = trainer._step % period
    state = {
        "steps_per_generation": trainer.args.steps_per_generation,
        "num_iterations": trainer.num_iterations,
        "step": trainer._step - num_used if is_batch_over else trainer._step,
        "padding_correction": trainer._padding_correction,
        "metrics": dict(trainer._metrics["train"]),
        "loss": trainer._tr_loss.item(),
        "last_logged": trainer._globalstep_last_logged,
        "has_buffer": bool(num_used) and not is_batch_over,
    }
    (folder / LOOP_FILE.format(trainer.ranks.rank)).write_text(json.dumps(state, default=float), encoding="utf-8")
    if state["has_buffer"]:
        save_file(_flat(trainer._buffered_inputs or []), folder / BUFFER_FILE.format(trainer.ranks.rank))


def load_loop(folder: Path, trainer: "AgentTrainer[Any]") -> None:
    """Continue the loop saved by this rank. If there is none, or its sizes differ, begin a new batch."""
    file = folder / LOOP_FILE.format(trainer.ranks.rank)
    if not file.exists():
        return
    state = json.loads(file.read_text(encoding="utf-8"))
    trainer._metrics["train"].update(state["metrics"])
    trainer._tr_loss += state["loss"]
    trainer._globalstep_last_logged = state["last_logged"]
    sizes = {"steps_per_generation": trainer.args.steps_per_generation, "num_iterations": trainer.num_iterations}
    if any(state[name] != size for name, size in sizes.items()):
        logger.warning("%s shares a batch among other updates than now; a new batch is sampled.", folder)
        return
    trainer._step = state["step"]
    trainer._padding_correction = state["padding_correction"]
    if state["has_buffer"]:
        tensors = load_file(folder / BUFFER_FILE.format(trainer.ranks.rank))
        device = trainer.accelerator.device
        trainer._buffered_inputs = _nested({path: tensor.to(device) for path, tensor in tensors.items()})


def _flat(batches: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Return copies of a batch's tensors: they share memory, which safetensors refuses."""
    return {
        f"{i}/{name}": value.detach().cpu().clone().contiguous()
        for i, batch in enumerate(batches)
        for name, value in batch.items()
        if isinstance(value, torch.Tensor)
    }


def _nested(tensors: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
    batches: list[dict[str, Any]] = [{} for _ in {path.partition("/")[0] for path in tensors}]
    for path, tensor in tensors.items():
        number, _, name = path.partition("/")
        batches[int(number)][name] = tensor
    return batches
