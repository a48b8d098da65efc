"""GRPO and GiGPO as algorithms: whole episodes of several tasks, several of each, credited by comparison."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from trl_3spo.algorithm.base import Alone, Metrics, Ranks, Row, Sample, Sampler
from trl_3spo.algorithm.credit import has_signal
from trl_3spo.algorithm.records import Episode, Visit, first_visit, next_visits
from trl_3spo.algorithm.tally import Tally
from trl_3spo.algorithm.task_order import TaskOrder
from trl_3spo.baselines.credit import Steps, TaskEpisodes, gigpo, grpo, step_rewards
from trl_3spo.environments.base import Environment, Task


class EpisodeAlgorithm(ABC):
    """Plays several episodes of each of some tasks, all at once, and trains on all their steps.

    Subclasses say in `credit` what each step earned. Everything begins and ends within one generation batch, so the
    state is the place in the order of tasks and the states reached.

    Args:
        env: Must end its episodes itself; it is put back with `restore` for every action.
        tasks: To be trained on, at least one.
        group_size: Episodes of each task, at least 2.
        ranks: The processes of the training.
        seed: Seed of the order of tasks.
        max_idle_rounds: Batches without any signal after which `collect` returns nothing.
    """

    def __init__(
        self,
        env: Environment,
        tasks: Sequence[Task],
        *,
        group_size: int,
        ranks: Ranks | None = None,
        seed: int = 0,
        max_idle_rounds: int = 100,
    ) -> None:
        self.ranks = ranks or Alone()
        self.tally = Tally(self.ranks)
        self.order = TaskOrder(tasks, seed=seed, rank=self.ranks.rank, num_ranks=self.ranks.num_ranks)
        self._env = env
        self._group_size = group_size
        self._max_idle_rounds = max_idle_rounds

    @abstractmethod
    def credit(self, groups: TaskEpisodes, steps: Sequence[Sequence[Sample]]) -> Steps:
        """Return the advantages of every episode's steps; the same calls of collectives on every rank.

        Args:
            groups: The episodes of each task.
            steps: For every episode, tasks one after the other, a sample for each of its steps.
        """

    def collect(self, sampler: Sampler, capacity: int) -> list[Row]:
        """Play episodes until any step has an advantage, the same rounds on every rank.

        Args:
            sampler: The policy.
            capacity: Number of episodes, a multiple of the group size.
        """
        for num_rounds in range(1, self._max_idle_rounds + 1):
            with sampler.phase():
                ends, steps = self._play(sampler, capacity // self._group_size)
            groups = self._by_task(ends)
            self.tally.end([Episode(end) for end in ends])
            advantages = self.credit(groups, steps)
            if any(self.ranks.gather(has_signal(np.concatenate(advantages)))):
                return self._rows(ends, steps, advantages)
            self.tally.idle(num_rounds, self._max_idle_rounds)
        return []

    def _play(self, sampler: Sampler, num_tasks: int) -> tuple[list[Visit], list[list[Sample]]]:
        """Play whole episodes; return where each ended, and a sample for every one of its steps."""
        roots = [first_visit(self._env, task) for task in self.order.take(num_tasks)]
        heads = [root for root in roots for _ in range(self._group_size)]
        steps: list[list[Sample]] = [[] for _ in heads]
        while waiting := [i for i, head in enumerate(heads) if not head.result.is_final]:
            sampled = sampler.sample([heads[i] for i in waiting], [1] * len(waiting))
            moves = [(heads[i], sample.action) for i, (sample,) in zip(waiting, sampled, strict=True)]
            reached = next_visits(self._env, moves)
            self.tally.reach(reached)
            for i, (sample,), visit in zip(waiting, sampled, reached, strict=True):
                steps[i].append(sample)
                heads[i] = visit
        return heads, steps

    def _by_task(self, ends: Sequence[Visit]) -> list[list[Episode]]:
        episodes = [Episode(end) for end in ends]
        return [episodes[i : i + self._group_size] for i in range(0, len(episodes), self._group_size)]

    def _rows(self, ends: Sequence[Visit], steps: Sequence[Sequence[Sample]], advantages: Steps) -> list[Row]:
        rows = []
        for number, (end, samples, earned) in enumerate(zip(ends, steps, advantages, strict=True)):
            rewards = step_rewards(Episode(end)).tolist()
            triples = zip(samples, rewards, earned.tolist(), strict=True)
            rows += [
                Row(sample, reward, advantage, number // self._group_size) for sample, reward, advantage in triples
            ]
        return rows

    def metrics(self) -> Metrics:
        """Return what is logged: docs/metrics.md lists it."""
        self.tally.total()
        return self.tally.metrics()

    def state_dict(self) -> dict[str, Any]:
        """Return states reached and place in the order of tasks."""
        return {"position": self.order.position} | self.tally.state_dict()

    def load_state_dict(self, state: dict[str, Any], *, saved_by: int) -> None:
        """Go on where a `state_dict` left off."""
        self.order.resume(state["position"], saved_by=saved_by)
        if saved_by == self.ranks.rank:
            self.tally.load_state_dict(state)


class EpisodeGRPO(EpisodeAlgorithm):
    """Group Relative Policy Optimization (arXiv 2402.03300) over whole episodes.

    Args:
        is_scaled: Whether an advantage is divided by its group's standard deviation.
        *args, **kwargs: As in `EpisodeAlgorithm`.
    """

    def __init__(self, *args: Any, is_scaled: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_scaled = is_scaled

    def credit(self, groups: TaskEpisodes, steps: Sequence[Sequence[Sample]]) -> Steps:
        """Give every step of an episode the episode's advantage."""
        return grpo(groups, is_scaled=self._is_scaled)


class GiGPO(EpisodeAlgorithm):
    """Group-in-Group Policy Optimization (arXiv 2505.10978).

    Args:
        discount: γ in [0, 1], per step, of the returns that steps from equal states are compared by.
        step_weight: ω ≥ 0 of A = A^E + ω · A^S.
        is_scaled: Whether both advantages are divided by their group's standard deviation.
        *args, **kwargs: As in `EpisodeAlgorithm`.
    """

    def __init__(
        self, *args: Any, discount: float = 0.95, step_weight: float = 1.0, is_scaled: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._settings: dict[str, Any] = {"discount": discount, "step_weight": step_weight, "is_scaled": is_scaled}

    def credit(self, groups: TaskEpisodes, steps: Sequence[Sequence[Sample]]) -> Steps:
        """Add to the episode's advantage the step's among those from equal states."""
        return gigpo(groups, **self._settings)


def all_episodes(groups: TaskEpisodes) -> list[Episode]:
    """Return the episodes of all tasks, one after the other."""
    return list(chain.from_iterable(groups))
