"""GRPO and GiGPO as algorithms: whole episodes of several tasks, several per task, credited by comparison."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trl_3spo.algorithm.base import Alone, Metrics, OnRound, Ranks, Round, Row, Sampler
from trl_3spo.algorithm.credit import has_signal, is_sound
from trl_3spo.algorithm.objective import Objective, ObjectiveName
from trl_3spo.algorithm.records import Episode, Group, Sample, Transition, Visit, first_visit, next_visits
from trl_3spo.algorithm.tally import Tally
from trl_3spo.algorithm.task_order import TaskOrder
from trl_3spo.baselines.credit import Steps, TaskEpisodes, gigpo, grpo, step_rewards
from trl_3spo.environments.base import Environment, Task

MAX_REPLACING_ROUNDS = 4
"""Largest number of rounds of dynamic sampling: on solved tasks hardly any group has signal."""


@dataclass(frozen=True, eq=False)
class Played:
    """The episodes of one task.

    Args:
        episodes: The episodes.
        steps: One sample per step, for every episode.
        advantages: (T,) advantages of the steps, for every episode, not yet scaled by the batch.
    """

    episodes: list[Episode]
    steps: list[list[Sample]]
    advantages: Steps

    @property
    def has_signal(self) -> bool:
        """Whether any step has an advantage."""
        return has_signal(joined(self.advantages))


class EpisodeAlgorithm(ABC):
    """Plays several episodes of each of some tasks at once, and trains on all their steps.

    Subclasses compute the advantages in `credit`. All episodes begin and end within one generation batch. The saved
    state is therefore the position in the order of tasks and the states reached.

    Args:
        env: Environment that ends its episodes itself; every action is taken after a `restore`.
        tasks: Tasks to train on, at least one.
        group_size: Number of episodes per task, at least 2.
        ranks: Processes of the training.
        seed: Seed for the task order.
        max_idle_rounds: Number of batches without any signal after which `collect` returns nothing.
        novelty_weight: Weight ω ≥ 0 of the bonus for states that are new in the episode.
        invalid_action_penalty: Penalty ≥ 0 for an action that is not admissible.
        dynamic_sampling: Whether groups without any advantage are replaced by groups of further tasks.
        objective: Quantity to maximize, `"success"` or `"reward"`.
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
        novelty_weight: float = 0.0,
        invalid_action_penalty: float = 0.0,
        dynamic_sampling: bool = False,
        objective: ObjectiveName = "success",
    ) -> None:
        self.ranks = ranks or Alone()
        self.objective = Objective.of(objective, env)
        self.tally = Tally(self.ranks, self.objective)
        self.order = TaskOrder(tasks, seed=seed, rank=self.ranks.rank, num_ranks=self.ranks.num_ranks)
        self._env = env
        self._group_size = group_size
        self._max_idle_rounds = max_idle_rounds
        self._novelty_weight = novelty_weight
        self._invalid_action_penalty = invalid_action_penalty
        self._dynamic_sampling = dynamic_sampling
        self.on_round: OnRound | None = None

    @abstractmethod
    def credit(self, groups: TaskEpisodes, steps: Sequence[Sequence[Sample]]) -> Steps:
        """Return the advantages of every episode's steps, with the same collectives on every rank.

        Args:
            groups: Episodes of each task.
            steps: One sample per step for every episode, task after task.
        """

    def scaled(self, advantages: Steps) -> Steps:
        """Return the advantages of a batch, scaled over the batch if the method does so; a collective."""
        return advantages

    def collect(self, sampler: Sampler, capacity: int) -> list[Row]:
        """Play episodes until any step has an advantage, for the same number of rounds on every rank.

        Args:
            sampler: Policy to sample from.
            capacity: Number of episodes, a multiple of the group size.
        """
        num_tasks = capacity // self._group_size
        kept: list[Played] = []
        for num_rounds in range(1, self._max_idle_rounds + 1):
            played = self._round(sampler, num_tasks)
            kept = ([*kept, *(x for x in played if x.has_signal)] if self._dynamic_sampling else played)[:num_tasks]
            advantages = self.scaled([x for group in kept for x in group.advantages])
            if self._is_done(len(kept) / num_tasks, has_signal(joined(advantages)), num_rounds):
                return self._rows(kept, advantages)
            self.tally.idle(num_rounds, self._max_idle_rounds)
        return []

    def _is_done(self, fill: float, is_worth_it: bool, num_rounds: int) -> bool:
        fills, any_signal = zip(*self.ranks.gather((fill, is_worth_it)), strict=True)
        is_full = min(fills) == 1.0 or num_rounds >= MAX_REPLACING_ROUNDS
        return any(any_signal) and (is_full or not self._dynamic_sampling)

    def _round(self, sampler: Sampler, num_tasks: int) -> list[Played]:
        """Play some tasks and credit them."""
        with sampler.phase():
            ends, steps = self._play(sampler, num_tasks)
        self._show(ends, steps)
        self.tally.end([Episode(end) for end in ends])
        groups, kept = self._without_failed(ends, steps)
        advantages = self._with_bonus(groups, kept, self.credit(groups, kept))
        samples, earned = iter(kept), iter(advantages)
        return [Played(x, list(islice(samples, len(x))), list(islice(earned, len(x)))) for x in groups]

    def _show(self, ends: Sequence[Visit], steps: Sequence[Sequence[Sample]]) -> None:
        """Show the episodes; their advantages are known only when the batch is full."""
        if self.on_round is None:
            return
        samples = [[sample] for episode in steps for sample in episode]
        visits = [visit for end in ends for visit in end.path()[1:]]
        groups = [Group(x.parent, (Transition(x, self.objective.reward(x.result)),)) for x in visits if x.parent]
        self.on_round(Round(groups, samples, [], [Episode(end) for end in ends]))

    def _with_bonus(self, groups: TaskEpisodes, steps: Sequence[Sequence[Sample]], advantages: Steps) -> Steps:
        """Add each step's own bonus minus the mean bonus over the steps of all ranks."""
        bonuses = [self._bonus(*pair) for pair in zip(all_episodes(groups), steps, strict=True)]
        every = np.concatenate(self.ranks.gather(joined(bonuses)))
        if not every.any():
            return advantages
        mean = every.mean()
        return [x + bonus - mean for x, bonus in zip(advantages, bonuses, strict=True)]

    def _bonus(self, episode: Episode, samples: Sequence[Sample]) -> NDArray[np.float64]:
        """Return the bonus of every step: novelty, minus penalties, plus the reward functions' score of its text."""
        novelty, penalty = self._novelty_weight, self._invalid_action_penalty
        steps = zip(episode.end.path()[1:], samples, strict=True)
        return np.array(
            [
                novelty * (x.is_new_on_path or x.result.terminated) - penalty * x.is_inadmissible + y.text_reward
                for x, y in steps
            ]
        )

    def _play(self, sampler: Sampler, num_tasks: int) -> tuple[list[Visit], list[list[Sample]]]:
        """Play whole episodes; return the last visit of each, and one sample per step."""
        roots = [first_visit(self._env, task) for task in self.order.take(num_tasks)]
        heads = [root for root in roots for _ in range(self._group_size)]
        steps: list[list[Sample]] = [[] for _ in heads]
        while waiting := [i for i, head in enumerate(heads) if not head.result.is_final]:
            sampled = sampler.sample([heads[i] for i in waiting], [1] * len(waiting))
            moves = [(heads[i], sample.action) for i, (sample,) in zip(waiting, sampled, strict=True)]
            reached = next_visits(self._env, moves, [sample for (sample,) in sampled])
            self.tally.reach(reached)
            for i, (sample,), visit in zip(waiting, sampled, reached, strict=True):
                steps[i].append(sample)
                heads[i] = visit
        return heads, steps

    def _without_failed(
        self, ends: Sequence[Visit], steps: Sequence[list[Sample]]
    ) -> tuple[list[list[Episode]], list[list[Sample]]]:
        """Return the episodes by task and their samples, without failed episodes and tasks that have only such."""
        size = self._group_size
        groups = [[Episode(x) for x in ends[i : i + size] if not x.has_failed] for i in range(0, len(ends), size)]
        kept = [samples for end, samples in zip(ends, steps, strict=True) if not end.has_failed]
        return [group for group in groups if group], kept

    def _rows(self, kept: Sequence[Played], advantages: Steps) -> list[Row]:
        rows = []
        earned = iter(advantages)
        for number, group in enumerate(kept):
            for episode, samples in zip(group.episodes, group.steps, strict=True):
                credits = zip(
                    samples, step_rewards(episode, self.objective).tolist(), next(earned).tolist(), strict=True
                )
                rows += [Row(*credit, number) for credit in credits if is_sound(credit[0], episode.end)]
        return rows

    def metrics(self) -> Metrics:
        """Return the metrics in docs/metrics.md."""
        self.tally.total()
        return self.tally.metrics()

    def state_dict(self) -> dict[str, Any]:
        """Return the states reached and the position in the order of tasks."""
        return {"position": self.order.position} | self.tally.state_dict()

    def load_state_dict(self, state: dict[str, Any], *, saved_by: int) -> None:
        """Continue from a `state_dict`."""
        self.order.resume(state["position"], saved_by=saved_by)
        if saved_by == self.ranks.rank:
            self.tally.load_state_dict(state)


