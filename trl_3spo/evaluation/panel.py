"""Full episodes on a fixed panel of tasks: success rate with its interval, by task type."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from typing import Any, Protocol, runtime_checkable

from trl_3spo.algorithm.asking import ask, parse
from trl_3spo.algorithm.records import Episode, Sample, Visit, first_visit, next_visits
from trl_3spo.environments.base import Environment, Message, Task
from trl_3spo.environments.failures import NoAction
from trl_3spo.environments.guarded import GuardedEnvironment
from trl_3spo.environments.plain_text import printable

Generate = Callable[[list[list[Message]]], list[str]]
"""A policy: for every list of chat messages one completion."""

Answer = Callable[[Sequence[Visit]], list[Sample]]
"""A policy that is asked at visits: one sample for each."""

OnEpisodes = Callable[[Sequence[Episode]], None]
"""Is shown the episodes that were played, in the order of their tasks."""


@dataclass(frozen=True)
class EpisodeResult:
    """What became of one evaluated episode.

    Args:
        task: Id of the task.
        kind: Its type.
        success: Whether it was solved.
        num_steps: Environment steps taken.
        num_inadmissible: Steps whose answer named no action, or none that the environment admits.
        num_malformed: Steps whose answer named no action.
        paid: What the environment paid in all, in its own unit.
    """

    task: str
    kind: str
    success: bool
    num_steps: int
    num_inadmissible: int
    num_malformed: int = 0
    paid: float = 0.0


class FailedEpisodeResult(EpisodeResult):
    """The same of an episode in which the environment failed, so that its task was not solved."""


@dataclass(frozen=True)
class Interval:
    """A success rate with its 95 % Wilson interval, all in [0, 1].

    The interval takes the episodes as independent: with several of a task it is that of these tasks, and narrower than
    that of tasks like them.

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
        inadmissible_share: Share of answers that named no admissible action, in [0, 1].
        malformed_share: Share of answers that named no action at all, in [0, 1].
        mean_return: Mean of what the environment paid for an episode, in its own unit.
        panel: `panel_hash` of the tasks, however often each was played.
        num_failed: Episodes that ended because the environment failed. They count as not solved.
    """

    success: Interval
    success_by_kind: dict[str, Interval] = field(default_factory=dict)
    mean_steps: float = 0.0
    inadmissible_share: float = 0.0
    malformed_share: float = 0.0
    mean_return: float = 0.0
    panel: str = ""
    num_failed: int = 0

    def metrics(self) -> dict[str, float]:
        """Return the numbers a trainer logs, success by task type as `success_rate/KIND`."""
        by_kind = {f"success_rate/{printable(kind)}": x.rate for kind, x in self.success_by_kind.items() if kind}
        return {
            "success_rate": self.success.rate,
            "success_rate_low": self.success.low,
            "success_rate_high": self.success.high,
            "mean_steps": self.mean_steps,
            "inadmissible_share": self.inadmissible_share,
            "malformed_share": self.malformed_share,
            "episode_return": self.mean_return,
            "failed_episodes": float(self.num_failed),
            **by_kind,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain nested dictionaries, for JSON."""
        return asdict(self)


@runtime_checkable
class Policy(Protocol):
    """A policy that asks in its own way: with tools, keeping the tokens of a conversation, within its own limits."""

    def answering(self, env: Environment) -> Answer:
        """Return what answers at visits of an environment."""


def answering(generate: Generate, env: Environment) -> Answer:
    """Return a policy that is asked at visits, made of one that completes prompts."""

    def answer(visits: Sequence[Visit]) -> list[Sample]:
        prompts = [ask(env, visit) for visit in visits]
        texts = iter(generate([prompt for prompt in prompts if not isinstance(prompt, NoAction)]))
        return [
            _unasked(prompt) if isinstance(prompt, NoAction) else answered(visit.task, prompt, next(texts))
            for visit, prompt in zip(visits, prompts, strict=True)
        ]

    def answered(task: Task, prompt: list[Message], text: str) -> Sample:
        return Sample(prompt, [], [], parse(env, task, text), text)

    return answer


def _unasked(why: NoAction) -> Sample:
    return Sample([], [], [], why)


