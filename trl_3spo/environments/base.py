"""The environment contract: a text world that can be rewound.

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
"""A hashable built of strings, bytes, numbers, booleans, None and tuples of these, so that its `repr` is the same in
every process: histories are saved under it."""

Message = dict[str, str]
"""One chat message with the keys `role` and `content`, and `name` where a tool speaks."""

Tool = Callable[..., Any] | dict[str, Any]
"""Something the policy may call: a function with type hints and a docstring that says what its arguments are, or the
JSON schema of one."""


@dataclass(frozen=True, slots=True)
class Task:
    """One problem an environment can be reset to.

    Args:
        id: Unique among the environment's tasks and stable from run to run; panels are hashed over it.
        kind: Task type by which evaluations are broken down; empty where there is only one.
        data: Whatever the environment needs to start the task. Not part of the task's identity.
    """

    id: str
    kind: str = ""
    data: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Observation:
    """What is shown to the policy in a state, and the names that state is known by.

    Args:
        text: What the policy reads.
        state_key: Exact identity of the state, task included: two observations have equal keys if and only if the same
            actions have the same consequences in both. Step counters and the past do not belong in it.
        admissible_actions: The actions that mean something here; empty means free text. One of them may still have no
            effect, such as a step into a wall.
        score_keys: Names of the state from fine to coarse; the history of success backs off along them. They should
            hold the time, such as the number of steps taken: what a state is worth falls with every step of a limited
            episode. Without any they are the state key, the kind of the task and nothing more, each with the time.
        messages: The same as `text` in chat messages, where it is no single message of the user: what tools answered.
    """

    text: str
    state_key: Key
    admissible_actions: tuple[str, ...] = ()
    score_keys: tuple[Key, ...] = ()
    messages: tuple[Message, ...] = field(default=(), hash=False)


@dataclass(frozen=True, slots=True)
class StepResult:
    """The consequence of one action.

    The constructors `going_on`, `ended` and `cut_off` say what happened.

    Args:
        observation: The state the action led to.
        reward: Reward of this transition, in the environment's own unit. It is trained on with `objective="reward"`,
            and logged in any case.
        terminated: The task itself has ended here, won or lost.
        truncated: A limit from outside the task, such as a number of steps, has ended the episode.
        success: The task is solved. Only a terminated step can be a success.
        info: Diagnostics. Nothing depends on it.
        failure: Why the environment could not say what happened; empty where it could. Only `GuardedEnvironment` sets
            it. Such an episode is void: algorithms leave it out.
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
            observation: The state the action led to.
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
            observation: The state the action led to.
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
            observation: The state the action led to.
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
        action: The action taken on it.
        answer: The whole answer that named the action, a thought as well; `None` where it is not known.
        messages: The observation in chat messages, where it has such.
    """

    observation: str
    action: str
    answer: str | None = None
    messages: tuple[Message, ...] = ()


class Environment(abc.ABC):
    """A world that tells where it is, goes on from there, and can be put back.

    One instance serves many search trees at once: a snapshot may be restored at any time, after any other task, any
    number of times, and the same action then gives the same result. `prompt` and `parse_action` have defaults that suit
    a plain text world; override them where a benchmark has its own form. As a context manager it closes itself.

    Attributes:
        reward_range: The least and the most that an episode can pay in all, undiscounted. `objective="reward"` scales
            returns by it.
        max_action_characters: The longest action there is, for the default `parse_action`; `None` sets no limit.
        prompt_style: What the default `prompt` is. `"window"`: one message with the last four turns and the
            observation. `"conversation"`: all turns, each text and each answer a message of its own; admissible actions
            are not listed there, so the text should say what can be done.
        system_prompt: A message of the system that comes before either; empty is none.
        expert: `MODULE:NAME` of the function that demonstrates it, where there is one, for `trl-3spo demos`.
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
        """Return the tasks of a split to train on; one that is to be trained on more often occurs more often."""
        return self.tasks(split)

    def describe(self) -> Mapping[str, Any]:
        """Return what a reader of a result should know of this world, such as how large it is, for JSON.

        Results of a larger world are not to be compared with those of a smaller one. The default says nothing.
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
        """Take one action. Any string is accepted: one that means nothing here leaves the state as it is.

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

        The default does so one after the other; override it where several can be taken at once.

        Args:
            moves: Pairs of a snapshot, of an episode that has not ended, and an action.

        Returns:
            For each the result, and the snapshot of where it led, None where the episode ended.
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

        A pure function of its arguments: it is asked for states the environment is not in at the moment.

        Args:
            task: The episode's task.
            observation: The present one.
            turns: The episode so far, oldest first.
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
        """Return what the policy may call in a task; the chat template writes it into the prompt."""
        return ()

    def parse_action(self, completion: str) -> str:
        """Return the action a completion names. Total: any text gives some string, it never raises.

        The default takes the first `<action>…</action>` after the thought, and without tags all that follows it; see
        `trl_3spo.environments.answers.action_in`. An answer that names no action gives `Malformed`, which is the
        empty string and counted in the logs.
        """
        return action_in(completion, max_characters=self.max_action_characters)

    def parse_answer(self, task: Task, completion: str) -> str:
        """Return the action a completion names in a task; by default the same in all tasks."""
        return self.parse_action(completion)
