"""Full episodes on a fixed panel of tasks: success rate with its interval, by task type."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from trl_3spo.environments.base import Environment, Message, Task
from trl_3spo.episode import first_visit, next_visit

Generate = Callable[[list[list[Message]]], list[str]]
"""A policy: for every list of chat messages one completion."""


@dataclass(frozen=True)
class EpisodeResult:
    """What became of one evaluated task.

    Args:
        task: Id of the task.
        kind: Its type.
        success: Whether it was solved.
        num_steps: Environment steps taken.
        num_inadmissible: Steps whose action was not among the admissible ones (0 where the environment names none).
    """

    task: str
    kind: str
    success: bool
    num_steps: int
    num_inadmissible: int


@dataclass(frozen=True)
class Interval:
    """A success rate with its 95 % Wilson interval, all in [0, 1].

    Args:
        rate: Successes over episodes.
        low: Lower end.
        high: Upper end.
        num_episodes: How many episodes it rests on.
    """

    rate: float
    low: float
    high: float
    num_episodes: int


@dataclass(frozen=True)
class Evaluation:
    """Result on a panel.

    Args:
        success: Over all episodes.
        success_by_kind: By task type.
        mean_steps: Environment steps per episode.
        inadmissible_share: Share of actions that were not admissible, in [0, 1].
        panel: `panel_hash` of the tasks.
    """

    success: Interval
    success_by_kind: dict[str, Interval] = field(default_factory=dict)
    mean_steps: float = 0.0
    inadmissible_share: float = 0.0
    panel: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain nested dictionaries, for JSON."""
        return asdict(self)


def evaluate_policy(
    generate: Generate, env: Environment, tasks: Sequence[Task], *, batch_size: int = 64
) -> list[EpisodeResult]:
    """Play every task once, many at a time on one environment.

    Args:
        generate: The policy.
        env: Must end its episodes itself.
        tasks: The panel.
        batch_size: Number of episodes that are advanced together.

    Returns:
        One result per task, in the order of the tasks. `summarize` makes the rates.
    """
    results: dict[int, EpisodeResult] = {}
    waiting = list(enumerate(tasks))[::-1]
    playing: list[_Play] = []
    while waiting or playing:
        while waiting and len(playing) < batch_size:
            playing.append(_Play(env, *waiting.pop()))
        completions = generate([play.prompt() for play in playing])
        for play, completion in zip(playing, completions, strict=True):
            play.step(completion)
        results |= {play.index: play.result() for play in playing if play.visit.result.is_final}
        playing = [play for play in playing if play.index not in results]
    return [results[index] for index in range(len(tasks))]


class _Play:
    def __init__(self, env: Environment, index: int, task: Task) -> None:
        self.index = index
        self.visit = first_visit(env, task)
        self._env = env
        self._num_inadmissible = 0

    def prompt(self) -> list[Message]:
        return self._env.prompt(self.visit.task, self.visit.observation, self.visit.turns())

    def step(self, completion: str) -> None:
        action = self._env.parse_action(completion)
        admissible = self.visit.observation.admissible_actions
        self._num_inadmissible += bool(admissible) and action not in admissible
        self.visit = next_visit(self._env, self.visit, action)

    def result(self) -> EpisodeResult:
        visit = self.visit
        return EpisodeResult(visit.task.id, visit.task.kind, visit.result.success, visit.depth, self._num_inadmissible)


def summarize(results: Sequence[EpisodeResult]) -> Evaluation:
    """Return success rates, overall and by task type, with the panel they belong to.

    Raises:
        ValueError: There are no results.
    """
    if not results:
        raise ValueError("There are no episodes to summarize; the panel must hold at least one task.")
    by_kind: dict[str, list[bool]] = defaultdict(list)
    for result in results:
        by_kind[result.kind].append(result.success)
    num_steps = sum(result.num_steps for result in results)
    return Evaluation(
        success=wilson_interval([result.success for result in results]),
        success_by_kind={kind: wilson_interval(by_kind[kind]) for kind in sorted(by_kind)},
        mean_steps=num_steps / len(results),
        inadmissible_share=sum(result.num_inadmissible for result in results) / max(num_steps, 1),
        panel=panel_hash(result.task for result in results),
    )


def wilson_interval(successes: Sequence[bool], z: float = 1.959964) -> Interval:
    """Return the share of successes with Wilson's score interval (Wilson 1927), which stays inside [0, 1].

    Args:
        successes: One or more outcomes.
        z: Normal quantile; the default is that of 95 %.
    """
    n = len(successes)
    rate = sum(successes) / n
    centre = rate + z * z / (2 * n)
    spread = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Interval(rate, max((centre - spread) / scale, 0.0), min((centre + spread) / scale, 1.0), n)


def panel_hash(task_ids: Iterable[str]) -> str:
    """Name a panel: twelve hexadecimal digits over its tasks' ids in their order."""
    return hashlib.sha256("\n".join(task_ids).encode()).hexdigest()[:12]
