"""Logged values of an algorithm: counts of samples since the last call, and the number of states reached."""

import logging
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from trl_3spo.algorithm.base import Metrics, Ranks
from trl_3spo.algorithm.objective import SUCCESS, Objective, ReturnWatch
from trl_3spo.algorithm.records import Episode, Visit

logger = logging.getLogger(__name__)

REWARD_PARTS = "reward_parts"
"""Key in the `info` of an episode's last step for the named parts of its reward."""


class Tally:
    """Counts and values until the next `metrics`, and the exact states reached by sampled actions so far.

    Args:
        ranks: Processes whose counts are added up.
        objective: Objective that the environment's rewards should match.
    """

    def __init__(self, ranks: Ranks, objective: Objective = SUCCESS) -> None:
        self.counts: Counter[str] = Counter()
        self._ranks = ranks
        self._values: defaultdict[str, list[float]] = defaultdict(list)
        self._states: set[int] = set()
        self._watch = ReturnWatch(objective)

    def log(self, name: str, value: float) -> None:
        """Note a value that is equal on all ranks."""
        self._values[name].append(float(value))

    def reach(self, visits: Iterable[Visit]) -> None:
        """Count the visits reached by sampled actions, one per action; failed ones do not count."""
        sampled = list(visits)
        reached = [visit.state_digest for visit in sampled if not visit.has_failed]
        self.counts["sampled_actions"] += len(sampled)
        self.counts["inadmissible"] += sum(visit.is_inadmissible for visit in sampled)
        self.counts["malformed"] += sum(visit.is_malformed for visit in sampled)
        self.counts["revisits"] += sum(state in self._states for state in reached)
        self._states.update(reached)

    def end(self, episodes: Sequence[Episode]) -> None:
        """Note the results of ended episodes of all ranks, without failed ones."""
        own = [_ending(x) for x in episodes if not x.end.has_failed]
        endings = list(chain.from_iterable(self._ranks.gather(own)))
        for ending in endings:
            for name, value in ending.items():
                self.log(name, value)
        self._watch.observe([x["episode_return"] for x in endings], [bool(x["success_rate"]) for x in endings])

    def idle(self, num_rounds: int, max_rounds: int) -> None:
        """Warn that a sampling round had nothing to learn from, with its number in a row."""
        if self._ranks.rank == 0:
            logger.warning("Round %d of at most %d without anything to learn from.", num_rounds, max_rounds)

    @property
    def num_states(self) -> int:
        """Number of distinct exact states reached so far."""
        return len(self._states)

    def total(self) -> Counter[str]:
        """Return the counts of all ranks since the last call, and log the counts common to all algorithms."""
        counts, self.counts = self.counts, Counter()
        total = sum(self._ranks.gather(counts), Counter[str]())
        self.log("sampled_actions", total["sampled_actions"])
        num_actions = max(total["sampled_actions"], 1)
        self.log("frac_states_revisited", total["revisits"] / num_actions)
        self.log("inadmissible_share", total["inadmissible"] / num_actions)
        self.log("malformed_share", total["malformed"] / num_actions)
        self.log("unique_states", sum(self._ranks.gather(self.num_states)))
        return total

    def metrics(self) -> Metrics:
        """Return the values noted since the last call."""
        values, self._values = self._values, defaultdict(list)
        return dict(values)

    def state_dict(self) -> dict[str, Any]:
        """Return the states reached."""
        # numpy sorts a million numbers in much less time than Python.
        states = np.sort(np.fromiter(self._states, dtype=np.uint64, count=len(self._states)))
        return {"states": array("Q", states.tobytes())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self._states = set(state["states"].tolist())


def _ending(episode: Episode) -> dict[str, float]:
    """Return the metrics of an ended episode."""
    parts = episode.end.result.info.get(REWARD_PARTS, {})
    environment, slash, _ = episode.end.task.kind.partition("/")
    return {
        **({f"success_rate/{environment}": float(episode.success)} if slash else {}),
        "success_rate": float(episode.success),
        "episode_length": float(episode.num_steps),
        "episode_return": episode.paid,
        **{f"reward_parts/{name}": float(value) for name, value in parts.items()},
    }
