"""What is done about environments that fail, and how it is said that they have."""

from dataclasses import dataclass
from typing import Literal, get_args

OnFailure = Literal["drop", "raise"]

MAX_EPISODE_STEPS = 1000
"""Steps after which an episode is truncated by default: some twenty times the usual limit of text worlds."""
STEP_TIMEOUT = 600.0
"""Seconds after which a step counts as hanging by default. Two tries take less than the 1,800 seconds for which other
processes wait."""
MAX_FAILED_SHARE = 0.5
"""Share of dropped episodes above which training ends by default."""


@dataclass(frozen=True)
class FailurePolicy:
    """What is done about an environment that fails, hangs or never ends.

    Args:
        on_failure: `"drop"` tries a failed call once more and then drops the episode. `"raise"` raises at once.
        max_failed_share: Share of dropped episodes, of the latest hundred or more, above which training ends.
        step_timeout: Seconds that one call may take; `None` sets no limit.
        max_episode_steps: Steps after which an episode is truncated; `None` sets no limit.

    Raises:
        ValueError: A value is out of its range.
    """

    on_failure: OnFailure = "drop"
    max_failed_share: float = MAX_FAILED_SHARE
    step_timeout: float | None = STEP_TIMEOUT
    max_episode_steps: int | None = MAX_EPISODE_STEPS

    def __post_init__(self) -> None:
        if self.on_failure not in get_args(OnFailure):
            raise ValueError(f"failure_policy is {self.on_failure!r}; it must be 'drop' or 'raise'.")
        if not 0 <= self.max_failed_share <= 1:
            raise ValueError(f"max_failed_share is {self.max_failed_share!r}; it must be between 0 and 1.")
        if self.step_timeout is not None and self.step_timeout <= 0:
            raise ValueError(
                f"step_timeout is {self.step_timeout!r}; it must be above 0 seconds, or None for no limit."
            )
        if self.max_episode_steps is not None and self.max_episode_steps < 1:
            raise ValueError(
                f"max_episode_steps is {self.max_episode_steps!r}; it must be at least 1, or None for no limit."
            )


PROMPT_OVERFLOW = "prompt_overflow"
"""Reason of a `NoAction` where a prompt no longer fits the model."""


class EpisodeFailedError(RuntimeError):
    """The environment failed twice in the same call, so this episode cannot go on. Others can."""


class EnvironmentAnswerError(TypeError):
    """An environment returned what its contract does not allow."""


class UnstableKeyError(ValueError):
    """A state key or score key differs from process to process, so that no history can be saved under it."""


class TooManyFailedEpisodesError(RuntimeError):
    """So many episodes were dropped that training on the rest makes no sense."""


class NoAction(str):
    """Stands for an action that there is none of, and says why. `GuardedEnvironment` ends the episode with it.

    Args:
        reason: Why.
        is_failure: Whether the episode is void. Otherwise it counts as truncated, with the reason in `info` under
            `stop_reason`.
    """

    __slots__ = ("is_failure",)

    is_failure: bool

    def __new__(cls, reason: str, *, is_failure: bool) -> "NoAction":
        """Make one from a reason."""
        action = super().__new__(cls, reason)
        action.is_failure = is_failure
        return action