class EpisodeGRPO(EpisodeAlgorithm):
    """Group Relative Policy Optimization (arXiv 2402.03300) over whole episodes.

    Args:
        is_scaled: Whether an advantage is divided by its group's standard deviation.
        *args, **kwargs: Arguments of `EpisodeAlgorithm`.
    """

    def __init__(self, *args: Any, is_scaled: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_scaled = is_scaled

    def credit(self, groups: TaskEpisodes, steps: Sequence[Sequence[Sample]]) -> Steps:
        """Return the episode's advantage for each of its steps."""
        return grpo(groups, is_scaled=self._is_scaled, objective=self.objective)


class GiGPO(EpisodeAlgorithm):
    """Group-in-Group Policy Optimization (arXiv 2505.10978).

    Args:
        discount: Discount factor γ in [0, 1] per step, for the returns compared among steps from equal states.
        step_weight: ω ≥ 0 in A = A^E + ω · A^S.
        is_scaled: Whether both advantages are divided by their group's standard deviation.
        *args, **kwargs: Arguments of `EpisodeAlgorithm`.
    """

    def __init__(
        self, *args: Any, discount: float = 0.95, step_weight: float = 1.0, is_scaled: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._settings: dict[str, Any] = {"discount": discount, "step_weight": step_weight, "is_scaled": is_scaled}

    def credit(self, groups: TaskEpisodes, steps: Sequence[Sequence[Sample]]) -> Steps:
        """Return the episode's advantage plus the step's advantage among steps from equal states."""
        return gigpo(groups, **self._settings, objective=self.objective)


def all_episodes(groups: TaskEpisodes) -> list[Episode]:
    """Return the episodes of all tasks, one after the other."""
    return list(chain.from_iterable(groups))


def joined(arrays: Steps) -> NDArray[np.float64]:
    """Return one array of all steps; empty without episodes."""
    return np.concatenate(arrays) if arrays else np.zeros(0)
