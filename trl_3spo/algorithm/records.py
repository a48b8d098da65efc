"""Frozen records of what the search has done: visits, transitions, groups, episodes."""

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
"""Why an episode ended, see `Episode.stop_reason`."""


def digest(key: Key) -> int:
    """Name a key by 64 bits that are the same in every process (a million keys collide with probability 3e-8)."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Sample:
    """One action that the policy sampled.

    Args:
        prompt: The chat messages that asked for it.
        prompt_ids: P token ids of the prompt.
        completion_ids: C ≥ 1 token ids of the completion.
        action: What the environment's parser read in the completion.
        text: The completion as text.
        logps: C log-probabilities under the sampling engine, where it reports them (vLLM does).
        text_reward: Weighted sum of what reward functions gave the completion. It counts for this step alone.
        is_cut_off: Whether the completion ends at the limit on its tokens, and not by itself.
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
        task: Root only knows it first-hand; every visit of a tree carries the same one.
        result: What the environment said on arrival. The root's has nothing but the first observation.
        snapshot: The environment's snapshot of the state, None where the episode has ended.
        parent: The visit before, None at the root.
        action: The action that led here, None at the root.
        depth: Environment steps since the root.
        sample: The answer that led here, where it is known: neither at the root nor after a resume.
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
        """What is shown here."""
        return self.result.observation

    @property
    def has_failed(self) -> bool:
        """Whether the environment failed on the way here, so that the episode is void."""
        return bool(self.result.failure)

    @cached_property
    def keys(self) -> tuple[int, ...]:
        """Digests of the score keys, finest first: the state's names in the history."""
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
        """Whether no visit before it on its path was in the same exact state."""
        return all(self.state_digest != visit.state_digest for visit in self._ancestors())

    @property
    def is_malformed(self) -> bool:
        """Whether the answer that led here named no action."""
        return isinstance(self.action, Malformed)

    @property
    def is_inadmissible(self) -> bool:
        """Whether the answer that led here named no action, or none of those that the environment admits."""
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
        """The episode so far as the policy saw it, oldest first, without the present observation."""
        return [_turn(before, after) for before, after in pairwise(self.path())]

    def _ancestors(self) -> "Iterator[Visit]":
        visit = self.parent
        while visit is not None:
            yield visit
            visit = visit.parent


def first_visit(env: Environment, task: Task) -> Visit:
    """Start a task: the root of a tree or of an episode, one that `has_failed` where a guarded environment failed."""
    try:
        return Visit(task, StepResult(env.reset(task)), env.snapshot())
    except EpisodeFailedError as error:
        return Visit(task, StepResult(never_begun(task), truncated=True, failure=str(error)), None)


def _turn(before: Visit, after: Visit) -> Turn:
    shown, answer = before.observation, after.sample.text if after.sample else None
    return Turn(shown.text, after.action or "", answer, shown.messages)


def next_visits(
    env: Environment, moves: Sequence[tuple[Visit, str]], samples: Sequence[Sample] | None = None
) -> list[Visit]:
    """Put the environment back to each of some visits and take an action there; return where they led.

    Environments are deterministic, so equal moves share one step and one visit: the first one's.

    Args:
        env: The environment.
        moves: Visits and actions.
        samples: For every move the answer that named its action.
    """
    distinct = list(dict.fromkeys(moves))
    steps = env.step_each([(origin.snapshot, action) for origin, action in distinct])
    # The last one under a key stays, so the first one's has to come last.
    answers = dict(zip(reversed(moves), reversed(samples), strict=True)) if samples else {}
    reached = {
        (origin, action): Visit(
            origin.task, result, snapshot, origin, action, origin.depth + 1, answers.get((origin, action))
        )
        for (origin, action), (result, snapshot) in zip(distinct, steps, strict=True)
    }
    return [reached[move] for move in moves]


def next_visit(env: Environment, origin: Visit, action: str) -> Visit:
    """Put the environment back to a visit and take one action there."""
    (visit,) = next_visits(env, [(origin, action)])
    return visit


@dataclass(frozen=True, eq=False)
class Transition:
    """One sampled action and where it led.

    Args:
        visit: The state reached.
        reward: R of Eq. 2, by what was known when the action was taken.
        parts: What it is the sum of, by name.
    """

    visit: Visit
    reward: float
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Group:
    """The n(s) transitions sampled from one state, in the order they were sampled.

    Args:
        origin: The state they were sampled from.
        transitions: n(s) ≥ 1 of them.
    """

    origin: Visit
    transitions: tuple[Transition, ...]

    def without_failed(self) -> "Group":
        """Return the group without transitions that are void because the environment failed."""
        sound = tuple(transition for transition in self.transitions if not transition.visit.has_failed)
        return self if len(sound) == len(self.transitions) else Group(self.origin, sound)


@dataclass(frozen=True, eq=False)
class Episode:
    """One path from a root to an end.

    Args:
        end: The last visit.
    """

    end: Visit

    @property
    def success(self) -> bool:
        """Whether it solved its task."""
        return self.end.result.success

    @property
    def num_steps(self) -> int:
        """Environment steps from the root."""
        return self.end.depth

    @property
    def paid(self) -> float:
        """What the environment paid in all, in its own unit."""
        return float(sum(visit.result.reward for visit in self.end.path()))

    @property
    def stop_reason(self) -> StopReason:
        """Why it ended. Reasons are disjoint: the first of these that holds.

        - `dropped`: The environment failed, so that the episode is void.
        - `success`: The environment ended the task, solved.
        - `prompt_overflow`: The next prompt would not have fitted, even without any past turn.
        - `max_steps`: A limit on steps was reached, the environment's own or `max_episode_steps`. Whatever else makes
          an environment truncate an episode counts here as well.
        - `cut_off`: The environment ended the task, unsolved, on an answer that names no action and that
          `max_completion_length` had cut off.
        - `malformed`: The same on an answer that names no action and was not cut off.
        - `failure`: The environment ended the task, unsolved, on an answer that names an action.

        In most worlds an answer without an action changes nothing and the episode goes on. Shares of answers, such as
        `malformed_share`, count these. Worlds whose episodes end with the first answer that calls no tool end on it.
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
        """What each state on the path turned out to be worth, by the digests of its score keys.

        Args:
            discount: γ in (0, 1]: what is paid k steps later counts γᵏ. A success after k steps is worth γᵏ.
            objective: Says what a step pays. The last state is worth what the step into it paid.

        Returns:
            Shares in [0, 1] of the most there is; of a key met more than once that of the first time.
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
