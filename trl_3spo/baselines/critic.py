"""StepPO's critic: a linear head on the policy's hidden state at the end of a prompt."""

import logging
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from trl_3spo.algorithm.base import Metrics, Ranks
from trl_3spo.algorithm.records import Episode, Sample, Visit
from trl_3spo.baselines.credit import Steps, TaskEpisodes
from trl_3spo.baselines.episodes import joined

logger = logging.getLogger(__name__)


HiddenStates = Callable[[list[list[int]]], Tensor]
"""Maps the token ids of N prompts to the policy's (N, H) hidden states at their last tokens."""


class ValueHead:
    """V(s), linear in the policy's hidden state at the last prompt token in s. It is 0 everywhere at first.

    No gradient flows into the policy. Every process has the same head.

    Args:
        hidden_size: Hidden size H of the policy.
        learning_rate: Constant learning rate of Adam.
        accelerator: Accelerator of the training.
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
        """Take one gradient step on the mean squared error over all processes' states; return the error before it.

        Args:
            features: (N, H) hidden states.
            targets: (N,) returns.
        """
        wanted = torch.as_tensor(targets, dtype=features.dtype, device=features.device)
        count = self._sum(torch.tensor(float(len(targets)), device=features.device))
        if not count:  # every episode failed
            return 0.0
        loss = (self._linear(features).squeeze(1) - wanted).square().sum() / count
        parameters = list(self._linear.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = self._sum(gradient)
        self._optimizer.step()
        return float(self._sum(loss.detach()))

    def _sum(self, tensor: Tensor) -> Tensor:
        total: Tensor = self._accelerator.reduce(tensor, reduction="sum")
        return total

    def no_features(self) -> Tensor:
        """Return the (0, H) features of no states."""
        return next(self._linear.parameters()).new_zeros(0, self._linear.in_features)

    def state_dict(self) -> dict[str, Any]:
        """Return weights and Adam's moments as arrays."""
        moments = self._optimizer.state_dict()["state"]
        return {
            "weights": {name: _array(tensor) for name, tensor in self._linear.state_dict().items()},
            "adam": {str(i): {name: _array(x) for name, x in state.items()} for i, state in moments.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a `state_dict` left off, on this device."""
        device = self._accelerator.device
        self._linear.load_state_dict({name: torch.from_numpy(x).to(device) for name, x in state["weights"].items()})
        moments = {int(i): {name: torch.from_numpy(x) for name, x in y.items()} for i, y in state["adam"].items()}
        self._optimizer.load_state_dict(self._optimizer.state_dict() | {"state": moments})


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().numpy().copy()


class CriticValues:
    """V from a `ValueHead` on the policy, which learns every batch's returns in one step.

    Args:
        head: The critic.
        prompt_ids_at: Function that returns the prompt tokens at the state where an episode was cut off, if any.
        hidden_states: Function that returns the policy's hidden states.
    """

    def __init__(
        self,
        head: ValueHead,
        prompt_ids_at: Callable[[Visit], list[int] | None],
        hidden_states: HiddenStates,
    ) -> None:
        self.head = head
        self._prompt_ids_at = prompt_ids_at
        self._hidden_states = hidden_states
        self._features: list[Tensor] = []

    def of(self, groups: TaskEpisodes, steps: Sequence[Sequence[Sample]]) -> Steps:
        """Return the critic's current values."""
        self._features = self.features(groups, steps)
        return [self.head.values(x) for x in self._features]

    def learn(self, episodes: Sequence[Episode], returns: Steps, ranks: Ranks) -> Metrics:
        """Fit the critic to the returns of the steps that were evaluated last."""
        features = [x[:-1] for x in self._features] or [self.head.no_features()]
        loss = self.head.update(torch.cat(features), joined(returns))
        self._features = []
        return {"critic_loss": [loss]}

    def features(self, groups: TaskEpisodes, steps: Sequence[Sequence[Sample]]) -> list[Tensor]:
        """Return for every episode the (T + 1, H) hidden states of its prompts, including the last state's.

        If the task itself ended the episode, the last prompt and its value have no meaning.
        """
        prompt_ids = []
        for episode, samples in zip(chain.from_iterable(groups), steps, strict=True):
            asked = [sample.prompt_ids for sample in samples]
            prompt_ids += [
                *asked,
                asked[-1] if episode.end.result.terminated else self._next_prompt(episode, asked[-1]),
            ]
        if not prompt_ids:
            return []
        states = self._hidden_states(prompt_ids)
        return list(torch.split(states, [len(samples) + 1 for samples in steps]))

    def _next_prompt(self, episode: Episode, latest: list[int]) -> list[int]:
        return self._prompt_ids_at(episode.end) or latest

    def state_dict(self) -> dict[str, Any]:
        """Return the critic's weights and moments."""
        return {"critic": self.head.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue a saved critic. If none was saved, begin from scratch with a warning."""
        if "critic" in state:
            self.head.load_state_dict(state["critic"])
        else:
            logger.warning("The checkpoint holds no critic; the critic starts afresh.")


def last_hidden_states(
    model: torch.nn.Module, prompt_ids: Sequence[Sequence[int]], *, pad_id: int, batch_size: int
) -> Tensor:
    """Return a model's last hidden state at the last token of each prompt.

    Args:
        model: Causal language model of `transformers`.
        prompt_ids: Token ids of N prompts, at least one.
        pad_id: Padding token.
        batch_size: Number of prompts per forward pass.

    Returns:
        (N, H) in single precision, without gradient.
    """
    chunks = [prompt_ids[i : i + batch_size] for i in range(0, len(prompt_ids), batch_size)]
    return torch.cat([_last_hidden_states(model, chunk, pad_id) for chunk in chunks])


@torch.no_grad()
def _last_hidden_states(model: torch.nn.Module, prompt_ids: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    width, device = max(map(len, prompt_ids)), next(model.parameters()).device
    ids = torch.tensor([[pad_id] * (width - len(x)) + list(x) for x in prompt_ids], device=device)
    mask = torch.tensor([[0] * (width - len(x)) + [1] * len(x) for x in prompt_ids], device=device)
    outputs = model(input_ids=ids, attention_mask=mask, output_hidden_states=True, logits_to_keep=1, use_cache=False)
    states: Tensor = outputs.hidden_states[-1]
    return states[:, -1].float()
