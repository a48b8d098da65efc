"""StepPO's critic: a linear head on what the policy makes of a prompt."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor


class ValueHead:
    """V(s), linear in the policy's hidden state at the last token of the prompt in s. Begins at 0 everywhere.

    The policy is not trained through it. Every process holds the same head.

    Args:
        hidden_size: H of the policy.
        learning_rate: Of Adam, constant.
        accelerator: Of the training.
    """

    def __init__(self, hidden_size: int, learning_rate: float, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._linear = torch.nn.Linear(hidden_size, 1, device=accelerator.device)
        torch.nn.init.zeros_(self._linear.weight)
        torch.nn.init.zeros_(self._linear.bias)
        self._optimizer = torch.optim.Adam(self._linear.parameters(), lr=learning_rate)

    def values(self, features: Tensor) -> NDArray[np.float64]:
        """Return V of the states with these (N, H) features."""
        with torch.no_grad():
            return np.asarray(self._linear(features).squeeze(1).tolist(), dtype=np.float64)

    def update(self, features: Tensor, targets: NDArray[np.float64]) -> float:
        """Take one step down the mean squared error over all processes' states, and return it as it was before.

        Args:
            features: (N, H).
            targets: (N,) returns.
        """
        wanted = torch.as_tensor(targets, dtype=features.dtype, device=features.device)
        count = self._sum(torch.tensor(float(len(targets)), device=features.device))
        loss = (self._linear(features).squeeze(1) - wanted).square().sum() / count
        parameters = list(self._linear.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = self._sum(gradient)
        self._optimizer.step()
        return float(self._sum(loss.detach()))

    def _sum(self, tensor: Tensor) -> Tensor:
        total: Tensor = self._accelerator.reduce(tensor, reduction="sum")
        return total

    def state_dict(self) -> dict[str, Any]:
        """Return everything `load_state_dict` needs, to be saved: the tensors are the living ones."""
        return {"head": self._linear.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a `state_dict` left off."""
        self._linear.load_state_dict(state["head"])
        self._optimizer.load_state_dict(state["optimizer"])


def last_hidden_states(model: Any, prompt_ids: Sequence[Sequence[int]], *, pad_id: int, batch_size: int) -> Tensor:
    """Return a model's last hidden state at the last token of each prompt.

    Args:
        model: A causal language model of `transformers`.
        prompt_ids: N prompts, at least one.
        pad_id: Token to pad with.
        batch_size: Prompts per forward pass.

    Returns:
        (N, H) in single precision, without gradient.
    """
    chunks = [prompt_ids[i : i + batch_size] for i in range(0, len(prompt_ids), batch_size)]
    return torch.cat([_last_hidden_states(model, chunk, pad_id) for chunk in chunks])


@torch.no_grad()
def _last_hidden_states(model: Any, prompt_ids: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    width = max(map(len, prompt_ids))
    ids = torch.tensor([[pad_id] * (width - len(x)) + list(x) for x in prompt_ids], device=model.device)
    mask = torch.tensor([[0] * (width - len(x)) + [1] * len(x) for x in prompt_ids], device=model.device)
    outputs = model(input_ids=ids, attention_mask=mask, output_hidden_states=True, logits_to_keep=1, use_cache=False)
    states: Tensor = outputs.hidden_states[-1]
    return states[:, -1].float()
