"""Frozen records of the search: visits, transitions, groups, episodes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Literal

from trl_3spo.algorithm.objective import SUCCESS, Objective
from trl_3spo.environments.answers import Malformed
from trl_3spo.environments.base import Environment, Key, Message, Observation, StepResult, Task, Turn
from trl_3spo.environments.failures import PROMPT_OVERFLOW, EpisodeFailedError
from trl_3spo.environments.way import never_begun

StopReason = Literal["success", "failure", "max_steps", "prompt_overflow", "cut_off", "malformed", "dropped"]
"""Reason why an episode ended; see `Episode.stop_reason`."""


def digest(key: Key) -> int:
    """Return 64 bits for a key, the same in every process (a million keys collide with probability 3e-8)."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Sample:
    """One action that the policy sampled.

    Args:
        prompt: Chat messages of the prompt.
        prompt_ids: P token ids of the prompt.
        completion_ids: C ≥ 1 token ids of the completion.
        action: Action that the environment's parser found in the completion.
        text: Completion as text.
        logps: C log-probabilities under the sampling engine, if it reports them (vLLM does).
        text_reward: Weighted sum of the reward functions' scores of the completion. It counts only for this step.
        is_cut_off: Whether the completion was cut off at the token limit.
    """

    prompt: list[Message]
    prompt_ids: list[int]
    completion_ids: list[int]
    action: str
    text: str = ""
    logps: list[float] | None = None
    text_reward: float = 0.0
    is_cut_off: bool = False


@dataclass(frozen=True, eq=False)
class Visit:
    """One arrival at a state in a search tree, linked to the visit it came from.

    Args:
        task: Task of the tree; all its visits have the same one.
        result: Result of the step into the state. The root's has only the first observation.
        snapshot: The environment's snapshot of the state; None if the episode has ended.
        parent: Previous visit; None at the root.
        action: Action that led here; None at the root.
        depth: Number of environment steps since the root.
        sample: Answer that led here, if known: not at the root, nor after a resume.
    """

    task: Task
    result: StepResult
    snapshot: Any
    parent: "Visit | None" = None
    action: str | None = None
    depth: int = 0
    sample: Sample | None = None

    @property
    def observation(self) -> Observation:
        """Observation in this state."""
        return self.result.observation

    @property
    def has_failed(self) -> bool:
        """Whether the environment failed on the way here; the episode is then void."""
        return bool(self.result.failure)

    @cached_property
    def keys(self) -> tuple[int, ...]:
        """Digests of the score keys, finest first, under which the history keeps the state."""
        return tuple(digest(key) for key in self.observation.score_keys or self._default_keys())

    def _default_keys(self) -> tuple[Key, ...]:
        keys = ((self.observation.state_key, self.depth), (self.task.kind, self.depth), (self.depth,))
        return keys if self.task.kind else (keys[0], keys[2])

    @cached_property
    def state_digest(self) -> int:
        """Digest of the exact state."""
        return digest(self.observation.state_key)

    @property
    def is_new_on_path(self) -> bool:
        """Whether no earlier visit on the path was in the same exact state."""
        return all(self.state_digest != visit.state_digest for visit in self._ancestors())

    @property
    def is_malformed(self) -> bool:
        """Whether the answer that led here named no action."""
        return isinstance(self.action, Malformed)

    @property
    def is_inadmissible(self) -> bool:
        """Whether the answer that led here named no action, or none of the admissible ones."""
        admissible = self.parent.observation.admissible_actions if self.parent else ()
        return self.is_malformed or (bool(admissible) and self.action not in admissible)

    def path(self) -> "list[Visit]":
        """All visits from the root to this one."""
        visits = [self, *self._ancestors()]
        return visits[::-1]

    @cached_property
    def root(self) -> "Visit":
        """The first visit of the tree or episode."""
        visit = self
        while visit.parent is not None:
            visit = visit.parent
        return visit

    def actions(self) -> list[str]:
        """The actions that led here from the root."""
        return [visit.action for visit in self.path() if visit.action is not None]

    def turns(self) -> list[Turn]:
        """Turns of the episode so far, oldest first, without the current observation."""
        return [_turn(before, after) for before, after in pairwise(self.path())]

    def _ancestors(self) -> "Iterator[Visit]":
        visit = self.parent
        while visit is not None:
            yield visit
            visit = visit.parent


def first_visit(env: Environment, task: Task) -> Visit:
    """Start a task and return the root; it `has_failed` if a guarded environment failed."""
    try:
        return Visit(task, StepResult(env.reset(task)), env.snapshot())
    except EpisodeFailedError as error:
        return Visit(task, StepResult(never_begun(task), truncated=True, failure=str(error)), None)


