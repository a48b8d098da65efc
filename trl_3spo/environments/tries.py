"""Two tries of every call of an environment that may fail."""

import logging
from collections.abc import Callable
from typing import TypeVar

from trl_3spo.environments.base import Environment
from trl_3spo.environments.deadline import StepTimeoutError
from trl_3spo.environments.failures import EnvironmentAnswerError, EpisodeFailedError, FailurePolicy, UnstableKeyError
from trl_3spo.environments.way import Way

logger = logging.getLogger(__name__)

T = TypeVar("T")


class HangingError(TimeoutError):
    """A call took longer than `step_timeout`."""


class Tries:
    """An environment whose failed calls are tried again.

    Args:
        env: The environment, or a callable without arguments that makes one. With a callable, a fresh environment
            replaces a failed one.
        policy: Whether a failed call is made once more or its error raised at once.
    """

    def __init__(self, env: Environment | Callable[[], Environment], policy: FailurePolicy) -> None:
        self._make = None if isinstance(env, Environment) else env
        self._env: Environment | None = env if isinstance(env, Environment) else env()
        self._policy = policy
        self.age = 0  # environments there were before this one
        self.num_retries = 0
        self.doing: tuple[str, Way | None] | None = None

    @property
    def env(self) -> Environment:
        """The current environment; a fresh one if the last was closed and another can be made."""
        if self._env is None:
            assert self._make is not None
            self._env = self._make()
            self.age += 1
        return self._env

    @property
    def is_closed(self) -> bool:
        """Whether the next call makes a fresh environment."""
        return self._env is None

    def twice(self, call: Callable[[], T], what: str, way: Way | None) -> T:
        """Make a call, and once more if it fails.

        Args:
            call: The call. It takes the environment from `env`, and goes a way whose `age` is not this one's.
            what: Name of the call, for messages.
            way: Way to the state of the call, for messages. The second try begins at the start of the task.

        Raises:
            EpisodeFailedError: Both tries failed.
        """
        try:
            return self.once(call, what, way)
        except EpisodeFailedError:
            self.num_retries += 1
            self.renew(way)
            return self.once(call, what, way)

    def once(self, call: Callable[[], T], what: str, way: Way | None) -> T:
        """Make a call.

        Raises:
            EpisodeFailedError: The call failed, and its episode is dropped.
        """
        self.doing = (what, way)
        try:
            return call()
        except UnstableKeyError:
            raise
        except StepTimeoutError:
            limit = f"step_timeout={self._policy.step_timeout} seconds"
            failure: BaseException = HangingError(f"{what} took more than {limit} and was interrupted.")
        except (Exception, SystemExit) as error:
            failure = error
        finally:
            self.doing = None
        if self._policy.on_failure == "raise":
            failure.add_note(f"In {what}. {way or ''}")
            raise failure
        says_all = isinstance(failure, HangingError | EnvironmentAnswerError)
        message = str(failure) if says_all else f"{what} raised {type(failure).__name__}: {failure}."
        raise EpisodeFailedError(message) from failure

    def renew(self, way: Way | None) -> None:
        """Have the next try made on a fresh environment, or have it begin with a reset."""
        if self._make is not None:
            self.close()
        elif way is not None:
            way.age = -1

    def close(self) -> None:
        """Close the environment. If one can be made, the next call makes a fresh one. Never raises."""
        env = self._env
        if self._make is not None:
            self._env = None
        if env is None:
            return
        try:
            env.close()
        except Exception as error:
            logger.warning("close() of %s raised %s: %s.", type(env).__name__, type(error).__name__, error)
