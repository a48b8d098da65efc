"""Policies and errors for environments that fail."""

from dataclasses import dataclass
from typing import Literal, get_args

OnFailure = Literal["drop", "raise"]

MAX_EPISODE_STEPS = 1000
"""Steps after which an episode is truncated by default: about twenty times the usual limit of text environments."""
STEP_TIMEOUT = 600.0
"""Seconds after which a step counts as hanging by default. Other processes wait 1,800 seconds, which is
enough for two tries."""
MAX_FAILED_SHARE = 0.5
"""Share of dropped episodes above which training ends by default."""


@dataclass(frozen=True)
class FailurePolicy:
    """Handling of an environment that fails, hangs or never ends.

    Args:
        on_failure: `"drop"` tries a failed call once more and then drops the episode. `"raise"` raises at once.
        max_failed_share: Share of dropped episodes, among the latest hundred or more, above which training ends.
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
"""Reason of a `NoAction` if a prompt is too long for the model."""


class EpisodeFailedError(RuntimeError):
    """The environment failed twice in the same call, so this episode cannot continue. Others can."""


class EnvironmentAnswerError(TypeError):
    """An environment returned what its contract does not allow."""


class UnstableKeyError(ValueError):
    """A state key or score key differs between processes, so no history can be saved under it."""


class TooManyFailedEpisodesError(RuntimeError):
    """Too many episodes were dropped to train on the rest."""


class NoAction(str):
    """Placeholder for a missing action, with the reason. `GuardedEnvironment` ends the episode with it.

    Args:
        reason: Reason.
        is_failure: Whether the episode is left out. Otherwise it counts as truncated, with the reason in `info` under
            `stop_reason`.
    """

    __slots__ = ("is_failure",)

    is_failure: bool

    def __new__(cls, reason: str, *, is_failure: bool) -> "NoAction":
        """Make one from a reason."""
        action = super().__new__(cls, reason)
        action.is_failure = is_failure
        return action