def play(answer: Answer, env: Environment, tasks: Sequence[Task], *, batch_size: int = 64) -> list[Episode]:
    """Play every task once with a policy, many at a time on one environment.

    Args:
        answer: The policy.
        env: Must end its episodes itself.
        tasks: To play.
        batch_size: Number of episodes that are advanced together.

    Returns:
        One episode per task, in the order of the tasks.
    """
    ends: dict[int, Visit] = {}
    waiting = list(enumerate(tasks))[::-1]
    playing: dict[int, Visit] = {}
    while waiting or playing:
        while waiting and len(playing) < batch_size:
            index, task = waiting.pop()
            playing[index] = first_visit(env, task)
        going = {index: visit for index, visit in playing.items() if not visit.has_failed}
        samples = answer(list(going.values()))
        moves = [(visit, sample.action) for visit, sample in zip(going.values(), samples, strict=True)]
        playing |= zip(going, next_visits(env, moves, samples), strict=True)
        ends |= {index: visit for index, visit in playing.items() if visit.result.is_final}
        playing = {index: visit for index, visit in playing.items() if not visit.result.is_final}
    return [Episode(ends[index]) for index in range(len(tasks))]


def evaluate_policy(
    generate: Generate | Policy,
    env: Environment,
    tasks: Sequence[Task],
    *,
    num_episodes: int | None = None,
    batch_size: int = 64,
    on_episodes: OnEpisodes | None = None,
) -> Evaluation:
    """Play a panel and return success rates, overall and by task type, with the panel they belong to.

    Args:
        generate: The policy; whether it is greedy is its own affair.
        env: Must end its episodes itself. Episodes in which it fails count as not solved. A `GuardedEnvironment` says
            what is done about failures.
        tasks: The panel.
        num_episodes: Episodes in all, at least 1; the tasks take turns. `None` plays each task once.
        batch_size: Number of episodes that are advanced together.
        on_episodes: Is shown the episodes, to record them.

    Raises:
        ValueError: There are no tasks or no episodes.
    """
    num_episodes = len(tasks) if num_episodes is None else num_episodes
    if not tasks or num_episodes < 1:
        raise ValueError(f"There are {len(tasks)} tasks and {num_episodes} episodes to play; each must be at least 1.")
    guard = env if isinstance(env, GuardedEnvironment) else GuardedEnvironment(env)
    answer = generate.answering(guard) if isinstance(generate, Policy) else answering(generate, guard)
    played = list(islice(cycle(tasks), num_episodes))
    return summarize(play_panel(answer, guard, played, batch_size=batch_size, on_episodes=on_episodes))


def play_panel(
    answer: Answer,
    env: Environment,
    tasks: Sequence[Task],
    *,
    batch_size: int = 64,
    on_episodes: OnEpisodes | None = None,
) -> list[EpisodeResult]:
    """Play every task once, as `play` does, and return what became of each, in the order of the tasks.

    Args:
        answer: The policy.
        env: Must end its episodes itself.
        tasks: To play.
        batch_size: Number of episodes that are advanced together.
        on_episodes: Is shown the episodes, to record them.
    """
    episodes = play(answer, env, tasks, batch_size=batch_size)
    if on_episodes is not None:
        on_episodes(episodes)
    return [_result(episode) for episode in episodes]


def _result(episode: Episode) -> EpisodeResult:
    task, path = episode.end.task, episode.end.path()
    kind = FailedEpisodeResult if episode.end.has_failed else EpisodeResult
    num_inadmissible, num_malformed = sum(x.is_inadmissible for x in path), sum(x.is_malformed for x in path)
    return kind(task.id, task.kind, episode.success, episode.num_steps, num_inadmissible, num_malformed, episode.paid)


def summarize(results: Sequence[EpisodeResult]) -> Evaluation:
    """Return success rates, overall and by task type, with the panel they belong to.

    Raises:
        ValueError: There are no results.
    """
    if not results:
        raise ValueError("There are no episodes to summarize; the panel must hold at least one task.")
    by_kind: dict[str, list[bool]] = defaultdict(list)
    for result in results:
        for kind in kinds_of(result.kind):
            by_kind[kind].append(result.success)
    num_steps = sum(result.num_steps for result in results)
    return Evaluation(
        success=wilson_interval([result.success for result in results]),
        success_by_kind={kind: wilson_interval(by_kind[kind]) for kind in sorted(by_kind)},
        mean_steps=num_steps / len(results),
        inadmissible_share=sum(result.num_inadmissible for result in results) / max(num_steps, 1),
        malformed_share=sum(result.num_malformed for result in results) / max(num_steps, 1),
        mean_return=sum(result.paid for result in results) / len(results),
        num_failed=sum(isinstance(result, FailedEpisodeResult) for result in results),
        panel=panel_hash(dict.fromkeys(result.task for result in results)),
    )


def kinds_of(kind: str) -> list[str]:
    """Return a kind and those it belongs to: `shop` and `shop/shoes` for `shop/shoes`."""
    parts = kind.rstrip("/").split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


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
    return hashlib.sha256("\n".join(task_ids).encode("utf-8", "surrogatepass")).hexdigest()[:12]
