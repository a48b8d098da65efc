"""Check of loss, gradients and weights: no update with numbers that are not finite."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import TrainerCallback

from trl_3spo.reliability.checkpoints import last_good
from trl_3spo.reliability.ranks import gather

if TYPE_CHECKING:
    from trl_3spo.training.agent_trainer import AgentTrainer

logger = logging.getLogger(__name__)

MAX_SKIPPED_IN_A_ROW = 10
"""Number of skipped updates in a row after which training stops."""


class NonFiniteError(FloatingPointError):
    """Raised if a loss, a gradient or a weight is infinite or not a number."""


class StepGuard(TrainerCallback):
    """Checks every update before it is made, and the weights before an update or a save.

    DeepSpeed does not show its gradients. Under fp16 the gradient scaler skips infinite gradients itself. There only
    loss and weights are checked.

    Args:
        trainer: Trainer whose updates are checked.
    """

    def __init__(self, trainer: "AgentTrainer[Any]") -> None:
        self.num_skipped = 0
        self._trainer = trainer
        self._num_in_a_row = 0
        self._losses: list[Tensor] = []
        self._batches: list[dict[str, Any]] = []

    def watch(self, loss: Tensor, inputs: dict[str, Any]) -> None:
        """Note a part of the next update."""
        self._losses.append(loss.detach())
        self._batches.append(inputs)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Begin a new update, and check its weights."""
        self._losses, self._batches = [], []
        self.check_weights()

    def check_weights(self) -> None:
        """Raise if a trained weight is not finite; a collective.

        Raises:
            NonFiniteError: A trained weight is not finite.
        """
        named = self._trainer.model.named_parameters()
        found = _first(gather(not_finite((name, x) for name, x in named if x.requires_grad)))
        if found:
            raise NonFiniteError(
                f"Weights are not finite after step {self._trainer.state.global_step}: {found}. They are not saved. "
                f"{self._last_good()} Resume from it with a lower learning_rate or max_grad_norm."
            )

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Let an update pass, skip it, or stop, according to `args.on_nonfinite`; the same on every rank."""
        found = _first(gather(self._findings()))
        if not found:
            self._num_in_a_row = 0
            return
        step = self._trainer.state.global_step + 1
        if self._trainer.args.on_nonfinite == "skip" and self._num_in_a_row < MAX_SKIPPED_IN_A_ROW:
            self._skip(step, found)
            return
        folder = self._save_batch(step)
        raise NonFiniteError(
            f"Step {step} was not taken: {found} is not finite. Nothing of it is saved; the batch is in {folder}. "
            f"{self._last_good()} Resume from it, with a lower learning_rate or max_grad_norm if it happens again, or "
            "set on_nonfinite='skip' to leave such steps out."
        )

    def _findings(self) -> str | None:
        if self._losses and not torch.stack([torch.isfinite(x).all() for x in self._losses]).all():
            return "the loss"
        if self._trainer.accelerator.scaler is not None:
            return None
        named = self._trainer.model.named_parameters()
        found = not_finite((name, x.grad) for name, x in named if x.grad is not None)
        return found and f"the gradient of {found}"

    def _skip(self, step: int, found: str) -> None:
        """Remove the gradients. A parameter without gradient keeps its value and moments, without weight decay."""
        for parameter in self._trainer.model.parameters():
            parameter.grad = None
        self.num_skipped += 1
        self._num_in_a_row += 1
        self._trainer._metrics["train"]["skipped_steps"].append(float(self.num_skipped))
        logger.warning("Step %d is left out: %s is not finite. %d so far.", step, found, self.num_skipped)

    def _save_batch(self, step: int) -> Path:
        """Write this rank's batch for inspection: the tensors of the loss, and the rows as text."""
        trainer, rank = self._trainer, self._trainer.ranks.rank
        folder = Path(trainer.args.output_dir) / f"nonfinite_step_{step}"
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"{i}/{name}": value.detach().cpu().clone().contiguous()
            for i, batch in enumerate(self._batches)
            for name, value in batch.items()
            if isinstance(value, Tensor)
        }
        save_file(tensors, folder / f"batch_{rank}.safetensors")
        rows = [
            {"prompt": row.sample.prompt, "action": row.sample.action, "reward": row.reward, "advantage": row.advantage}
            for row in trainer._rows
            if not row.is_padding
        ]
        text = "".join(json.dumps(row, default=str) + "\n" for row in rows)
        (folder / f"rows_{rank}.jsonl").write_text(text, encoding="utf-8")
        return folder

    def _last_good(self) -> str:
        return last_good(Path(self._trainer.args.output_dir))


def hold_weights(optimizer: Any) -> None:
    """Let the next optimizer step keep the weights: an empty batch would still move them by momentum."""
    for group in optimizer.param_groups:
        group["lr"] = 0.0


def not_finite(named: Iterable[tuple[str, Tensor]]) -> str | None:
    """Return the name of the first tensor with a number that is not finite, and how many more there are."""
    names, flags, tensors = [], [], []
    for name, tensor in named:
        own = tensor.detach()
        own = own.to_local() if hasattr(own, "to_local") else own  # each rank checks its own shard
        names.append(name)
        # A sum is several times faster than checking every number, and it is not finite if one of them is not.
        flags.append(own.sum(dtype=torch.promote_types(own.dtype, torch.float32)).isfinite())
        tensors.append(own)
    suspects = [i for i, is_finite in enumerate(_together(flags)) if not is_finite]
    found = [names[i] for i in suspects if not tensors[i].isfinite().all()]  # a sum may also overflow
    return found[0] + (f" and {len(found) - 1} more" if len(found) > 1 else "") if found else None


def _together(flags: list[Tensor]) -> list[bool]:
    """Fetch the flags of one device in one transfer."""
    if not flags:
        return []
    fetched: list[bool] = torch.stack([flag.to(flags[0].device) for flag in flags]).tolist()
    return fetched


def _first(findings: list[str | None]) -> str | None:
    return next((finding for finding in findings if finding), None)