def _turn(before: Visit, after: Visit) -> Turn:
    return Turn.at(before.observation, after.action or "", after.sample.text if after.sample else None)


def next_visits(
    env: Environment, moves: Sequence[tuple[Visit, str]], samples: Sequence[Sample] | None = None
) -> list[Visit]:
    """Restore the environment at each of some visits, take an action there, and return the reached visits.

    Environments are deterministic, so equal moves share one step and the first one's visit.

    Args:
        env: The environment.
        moves: Visits and actions.
        samples: Answer that named the action, for every move.
    """
    distinct = list(dict.fromkeys(moves))
    steps = env.step_each([(origin.snapshot, action) for origin, action in distinct])
    # A dictionary keeps the last value of a key, so the first sample has to come last.
    answers = dict(zip(reversed(moves), reversed(samples), strict=True)) if samples else {}
    reached = {
        (origin, action): Visit(
            origin.task, result, snapshot, origin, action, origin.depth + 1, answers.get((origin, action))
        )
        for (origin, action), (result, snapshot) in zip(distinct, steps, strict=True)
    }
    return [reached[move] for move in moves]


def next_visit(env: Environment, origin: Visit, action: str) -> Visit:
    """Restore the environment at a visit and take one action there."""
    (visit,) = next_visits(env, [(origin, action)])
    return visit


@dataclass(frozen=True, eq=False)
class Transition:
    """One sampled action and the state it reached.

    Args:
        visit: Visit of the reached state.
        reward: Reward R of Eq. 2, with the knowledge at the time of the action.
        parts: Named parts of the reward.
    """

    visit: Visit
    reward: float
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Group:
    """The n(s) transitions sampled from one state, in the order they were sampled.

    Args:
        origin: Visit of the state that they were sampled from.
        transitions: n(s) ≥ 1 transitions.
    """

    origin: Visit
    transitions: tuple[Transition, ...]

    def without_failed(self) -> "Group":
        """Return the group without transitions in which the environment failed."""
        sound = tuple(transition for transition in self.transitions if not transition.visit.has_failed)
        return self if len(sound) == len(self.transitions) else Group(self.origin, sound)


@dataclass(frozen=True, eq=False)
class Episode:
    """One path from a root to an end.

    Args:
        end: Last visit.
    """

    end: Visit

    @property
    def success(self) -> bool:
        """Whether the episode solved its task."""
        return self.end.result.success

    @property
    def num_steps(self) -> int:
        """Number of environment steps from the root."""
        return self.end.depth

    @property
    def paid(self) -> float:
        """Undiscounted sum of the environment's rewards, in its own unit."""
        return float(sum(visit.result.reward for visit in self.end.path()))

    @property
    def stop_reason(self) -> StopReason:
        """Reason why the episode ended: the first of these that holds.

        - `dropped`: The environment failed, so the episode is void.
        - `success`: The environment ended the task, solved.
        - `prompt_overflow`: The next prompt would not have fitted, even without any past turn.
        - `max_steps`: A step limit was reached, the environment's own or `max_episode_steps`. Any other truncation by
          the environment counts here as well.
        - `cut_off`: The environment ended the task, unsolved, after an answer without an action that was cut off at
          `max_completion_length`.
        - `malformed`: The same after an answer without an action that was not cut off.
        - `failure`: The environment ended the task, unsolved, after an answer with an action.

        In most environments an answer without an action changes nothing, and the episode continues. Shares such as
        `malformed_share` count these answers. In other environments the first answer without a tool call ends it.
        """
        result = self.end.result
        if self.end.has_failed:
            return "dropped"
        if result.success:
            return "success"
        if not result.terminated:
            return "prompt_overflow" if result.info.get("stop_reason") == PROMPT_OVERFLOW else "max_steps"
        if not self.end.is_malformed:
            return "failure"
        return "cut_off" if self.end.sample is not None and self.end.sample.is_cut_off else "malformed"

    def worths(self, discount: float = 1.0, objective: Objective = SUCCESS) -> dict[int, float]:
        """Return the discounted return of each state on the path, by the digests of its score keys.

        Args:
            discount: Discount factor γ in (0, 1]: a reward k steps later counts γᵏ.
            objective: Objective that defines the reward of a step. The last state counts the reward of the step into
                it.

        Returns:
            Returns as shares in [0, 1] of their range. A key that occurs more than once has its first return.
        """
        worths: dict[int, float] = {}
        worth = objective.reward(self.end.result)
        visit: Visit | None = self.end
        while visit is not None:
            worths.update(dict.fromkeys(visit.keys, objective.share(worth)))
            reward = 0.0 if visit is self.end else objective.reward(visit.result)
            worth = discount * (reward + worth)
            visit = visit.parent
        return worths
