"""Interface between a trainer and an algorithm. A new algorithm is a class with the four methods of `Algorithm`.

The trainer owns the model. The algorithm chooses the states to sample from, and computes the advantage of every sampled
action. It needs neither torch nor TRL, so the same algorithm can train a tabular policy.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from trl_3spo.algorithm.records import Episode, Group, Sample, Visit

T = TypeVar("T")

Metrics = dict[str, list[float]]
"""Values by their logged name. Every value counts once in the mean of a logging window."""


@dataclass(frozen=True)
class Row:
    """A sample with its credit: one row of the loss.

    Args:
        sample: The sampled action.
        reward: Reward of the transition, for the logs.
        advantage: Weight of the sample in the loss.
        group: Number of the group in which the sample was compared. Rows of a batch with equal numbers are one group.
        is_padding: Whether the row only fills the batch and takes no part in the loss.
        parts: Named parts of the reward, if the algorithm gives any.
    """

    sample: Sample
    reward: float = 0.0
    advantage: float = 0.0
    group: int = 0
    is_padding: bool = False
    parts: Mapping[str, float] = field(default_factory=dict)


class Judgement(NamedTuple):
    """An algorithm's knowledge of a state.

    Args:
        score: State score S(s) in [0, 1].
        value: Expected return p(s), as a share of the range of returns.
        num_visits: Number of visits N(s); fractional if counts decay.
    """

    score: float
    value: float
    num_visits: float


@dataclass(frozen=True)
class Round:
    """Results of a round of sampling, before any of it is written to the history.

    Args:
        groups: Sampled groups.
        samples: Samples of every group, in the order of its transitions.
        rows: Rows of every group so far; none if advantages are computed later.
        ended: Episodes that ended in the round.
        searched_on: Roots of the trees that continue in a later round.
        judge: Function that returns the knowledge of a state; `None` if the algorithm scores no states.
    """

    groups: Sequence[Group]
    samples: Sequence[Sequence[Sample]]
    rows: Sequence[Sequence[Row]]
    ended: Sequence[Episode]
    searched_on: Collection[Visit] = ()
    judge: Callable[[Visit], Judgement] | None = None


OnRound = Callable[[Round], None]
"""Function that gets every round. It must not change anything, nor draw random numbers."""


class Sampler(Protocol):
    """The policy, in the form that an algorithm uses."""

    def sample(self, visits: Sequence[Visit], num_samples: Sequence[int]) -> list[list[Sample]]:
        """Sample the given number of actions at every visit, within `phase`; return them in the visits' order."""

    def phase(self) -> AbstractContextManager[None]:
        """Sample inside as often as needed; finished ranks wait for the others."""


class Ranks(Protocol):
    """The processes of a training, including this one."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""

    @property
    def num_ranks(self) -> int:
        """Number of processes."""

    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks, in their order; every rank must call it."""


class Alone:
    """A single process."""

    rank = 0
    num_ranks = 1

    def gather(self, value: T) -> list[T]:
        """Return a list of the one value."""
        return [value]


class Algorithm(Protocol):
    """Choice of the samples and their advantages. All ranks make the same calls of `Ranks.gather`.

    If an algorithm has an attribute `on_round`, it passes its rounds there, and its episodes are recorded; see
    `OnRound`.
    """

    def collect(self, sampler: Sampler, capacity: int) -> list[Row]:
        """Sample, and return this rank's rows with their advantages.

        Args:
            sampler: Current policy.
            capacity: Size of this rank's part of the generation batch.

        Returns:
            Any number of rows. If no rank has any, there is nothing left to learn and training ends.
        """

    def metrics(self) -> Metrics:
        """Return the metrics of the last `collect`, equal on all ranks."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything `load_state_dict` needs, as nested dictionaries of arrays and of values that JSON can hold.

        Values equal on all ranks are under `"shared"` and saved once. All others are saved per rank.
        """

    def load_state_dict(self, state: dict[str, Any], *, saved_by: int) -> None:
        """Continue from a `state_dict`.

        Args:
            state: State of this rank; of another rank if there are more ranks than before.
            saved_by: Rank that saved it.
        """
