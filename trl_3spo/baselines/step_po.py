"""StepPO as an algorithm: GAE over the steps of whole episodes, where one answer is one action."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from trl_3spo.algorithm.base import Metrics, Ranks
from trl_3spo.algorithm.credit import whiten
from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.objective import SUCCESS, Objective
from trl_3spo.algorithm.records import Episode, Sample
from trl_3spo.algorithm.three_spo import observe_together
from trl_3spo.baselines.credit import Steps, TaskEpisodes, group_values, history_values, step_po
from trl_3spo.baselines.episodes import EpisodeAlgorithm, all_episodes


class Values(Protocol):
    """Source of V(s)."""

    def of(self, groups: TaskEpisodes, steps: Sequence[Sequence[Sample]]) -> Steps:
        """Return V of the T + 1 states of every episode, from knowledge before it."""

    def learn(self, episodes: Sequence[Episode], returns: Steps, ranks: Ranks) -> Metrics:
        """Learn from the returns of the episodes evaluated last, and return metrics; a collective."""

    def state_dict(self) -> dict[str, Any]:
        """Return the learned state, equal on all ranks."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`; without one, begin from scratch."""


class GroupValues:
    """V from the group's other episodes that visited the same exact state.

    Args:
        discount: Discount factor γ in [0, 1] per step.
        objective: Objective that defines the reward of a step.
    """

    def __init__(self, discount: float, objective: Objective = SUCCESS) -> None:
        self._discount = discount
        self._objective = objective

    def of(self, groups: TaskEpisodes, steps: Sequence[Sequence[Sample]]) -> Steps:
        """Return the mean return of the other episodes."""
        return group_values(groups, discount=self._discount, objective=self._objective)

    def learn(self, episodes: Sequence[Episode], returns: Steps, ranks: Ranks) -> Metrics:
        """Learn nothing."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Need nothing."""


class HistoryValues:
    """V from 3SPO's history of completed episodes.

    Args:
        history: History of completed episodes; `learn` writes to it.
        discount: Discount factor γ in [0, 1] per step.
        objective: Objective that defines the reward of a step.
    """

    def __init__(self, history: StateHistory, discount: float, objective: Objective = SUCCESS) -> None:
        self.history = history
        self._discount = discount
        self._objective = objective

    def of(self, groups: TaskEpisodes, steps: Sequence[Sequence[Sample]]) -> Steps:
        """Return the expected returns by earlier episodes, so no episode is evaluated by its own return."""
        return history_values(groups, self.history, self._objective)

    def learn(self, episodes: Sequence[Episode], returns: Steps, ranks: Ranks) -> Metrics:
        """Write the episodes to the history of all ranks."""
        observe_together(self.history, episodes, self._discount, ranks, self._objective)
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the history."""
        return {"history": self.history.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue a history, if one was saved."""
        if "history" in state:
            self.history.load_state_dict(state["history"])


class StepPO(EpisodeAlgorithm):
    """Step-Aligned Policy Optimization (arXiv 2604.18401).

    Args:
        values: Source of V.
        discount: Discount factor γ in [0, 1] per step.
        gae_lambda: λ in [0, 1].
        bootstraps_truncated: Whether an episode cut off by a step limit earns V of its last state.
        is_scaled: Whether advantages are divided by the batch standard deviation, after the mean is subtracted.
        *args, **kwargs: Arguments of `EpisodeAlgorithm`.
    """

    def __init__(
        self,
        *args: Any,
        values: Values,
        discount: float = 1.0,
        gae_lambda: float = 1.0,
        bootstraps_truncated: bool = True,
        is_scaled: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.values = values
        self._settings: dict[str, Any] = {
            "discount": discount,
            "gae_lambda": gae_lambda,
            "bootstraps": bootstraps_truncated,
        }
        self._is_scaled = is_scaled

    def credit(self, groups: TaskEpisodes, steps: Sequence[Sequence[Sample]]) -> Steps:
        """Return generalized advantages, and let the values learn."""
        values = self.values.of(groups, steps)
        advantages = step_po(groups, values, **self._settings, objective=self.objective)
        returns = [a + v[:-1] for a, v in zip(advantages, values, strict=True)]
        for name, logged in self.values.learn(all_episodes(groups), returns, self.ranks).items():
            for value in logged:
                self.tally.log(name, value)
        return advantages

    def scaled(self, advantages: Steps) -> Steps:
        """Whiten over all steps of the batch."""
        every = [x for rank in self.ranks.gather(advantages) for x in rank]
        if not every:
            return advantages
        among = np.concatenate(every)
        return [whiten(x, among, is_scaled=self._is_scaled) for x in advantages]

    def state_dict(self) -> dict[str, Any]:
        """Return the algorithm's state, and what the values have learned."""
        return super().state_dict() | {"shared": self.values.state_dict()}

    def load_state_dict(self, state: dict[str, Any], *, saved_by: int) -> None:
        """Continue from a `state_dict`."""
        super().load_state_dict(state, saved_by=saved_by)
        self.values.load_state_dict(state["shared"])
