"""Full episodes on a fixed panel of tasks."""

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any, Protocol, TypeVar, runtime_checkable

from trl_3spo.algorithm.asking import ask, parse
from trl_3spo.algorithm.base import Alone, Ranks
from trl_3spo.algorithm.records import Episode, Sample, Visit, first_visit, next_visits
from trl_3spo.environments.base import Environment, Message, Task
from trl_3spo.environments.failures import NoAction
from trl_3spo.environments.guarded import GuardedEnvironment
from trl_3spo.evaluation.results import EpisodeResult, Evaluation, result_of, summarize

T = TypeVar("T")

Generate = Callable[[list[list[Message]]], list[str]]
"""A policy: for every list of chat messages one completion."""

Answer = Callable[[Sequence[Visit]], list[Sample]]
"""A policy that is asked at visits: one sample for each."""

OnEpisodes = Callable[[Sequence[Episode]], object]
"""Function that gets the played episodes, in the order of their tasks."""

OnShare = Callable[[Sequence[Episode], Ranks], object]
"""The same for several processes: it gets the episodes of this process, and the processes."""


@runtime_checkable
class Policy(Protocol):
    """A policy that writes its own prompts, with tools, the tokens of a conversation and its own limits."""

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


def play(
    answer: Answer,
    env: Environment,
    tasks: Sequence[Task],
    *,
    batch_size: int = 64,
    progress: Callable[[int], object] = lambda count: None,
) -> list[Episode]:
    """Play every task once with a policy, many at a time on one environment.

    Args:
        answer: The policy.
        env: Environment that ends its episodes itself.
        tasks: Tasks to play.
        batch_size: Number of episodes that are advanced together.
        progress: Told how many episodes have ended since the last time.

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
        ended = {index: visit for index, visit in playing.items() if visit.result.is_final}
        playing = {index: visit for index, visit in playing.items() if index not in ended}
        ends |= ended
        progress(len(ended))
    return [Episode(ends[index]) for index in range(len(tasks))]


def evaluate_policy(
    generate: Generate | Policy,
    env: Environment,
    tasks: Sequence[Task],
    *,
    num_episodes: int | None = None,
    batch_size: int = 64,
    ranks: Ranks | None = None,
    progress: Callable[[int], object] = lambda count: None,
    on_episodes: OnShare | None = None,
) -> Evaluation:
    """Play a panel and return success rates, overall and by task type, with the panel they belong to.

    Args:
        generate: The policy; whether it is greedy is its own affair.
        env: Environment that ends its episodes itself. Episodes in which it fails count as not solved. A
            `GuardedEnvironment` says what is done about failures.
        tasks: The panel.
        num_episodes: Episodes in all, at least 1; the tasks take turns. `None` plays each task once.
        batch_size: Number of episodes that are advanced together.
        ranks: Processes that share the episodes out; each returns the result of all.
        progress: Told how many of this process's episodes have ended since the last time.
        on_episodes: Is shown this process's episodes, to record them.

    Raises:
        ValueError: There are no tasks or no episodes.
    """
    num_episodes = len(tasks) if num_episodes is None else num_episodes
    if not tasks or num_episodes < 1:
        raise ValueError(f"There are {len(tasks)} tasks and {num_episodes} episodes to play; each must be at least 1.")
    guard = env if isinstance(env, GuardedEnvironment) else GuardedEnvironment(env)
    answer = generate.answering(guard) if isinstance(generate, Policy) else answering(generate, guard)
    chosen = list(islice(cycle(tasks), num_episodes))
    ranks = ranks or Alone()
    own = play_panel(
        answer,
        guard,
        chosen[ranks.rank :: ranks.num_ranks],
        on_episodes=lambda episodes: on_episodes and on_episodes(episodes, ranks),
        batch_size=batch_size,
        progress=progress,
    )
    return summarize(interleaved(ranks.gather(own)), guard.describe())


def play_panel(
    answer: Answer,
    env: Environment,
    tasks: Sequence[Task],
    *,
    on_episodes: OnEpisodes = lambda episodes: None,
    **options: Any,
) -> list[EpisodeResult]:
    """Play every task once, as `play` does, and return the outcomes in the order of the tasks.

    Args:
        answer: The policy.
        env: Environment that ends its episodes itself.
        tasks: Tasks to play.
        on_episodes: Function that gets the episodes, to record them.
        options: Further arguments of `play`.
    """
    episodes = play(answer, env, tasks, **options)
    on_episodes(episodes)
    return [result_of(episode) for episode in episodes]


def interleaved(shares: Sequence[Sequence[T]]) -> list[T]:
    """Return in its order what was dealt out one by one: the first of every share, then the second, and so on."""
    size = sum(map(len, shares))
    return [shares[i % len(shares)][i // len(shares)] for i in range(size)]
