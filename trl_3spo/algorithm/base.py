"""What a trainer and an algorithm say to each other. A new algorithm is a class with the four methods of `Algorithm`.

The trainer owns the model, the algorithm owns everything else: which states are sampled from, and what every sampled
action is credited with. Neither torch nor TRL is needed here, so the same algorithm trains a table.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from trl_3spo.algorithm.records import Episode, Group, Sample, Visit

T = TypeVar("T")

Metrics = dict[str, list[float]]
"""Values by the name they are logged under. Every value counts once in the mean of a logging window."""


@dataclass(frozen=True)
class Row:
    """A sample with its credit: one row of the loss.

    Args:
        sample: The sampled action.
        reward: Reward of the transition, for the logs.
        advantage: What the loss is weighted with.
        group: Number of the group that the sample was compared in. Rows of a batch with equal numbers are one group.
        is_padding: A repetition that only fills the batch up and takes no part in the loss.
        parts: What the reward is the sum of, by name, where the algorithm tells.
    """

    sample: Sample
    reward: float = 0.0
    advantage: float = 0.0
    group: int = 0
    is_padding: bool = False
    parts: Mapping[str, float] = field(default_factory=dict)


class Judgement(NamedTuple):
    """What an algorithm knows of a state.

    Args:
        score: S(s) in [0, 1].
        value: p(s), the return expected, as a share of the most there is.
        num_visits: N(s), which may be fractional where counts fade.
    """

    score: float
    value: float
    num_visits: float


@dataclass(frozen=True)
class Round:
    """What a round of sampling has found, before any of it is written to the history.

    Args:
        groups: What was sampled.
        samples: For every group its samples, in the order of its transitions.
        rows: For every group the rows credited so far; none where the credit comes later.
        ended: Episodes that ended in it.
        searched_on: Roots of the trees that go on in a later round.
        judge: Says what is known of a state now; `None` where the algorithm scores no states.
    """

    groups: Sequence[Group]
    samples: Sequence[Sequence[Sample]]
    rows: Sequence[Sequence[Row]]
    ended: Sequence[Episode]
    searched_on: Collection[Visit] = ()
    judge: Callable[[Visit], Judgement] | None = None


OnRound = Callable[[Round], None]
"""Is shown every round. It must not change anything, nor draw random numbers."""


class Sampler(Protocol):
    """The policy as an algorithm sees it."""

    def sample(self, visits: Sequence[Visit], num_samples: Sequence[int]) -> list[list[Sample]]:
        """Sample so many actions at every visit, within `phase`; return them in the visits' order."""

    def phase(self) -> AbstractContextManager[None]:
        """Sample as often as need be: ranks that are done wait until all are."""


class Ranks(Protocol):
    """The processes of a training, of which this is one."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""

    @property
    def num_ranks(self) -> int:
        """How many there are."""

    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks, in their order; every rank has to call it."""


class Alone:
    """The only process."""

    rank = 0
    num_ranks = 1

    def gather(self, value: T) -> list[T]:
        """Return the one value there is."""
        return [value]


class Algorithm(Protocol):
    """What is sampled, and what it earned. All ranks make the same calls of `Ranks.gather`.

    An algorithm that has an attribute `on_round` shows its rounds there, and its episodes are recorded: see `OnRound`.
    """

    def collect(self, sampler: Sampler, capacity: int) -> list[Row]:
        """Sample, and return this rank's rows with their credit.

        Args:
            sampler: The policy as it is now.
            capacity: Size of this rank's part of the generation batch.

        Returns:
            Any number of rows. Where no rank has any, there is nothing left to learn and training ends.
        """

    def metrics(self) -> Metrics:
        """Return what is to be logged of the last `collect`, equal on all ranks."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything `load_state_dict` needs, as nested dictionaries of arrays and of what JSON can hold.

        What is equal on all ranks stands under `"shared"` and is saved once; all else is saved for every rank.
        """

    def load_state_dict(self, state: dict[str, Any], *, saved_by: int) -> None:
        """Go on where a `state_dict` left off.

        Args:
            state: Of this rank, or of another one where there are more ranks than there were.
            saved_by: The rank that saved it.
        """
