"""[`GuardedEnvironment`]: an environment whose failures end one episode and not the training."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from trl_3spo.environments.base import Environment, Message, Observation, StepResult, Task, Tool, Turn
from trl_3spo.environments.contract import observation_problem, prompt_problem
from trl_3spo.environments.deadline import time_limit
from trl_3spo.environments.failures import EnvironmentAnswerError, EpisodeFailedError, FailurePolicy, NoAction
from trl_3spo.environments.key_watch import KeyWatch, require, require_stable
from trl_3spo.environments.limited import NO_EPISODE
from trl_3spo.environments.tries import HangingError, Tries
from trl_3spo.environments.way import Way, how_to_replay

logger = logging.getLogger(__name__)


class GuardedEnvironment(Environment):
    """A wrapper for an environment that may fail, hang or never end.

    A call fails if it raises, takes too long, or returns a value that breaks the contract. It is then made once more,
    on a fresh environment if one can be made. Otherwise the same environment is reset. In both cases the actions so far
    are replayed. If the call fails again, the episode ends with the reason in the result's `failure`. `reset`, `prompt`
    and `parse_action` return no result, so they raise `EpisodeFailedError`.

    Snapshots are the wrapper's own. They outlive the environment, because each stores the actions that lead to it.

    Args:
        env: The environment, or a callable without arguments that makes one. With a callable, a fresh environment
            replaces a failed one.
        policy: Handling of failures.
    """

    def __init__(self, env: Environment | Callable[[], Environment], policy: FailurePolicy | None = None) -> None:
        self.policy = policy or FailurePolicy()
        self.counts: Counter[str] = Counter()
        self.tries = Tries(env, self.policy)
        self._keys = KeyWatch()
        self._batch_limit = self.policy.step_timeout
        self._now: Way | None = None

    @property
    def env(self) -> Environment:
        """The environment in use."""
        return self.tries.env

    @property
    def reward_range(self) -> tuple[float, float]:  # type: ignore[override]
        """The environment's reward range."""
        return self.env.reward_range

    # -- the contract --------------------------------------------------------------------------------------------------

    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the environment's tasks."""
        return self.env.tasks(split)

    def describe(self) -> Mapping[str, Any]:
        """Return what the environment says of itself."""
        return self.env.describe()

    def reset(self, task: Task) -> Observation:
        """Start a task and return its first observation.

        Raises:
            EpisodeFailedError: The environment failed twice.
            UnstableKeyError: A key differs from process to process.
        """
        self._now = None

        def start() -> Way:
            env = self.env
            with time_limit(self.policy.step_timeout):
                observation = env.reset(task)
                require(observation_problem(observation, "reset()"))
                require_stable(observation)
                return Way(task, observation, env.snapshot(), self.tries.age)

        way = Way.before(task)
        try:
            self._now = self.tries.twice(start, "reset()", way)
        except EpisodeFailedError as error:
            self._drop(way, str(error))
            raise
        return self._now.observation

    def step(self, action: str) -> StepResult:
        """Take one action.

        Raises:
            RuntimeError: The episode has ended or never began.
        """
        if self._now is None:
            raise RuntimeError(NO_EPISODE)
        ((result, self._now),) = self.step_each([(self._now, action)])
        return result

    def snapshot(self) -> Way:
        """Return the present state.

        Raises:
            RuntimeError: The episode has ended or never began.
        """
        if self._now is None:
            raise RuntimeError(NO_EPISODE)
        return self._now

    def restore(self, snapshot: Way) -> Observation:
        """Go back to a state. The environment itself goes there with the next step."""
        self._now = snapshot
        return snapshot.observation

    def step_each(self, moves: Sequence[tuple[Way, str]]) -> list[tuple[StepResult, Way | None]]:
        """Take one action from each of many snapshots; each fails on its own."""
        possible = [(way, action) for way, action in moves if not isinstance(action, NoAction)]
        taken = iter(self._in_batch(possible) or self._one_by_one(possible))
        return [self._stopped(way, action) if isinstance(action, NoAction) else next(taken) for way, action in moves]

    def prompt(self, task: Task, observation: Observation, turns: Sequence[Turn]) -> list[Message]:
        """Return the environment's prompt.

        Raises:
            EpisodeFailedError: The environment failed twice.
        """

        def ask() -> list[Message]:
            env = self.env
            with time_limit(self.policy.step_timeout):
                messages = env.prompt(task, observation, turns)
            require(prompt_problem(messages))
            return messages

        return self.tries.twice(ask, "prompt()", Way.before(task))

    def tools(self, task: Task) -> Sequence[Tool]:
        """Return the environment's tools."""
        return self.env.tools(task)

    def training_tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the environment's tasks to train on."""
        return self.env.training_tasks(split)

    def parse_answer(self, task: Task, completion: str) -> str:
        """Return the action that the environment reads in a completion.

        Raises:
            EpisodeFailedError: The environment failed twice.
        """

        def parse() -> str:
            env = self.env
            with time_limit(self.policy.step_timeout):
                action = env.parse_answer(task, completion)
            require(None if isinstance(action, str) else f"parse_action() returned {action!r}; a str is required.")
            return action

        return self.tries.twice(parse, "parse_action()", None)

    def close(self) -> None:
        """Close the environment. If one can be made, the next call makes a fresh one. Never raises."""
        self._now = None
        self.tries.close()

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Leave the failures of the `with` block out of `counts`, as an evaluation does."""
        before = self.counts.copy()
        try:
            yield
        finally:
            self.counts = before

    # -- actions -------------------------------------------------------------------------------------------------------

    def _in_batch(self, moves: Sequence[tuple[Way, str]]) -> list[tuple[StepResult, Way | None]] | None:
        """Take many actions at once if the environment has its own `step_each`; None if that fails."""
        if len(moves) < 2 or self.tries.is_closed or type(self.env).step_each is Environment.step_each:
            return None

        def step_each() -> list[tuple[StepResult, Any]]:
            env = self.env
            for way, _ in moves:
                self._catch_up(way)
            with time_limit(self._batch_limit):
                steps = env.step_each([(way.snapshot, action) for way, action in moves])
                for result, _ in _as_many(steps, len(moves)):
                    self._keys.check(result)
                if self._keys.takes_sample():
                    self._keys.compare(moves[0][0], env.restore(moves[0][0].snapshot))
            return steps

        try:
            steps = self.tries.once(step_each, f"step_each() of {len(moves)} moves", moves[0][0])
        except EpisodeFailedError as error:
            logger.info("%s Its moves are taken one by one.", error)
            return self._after_hanging(moves) if isinstance(error.__cause__, HangingError) else None
        return [self._reached(*move, *step) for move, step in zip(moves, steps, strict=True)]

    def _after_hanging(self, moves: Sequence[tuple[Way, str]]) -> list[tuple[StepResult, Way | None]]:
        """Take moves one by one, and if none of them hangs allow for more time at once."""
        self.tries.renew(None)
        num_retries = self.tries.num_retries
        steps = self._one_by_one(moves)
        if self._batch_limit and self.tries.num_retries == num_retries:
            self._batch_limit *= 2
        return steps

    def _one_by_one(self, moves: Sequence[tuple[Way, str]]) -> list[tuple[StepResult, Way | None]]:
        return [self._move(way, action) for way, action in moves]

    def _move(self, way: Way, action: str) -> tuple[StepResult, Way | None]:
        def step() -> tuple[StepResult, Any]:
            env = self.env
            self._catch_up(way)
            with time_limit(self.policy.step_timeout):
                self._keys.compare(way, env.restore(way.snapshot))
                result = env.step(action)
                self._keys.check(result)
                return result, None if result.is_final else env.snapshot()

        try:
            result, snapshot = self.tries.twice(step, f"step({action!r})", way)
        except EpisodeFailedError as error:
            return self._failed(way, str(error), action)
        return self._reached(way, action, result, snapshot)

    def _catch_up(self, way: Way) -> None:
        """Replay a way whose snapshot another environment took."""
        if way.age == self.tries.age:
            return
        env = self.env
        with time_limit(self.policy.step_timeout):
            observation = env.reset(way.task)
        for action in way.actions():
            with time_limit(self.policy.step_timeout):
                observation = env.step(action).observation
        if observation.state_key != way.observation.state_key:
            raise EnvironmentAnswerError(
                f"The same {way.num_steps} actions lead to the state {observation.state_key!r} and not to "
                f"{way.observation.state_key!r} as before."
            )
        way.snapshot, way.age = env.snapshot(), self.tries.age

    def _reached(self, way: Way, action: str, result: StepResult, snapshot: Any) -> tuple[StepResult, Way | None]:
        limit, num_steps = self.policy.max_episode_steps, way.num_steps + 1
        if limit is not None and num_steps >= limit and not result.is_final:
            return self._cut_off(result, "max_episode_steps")
        if result.is_final:
            self.counts["ended_episodes"] += 1
            return result, None
        return result, Way(way.task, result.observation, snapshot, self.tries.age, way, action, num_steps)

    def _stopped(self, way: Way, action: NoAction) -> tuple[StepResult, Way | None]:
        if action.is_failure:
            return self._failed(way, str(action))
        return self._cut_off(StepResult(way.observation), str(action))

    def _cut_off(self, result: StepResult, reason: str) -> tuple[StepResult, None]:
        self.counts.update(("ended_episodes", f"stopped/{reason}"))
        return replace(result, truncated=True, info={**result.info, "stop_reason": reason}), None

    def _failed(self, way: Way, why: str, *actions: str) -> tuple[StepResult, None]:
        self._drop(way, why, *actions)
        return StepResult(way.observation, truncated=True, failure=why), None

    def _drop(self, way: Way, why: str, *actions: str) -> None:
        self.counts["failed_episodes"] += 1
        logger.warning(
            "Dropped an episode (%d of %d so far). %s Task %r, after %d actions. To see it again: %s",
            self.counts["failed_episodes"],
            self.counts["failed_episodes"] + self.counts["ended_episodes"],
            why,
            way.task.id,
            way.num_steps,
            how_to_replay(way.task, [*way.actions(), *actions]),
        )


def _as_many(steps: list[tuple[StepResult, Any]], count: int) -> list[tuple[StepResult, Any]]:
    require(None if len(steps) == count else f"step_each() returned {len(steps)} results for {count} moves.")
    return steps
