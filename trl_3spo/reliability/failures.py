"""Failures of the environment in a training: their metrics, and when they end the training."""

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trl_3spo.algorithm.base import Metrics, Row
from trl_3spo.environments.failures import TooManyFailedEpisodesError
from trl_3spo.environments.guarded import GuardedEnvironment
from trl_3spo.reliability.heartbeat import Heartbeat
from trl_3spo.reliability.ranks import gather
from trl_3spo.reliability.step_guard import hold_weights

if TYPE_CHECKING:
    from trl_3spo.training.agent_trainer import AgentTrainer

WINDOW = 100
"""Number of latest episodes over which the share of failed ones is computed."""
MIN_EPISODES = 10
"""Smallest number of episodes for the share; with fewer, the share is computed as if there were as many."""
LOGGED = {
    "failed_episodes": "failed_episodes",
    "retried_calls": "retried_calls",
    "stopped/max_episode_steps": "overlong_episodes",
    "stopped/prompt_overflow": "overflowing_prompts",
}
"""Counts of the guard and their logged names. All but the first are left out while they are 0."""


class FailureShare:
    """The share of the latest episodes that were dropped.

    Args:
        limit: Largest allowed share, in [0, 1].
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._latest: deque[tuple[int, int]] = deque()

    def add(self, num_failed: int, num_ended: int) -> None:
        """Add episodes, and forget those before the latest `WINDOW`."""
        self._latest.append((num_failed, num_failed + num_ended))
        while self.num_episodes - self._latest[0][1] >= WINDOW:
            self._latest.popleft()

    @property
    def num_failed(self) -> int:
        """Number of dropped episodes among the latest."""
        return sum(failed for failed, _ in self._latest)

    @property
    def num_episodes(self) -> int:
        """Number of latest episodes."""
        return sum(total for _, total in self._latest)

    @property
    def is_exceeded(self) -> bool:
        """Whether more were dropped than allowed."""
        return self.num_failed / max(self.num_episodes, MIN_EPISODES) > self.limit


class Failures:
    """Counts failures of a training's environment, and ends the training if there are too many.

    Args:
        guard: Environment whose policy limits the share of failures.
    """

    def __init__(self, guard: GuardedEnvironment) -> None:
        self.error: TooManyFailedEpisodesError | None = None
        self._guard = guard
        self._share = FailureShare(guard.policy.max_failed_share)
        self._seen: Counter[str] = Counter()
        self._unlogged: Counter[str] = Counter()

    def check(self) -> None:
        """Add up the failures of all ranks since the last call; a collective.

        Raises:
            TooManyFailedEpisodesError: The share exceeds `max_failed_share`; raised on every rank at once.
        """
        own = Counter(self._guard.counts)
        own["retried_calls"] = self._guard.tries.num_retries
        new = sum(gather(own - self._seen), Counter[str]())
        self._seen = own
        self._unlogged += new
        self._share.add(new["failed_episodes"], new["ended_episodes"])
        if self._share.is_exceeded:
            raise TooManyFailedEpisodesError(
                f"{self._share.num_failed} of the latest {self._share.num_episodes} episodes were dropped because the "
                f"environment failed; max_failed_share is {self._share.limit}. Warnings in the log name their tasks "
                "and actions. A checkpoint has been saved and training ends: mend the environment and resume, or raise "
                "max_failed_share."
            )

    def metrics(self) -> Metrics:
        """Return the metrics since the last call, equal on all ranks."""
        counts, self._unlogged = self._unlogged, Counter()
        always = next(iter(LOGGED))
        return {name: [float(counts[key])] for key, name in LOGGED.items() if counts[key] or key == always}

    def collect(self, trainer: "AgentTrainer[Any]", capacity: int) -> list[Row]:
        """Return the rows of a trainer's algorithm; none if too many episodes failed and training ends."""
        try:
            return trainer.algorithm.collect(trainer.sampler, capacity)
        except TooManyFailedEpisodesError as error:
            self._end(trainer, error)
            return []

    def _end(self, trainer: "AgentTrainer[Any]", error: TooManyFailedEpisodesError) -> None:
        """Save a checkpoint and end the training after this batch; `training` then raises the error."""
        self.error = error
        trainer.control.should_training_stop = trainer.control.should_save = True
        hold_weights(trainer.optimizer)

    @contextmanager
    def training(self, trainer: "AgentTrainer[Any]") -> Iterator[None]:
        """Run a training inside: log long waits, and close the environment at the end, also after an error.

        Raises:
            TooManyFailedEpisodesError: Training ended because too many episodes failed.
        """
        self.error = None
        heartbeat = Heartbeat(lambda: f"{trainer.sampler.describe()} {trainer.display.progress()}")
        trainer.add_callback(heartbeat)
        try:
            with heartbeat:
                yield
        finally:
            trainer.remove_callback(heartbeat)
            self._guard.close()
        if self.error is not None:
            raise self.error
