"""The environment contract: a text environment that can go back to earlier states.

`trl_3spo.testing.check_environment` proves that a class keeps it. Nothing here knows of 3SPO, of a policy or of torch.
"""

import abc
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from trl_3spo.environments.answers import action_in
from trl_3spo.environments.conversation import conversation

Key = str | bytes | int | float | bool | tuple[Any, ...] | None
"""A hashable value made of strings, bytes, numbers, booleans, None and tuples. Its `repr` is the same in every process,
because histories are saved under it."""

Message = dict[str, str]
"""One chat message with the keys `role` and `content`, and `name` for the result of a tool."""

Tool = Callable[..., Any] | dict[str, Any]
"""A tool of the policy: a function with type hints and a docstring that describes its arguments, or its JSON schema."""


@dataclass(frozen=True, slots=True)
class Task:
    """One problem an environment can be reset to.

    Args:
        id: Unique name that stays the same from run to run. The hash of a panel is made of the ids.
        kind: Task type. Evaluations report each type. Empty if there is only one.
        data: Whatever the environment needs to start the task. Not part of the task's identity.
    """

    id: str
    kind: str = ""
    data: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Observation:
    """The text that the policy reads in a state, and the keys of that state.

    Args:
        text: Text that the policy reads.
        state_key: Exact identity of the state, including the task. Two observations have equal keys if and only if the
            same actions have the same results in both. Leave out step counters and the past.
        admissible_actions: Actions that mean something here; empty means free text. One of them may still have no
            effect, such as a step into a wall.
        score_keys: Names of the state from fine to coarse. If a fine name has few visits, its success rate falls back
            to a coarser one. Each should hold the time, because a state is worth less if it is reached later. The
            default keys are the state key, the kind of the task, and the time alone, each with the time.
        messages: The same as `text`, as chat messages. Use it for tool results only.
    """

    text: str
    state_key: Key
    admissible_actions: tuple[str, ...] = ()
    score_keys: tuple[Key, ...] = ()
    messages: tuple[Message, ...] = field(default=(), hash=False)


