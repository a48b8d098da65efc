"""Ranked backtracking depth-first search over one task, passive: it is asked where to go on and told what was found."""

from collections.abc import Callable, Sequence
from typing import Any

from trl_3spo.algorithm.records import Episode, Group, Visit


class TreeSearch:
    """The search tree of one task.

    A walk starts at the root and goes on from one of the states its head's group reached: the best by reward, as in the
    source, or the one the first action reached, so that walks are the policy's own. The others wait on the frontier,
    the better the higher (last in, first out). When the walk ends, the state on top of the frontier becomes the head
    and the environment is restored there. The caller asks for `head`, decides how many actions to sample there, and
    calls `record` with the group or `prune`.

    Where rewards are equal the action sampled first ranks first, so that flat groups follow the policy. States already
    seen in this tree do not enter the frontier again: an action without effect, or a way back, would have the same
    state expanded many times over. The source does not mention them.

    Args:
        root: First visit of the task.
        max_episodes: Ended walks after which the tree is finished, at least 1; None empties the frontier, as the source
            does.
        has_backtracking: Whether there is a frontier at all; without one the tree is a single walk.
        follows_best: Whether walks go on from the best state, or from that of the action sampled first.
    """

    def __init__(
        self, root: Visit, *, max_episodes: int | None, has_backtracking: bool = True, follows_best: bool = True
    ) -> None:
        self.root = root
        self.head: Visit | None = root
        self.frontier: list[Visit] = []
        self.num_episodes = 0
        self._max_episodes = max_episodes
        self._has_backtracking = has_backtracking
        self._follows_best = follows_best
        self._seen = {root.state_digest}

    def record(self, group: Group) -> list[Episode]:
        """Take in the group sampled at the head, move on, and return the episodes this has ended.

        Raises:
            ValueError: The group was not sampled at the head.
        """
        if group.origin is not self.head:
            raise ValueError(
                "A group can be recorded only at the head of its tree, which has moved on since it was asked for."
            )
        ranked = rank(group)
        self.head = ranked[0] if self._follows_best else group.transitions[0].visit
        self._seen.add(self.head.state_digest)
        if self._has_backtracking:
            self.frontier += [visit for visit in reversed(ranked) if visit.state_digest not in self._seen]
        self._seen.update(visit.state_digest for visit in ranked)
        return self._end_walks()

    def prune(self) -> list[Episode]:
        """Give the walk up at the head without an outcome, backtrack, and return the episodes this has ended."""
        self._backtrack()
        return self._end_walks()

    def _end_walks(self) -> list[Episode]:
        ended = []
        while self.head is not None and self.head.result.is_final:
            ended.append(Episode(self.head))
            self.num_episodes += 1
            self._backtrack()
        return ended

    def _backtrack(self) -> None:
        has_budget = self._max_episodes is None or self.num_episodes < self._max_episodes
        self.head = self.frontier.pop() if self.frontier and has_budget else None

    def state_dict(self) -> dict[str, Any]:
        """Return the tree as plain data: every waiting visit as the actions that lead to it."""
        return {
            "task": self.root.task.id,
            "head": None if self.head is None else self.head.actions(),
            "frontier": [visit.actions() for visit in self.frontier],
            "num_episodes": self.num_episodes,
            "seen": sorted(self._seen),
        }

    def load_state_dict(self, state: dict[str, Any], replay: Callable[[Sequence[str]], Visit]) -> None:
        """Take up the search where a `state_dict` left it.

        Args:
            state: Of a tree of the same task.
            replay: Makes the visit that a list of actions leads to from this tree's root.
        """
        self.head = None if state["head"] is None else replay(state["head"])
        self.frontier = [replay(actions) for actions in state["frontier"]]
        self.num_episodes = state["num_episodes"]
        self._seen = set(state["seen"])


def rank(group: Group) -> list[Visit]:
    """Return the distinct states a group reached, best reward first and in sampling order where rewards are equal."""
    distinct: dict[int, Visit] = {}
    for transition in sorted(group.transitions, key=lambda transition: -transition.reward):
        distinct.setdefault(transition.visit.state_digest, transition.visit)
    return list(distinct.values())
