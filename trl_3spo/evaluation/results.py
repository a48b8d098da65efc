"""What became of evaluated episodes, and what that says of the policy on their panel."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar, get_args

from trl_3spo.algorithm.records import Episode, StopReason
from trl_3spo.environments.failures import NoAction
from trl_3spo.environments.plain_text import printable
from trl_3spo.evaluation.statistics import Interval, MeanInterval, mean_interval, rate_interval, several_plays

X = TypeVar("X")


@dataclass(frozen=True)
class EpisodeResult:
    """The outcome of one evaluated episode.

    Args:
        task: Id of the task.
        kind: Type of the task.
        success: Whether the task was solved.
        num_steps: Environment steps taken.
        num_inadmissible: Steps whose answer contained no admissible action.
        num_malformed: Steps whose answer contained no action.
        paid: Return of the episode, in the environment's unit.
        num_cut_off: Answers that ended at the limit on their tokens.
        num_tokens: Tokens of all answers.
        num_prompt_tokens: Tokens of all prompts.
        stop_reason: Reason for the end, see `Episode.stop_reason`; empty if unknown.
    """

    task: str
    kind: str
    success: bool
    num_steps: int
    num_inadmissible: int
    num_malformed: int = 0
    paid: float = 0.0
    num_cut_off: int = 0
    num_tokens: int = 0
    num_prompt_tokens: int = 0
    stop_reason: str = ""


class FailedEpisodeResult(EpisodeResult):
    """The same of an episode in which the environment failed, so that its task was not solved."""


MEANS = (
    "mean_steps",
    "tokens_per_episode",
    "prompt_tokens_per_episode",
    "inadmissible_share",
    "malformed_share",
    "cut_off_share",
)
"""Fields of an evaluation that are plain numbers."""


@dataclass(frozen=True)
class Evaluation:
    """Result on a panel. docs/evaluation.md explains the intervals.

    Args:
        success: Success rate over all episodes.
        success_by_kind: Success rate by task type.
        episode_return: Mean return, in the environment's unit: for WebShop, its score divided by 100.
        episode_return_by_kind: Mean return by task type.
        pass_at: Probability that one of k episodes solves a task, by k. Empty if tasks were played once.
        avg_at: Mean over tasks of their success rate, by the number of episodes per task.
        mean_steps: Environment steps per episode.
        tokens_per_episode: Tokens of all answers of an episode.
        prompt_tokens_per_episode: Tokens of all prompts of an episode.
        inadmissible_share: Share of answers without an admissible action, in [0, 1].
        malformed_share: Share of answers without any action, in [0, 1].
        cut_off_share: Share of answers that reached `max_completion_length`, in [0, 1].
        stop_reasons: Number of episodes by the reason for their end, see `Episode.stop_reason`.
        num_failed: Episodes that ended because the environment failed. They count as not solved.
        panel: `panel_hash` of the tasks, however often each was played.
        world: Description by the environment, such as its number of products or games.
    """

    success: Interval
    success_by_kind: dict[str, Interval]
    episode_return: MeanInterval
    episode_return_by_kind: dict[str, MeanInterval]
    pass_at: dict[int, MeanInterval]
    avg_at: dict[int, MeanInterval]
    mean_steps: float
    tokens_per_episode: float
    prompt_tokens_per_episode: float
    inadmissible_share: float
    malformed_share: float
    cut_off_share: float
    stop_reasons: dict[str, int]
    num_failed: int
    panel: str
    world: dict[str, Any] = field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        """Return the numbers a trainer logs, by task type as `NAME/KIND`; docs/metrics.md lists them."""
        success, paid = self.success, self.episode_return
        means = {"episode_return": paid}
        means |= {f"episode_return/{kind}": x for kind, x in _named(self.episode_return_by_kind).items()}
        means |= {f"pass_at_{k}": x for k, x in self.pass_at.items()}
        means |= {f"avg_at_{k}": x for k, x in self.avg_at.items()}
        ends = {"success_rate_low": success.low, "success_rate_high": success.high}
        if paid.low is not None and paid.high is not None:
            ends |= {"episode_return_low": paid.low, "episode_return_high": paid.high}
        return {
            "success_rate": success.rate,
            **ends,
            **{f"success_rate/{kind}": x.rate for kind, x in _named(self.success_by_kind).items()},
            **{name: x.mean for name, x in means.items()},
            **{name: getattr(self, name) for name in MEANS},
            **{f"stop_reason/{x}": self.stop_reasons.get(x, 0) / success.num_episodes for x in get_args(StopReason)},
            "failed_episodes": float(self.num_failed),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain nested dictionaries, for JSON."""
        by_k = {name: {str(k): asdict(x) for k, x in getattr(self, name).items()} for name in ("pass_at", "avg_at")}
        return asdict(self) | by_k