@dataclass(frozen=True, slots=True)
class StepResult:
    """The consequence of one action.

    Make one with the constructors `going_on`, `ended` and `cut_off`.

    Args:
        observation: Observation of the next state.
        reward: Reward of this transition, in the environment's own unit. It is always logged, and trained on with
            `objective="reward"`.
        terminated: Whether the task itself has ended here, won or lost.
        truncated: Whether a limit from outside the task, such as a number of steps, has ended the episode.
        success: Whether the task is solved. Only a terminated step can be a success.
        info: Diagnostics. Nothing depends on it.
        failure: Reason why the environment failed; empty if it did not. Only `GuardedEnvironment` sets it. Algorithms
            leave out such an episode.
    """

    observation: Observation
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    success: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""

    @classmethod
    def going_on(cls, observation: Observation, *, reward: float = 0.0, info: Mapping[str, Any] | None = None) -> Self:
        """Return the result of a step after which the episode goes on.

        Args:
            observation: Observation of the next state.
            reward: Reward of this transition.
            info: Diagnostics.
        """
        return cls(observation, reward, info=info or {})

    @classmethod
    def ended(
        cls,
        observation: Observation,
        *,
        success: bool,
        reward: float | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return the result of a step that ends the task itself, won or lost.

        Args:
            observation: Observation of the next state.
            success: Whether the task is solved.
            reward: Reward of this transition; `None` is 1 for a success and 0 otherwise.
            info: Diagnostics.
        """
        reward = float(success) if reward is None else reward
        return cls(observation, reward, terminated=True, success=success, info=info or {})

    @classmethod
    def cut_off(cls, observation: Observation, *, reward: float = 0.0, info: Mapping[str, Any] | None = None) -> Self:
        """Return the result of a step at which a limit from outside the task ends the episode.

        The field for this is `truncated`, so the constructor cannot have that name.

        Args:
            observation: Observation of the next state.
            reward: Reward of this transition.
            info: Diagnostics.
        """
        return cls(observation, reward, truncated=True, info=info or {})

    @property
    def is_final(self) -> bool:
        """Whether the episode ends with this step."""
        return self.terminated or self.truncated


PromptStyle = Literal["window", "conversation"]


class Turn(NamedTuple):
    """One past step as the policy saw it.

    Args:
        observation: Text of the observation.
        action: Action taken there.
        answer: Whole answer with the action and the thought; `None` if unknown.
        messages: Chat messages of the observation, if it has any.
    """

    observation: str
    action: str
    answer: str | None = None
    messages: tuple[Message, ...] = ()

    @classmethod
    def at(cls, observation: "Observation", action: str, answer: str | None = None) -> "Turn":
        """Return the turn in which an action was taken at an observation."""
        return cls(observation.text, action, answer, observation.messages)


class Environment(abc.ABC):
    """An environment that can go back to earlier states.

    One instance serves many search trees at once. A snapshot may be restored at any time and any number of times, also
    after other tasks. The same action then gives the same result. `prompt` and `parse_action` have defaults for plain
    text. If a benchmark has its own form, override them. As a context manager, the environment closes itself.

    Attributes:
        reward_range: Lowest and highest undiscounted return of an episode. `objective="reward"` scales returns by it.
        max_action_characters: Length limit of an action in the default `parse_action`; `None` sets no limit.
        prompt_style: Form of the default `prompt`. `"window"` is one message with the last four turns and the
            observation. `"conversation"` makes each observation and each answer a message. It lists no admissible
            actions, so the text should say what is possible.
        system_prompt: System message before either form; empty is none.
        expert: Function for `trl-3spo demos` that demonstrates the environment, as `MODULE:NAME`; empty if there is
            none.
    """

    reward_range: tuple[float, float] = (0.0, 1.0)
    max_action_characters: int | None = None
    prompt_style: PromptStyle = "window"
    system_prompt: str = ""
    expert: str | None = None

    @abc.abstractmethod
    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the tasks of a split, in a fixed order; `None` is the environment's own choice of split.

        Raises:
            ValueError: There is no such split.
        """

    def training_tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the tasks of a split to train on. A task that occurs twice is trained on twice as often."""
        return self.tasks(split)

    def describe(self) -> Mapping[str, Any]:
        """Return facts that a reader of results needs, such as the environment's size, for JSON.

        Results of environments of different sizes must not be compared. The default is empty.
        """
        return {}

    @abc.abstractmethod
    def reset(self, task: Task) -> Observation:
        """Start a task and return its first observation.

        Raises:
            ValueError: The task is not one of this environment's.
        """

    @abc.abstractmethod
    def step(self, action: str) -> StepResult:
        """Take one action. Any string is accepted; a meaningless one leaves the state unchanged.

        Raises:
            RuntimeError: The episode has ended or never began.
        """

    @abc.abstractmethod
    def snapshot(self) -> Hashable | Any:
        """Return the present state as an opaque value that `restore` accepts and that later steps do not change."""

    @abc.abstractmethod
    def restore(self, snapshot: Any) -> Observation:
        """Go back to a snapshot taken by this instance and return the observation of that state."""

    def step_each(self, moves: Sequence[tuple[Any, str]]) -> list[tuple[StepResult, Any]]:
        """Take one action from each of many snapshots.

        The default takes them one after another. If several can be taken at once, override it.

        Args:
            moves: Pairs of a snapshot and an action. The snapshot's episode must not have ended.

        Returns:
            For each move, the result and the next snapshot; None if the episode ended.
        """
        return [self._step_from(snapshot, action) for snapshot, action in moves]

    def _step_from(self, snapshot: Any, action: str) -> tuple[StepResult, Any]:
        self.restore(snapshot)
        result = self.step(action)
        return result, None if result.is_final else self.snapshot()

    def close(self) -> None:
        """Free what the environment holds. The default holds nothing."""

    def __enter__(self) -> Self:
        """Return the environment itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the environment, also after an error, which is passed on."""
        self.close()

    def prompt(self, task: Task, observation: Observation, turns: Sequence[Turn]) -> list[Message]:
        """Return the chat messages that ask the policy for its next action.

        It must be a pure function of its arguments, because the environment may be in another state.

        Args:
            task: The episode's task.
            observation: Current observation.
            turns: Turns so far, oldest first.
        """
        opening = [{"role": "system", "content": self.system_prompt}] if self.system_prompt else []
        if self.prompt_style == "conversation":
            return conversation(opening, observation, turns)
        lines = [f"{turn.observation}\n> {turn.action}" for turn in turns[-4:]]
        lines.append(observation.text)
        if observation.admissible_actions:
            lines.append("Admissible actions: " + ", ".join(observation.admissible_actions))
        return [*opening, {"role": "user", "content": "\n".join(lines)}]

    def tools(self, task: Task) -> Sequence[Tool]:
        """Return the tools of a task. The chat template writes them into the prompt."""
        return ()

    def parse_action(self, completion: str) -> str:
        """Return the action a completion names. Total: any text gives some string, it never raises.

        The default takes the first `<action>…</action>` after the thought. Without tags, it takes everything after the
        thought: see `trl_3spo.environments.answers.action_in`. An answer without an action gives `Malformed`, which is
        the empty string and counted in the logs.
        """
        return action_in(completion, max_characters=self.max_action_characters)

    def parse_answer(self, task: Task, completion: str) -> str:
        """Return the action a completion names in a task; by default the same in all tasks."""
        return self.parse_action(completion)