def result_of(episode: Episode) -> EpisodeResult:
    """Return the outcome of an episode."""
    task, path = episode.end.task, episode.end.path()
    samples = [x.sample for x in path if x.sample is not None and not isinstance(x.sample.action, NoAction)]
    kind = FailedEpisodeResult if episode.end.has_failed else EpisodeResult
    return kind(
        task.id,
        task.kind,
        episode.success,
        episode.num_steps,
        num_inadmissible=sum(x.is_inadmissible for x in path),
        num_malformed=sum(x.is_malformed for x in path),
        paid=episode.paid,
        num_cut_off=sum(x.is_cut_off for x in samples),
        num_tokens=sum(len(x.completion_ids) for x in samples),
        num_prompt_tokens=sum(len(x.prompt_ids) for x in samples),
        stop_reason=episode.stop_reason,
    )


def summarize(results: Sequence[EpisodeResult], world: Mapping[str, Any] | None = None) -> Evaluation:
    """Return rates and means, overall and by task type, with the panel they belong to.

    Args:
        results: Outcomes of one or more episodes.
        world: Description by the environment.

    Raises:
        ValueError: There are no results.
    """
    if not results:
        raise ValueError("There are no episodes to summarize; the panel must hold at least one task.")
    by_kind: defaultdict[str, list[EpisodeResult]] = defaultdict(list)
    for result in results:
        for kind in kinds_of(result.kind):
            by_kind[kind].append(result)
    kinds = {kind: by_kind[kind] for kind in sorted(by_kind)}
    tasks = [result.task for result in results]
    passed, averages = several_plays([result.success for result in results], tasks)
    num_steps = sum(result.num_steps for result in results)
    return Evaluation(
        success=_success(results),
        success_by_kind={kind: _success(own) for kind, own in kinds.items()},
        episode_return=_return(results),
        episode_return_by_kind={kind: _return(own) for kind, own in kinds.items()},
        pass_at=passed,
        avg_at=averages,
        mean_steps=num_steps / len(results),
        tokens_per_episode=sum(result.num_tokens for result in results) / len(results),
        prompt_tokens_per_episode=sum(result.num_prompt_tokens for result in results) / len(results),
        inadmissible_share=sum(result.num_inadmissible for result in results) / max(num_steps, 1),
        malformed_share=sum(result.num_malformed for result in results) / max(num_steps, 1),
        cut_off_share=sum(result.num_cut_off for result in results) / max(num_steps, 1),
        stop_reasons=dict(sorted(Counter(x.stop_reason for x in results if x.stop_reason).items())),
        num_failed=sum(isinstance(result, FailedEpisodeResult) for result in results),
        panel=panel_hash(dict.fromkeys(tasks)),
        world=dict(world or {}),
    )


def _success(results: Sequence[EpisodeResult]) -> Interval:
    return rate_interval([x.success for x in results], [x.task for x in results])


def _return(results: Sequence[EpisodeResult]) -> MeanInterval:
    return mean_interval([x.paid for x in results], [x.task for x in results])


def _named(by_kind: Mapping[str, X]) -> dict[str, X]:
    """Return values by task type under names that a log can show; tasks without a type are left out."""
    return {printable(kind): x for kind, x in by_kind.items() if kind}


def kinds_of(kind: str) -> list[str]:
    """Return a kind and its parents: `shop` and `shop/shoes` for `shop/shoes`."""
    parts = kind.rstrip("/").split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def panel_hash(task_ids: Iterable[str]) -> str:
    """Name a panel: twelve hexadecimal digits over its tasks' ids in their order."""
    return hashlib.sha256("\n".join(task_ids).encode("utf-8", "surrogatepass")).hexdigest()[:12]
