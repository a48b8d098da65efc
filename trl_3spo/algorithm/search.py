"""Ranked backtracking depth-first search over one task. The caller drives it."""

from collections.abc import Callable, Sequence
from typing import Any

from trl_3spo.algorithm.records import Episode, Group, Visit


class TreeSearch:
    """The search tree of one task.

    An episode ("walk") starts at the root. It continues from one of the states that its head's group reached. This is
    the best by reward, as in the source, or the state of the first action, so that walks follow the policy. The others
    wait on the frontier, the best on top (last in, first out). When the walk ends, the state on top becomes the head,
    and the environment is restored there. The caller reads `head`, chooses the number of samples, and calls `record`
    with the group, or `prune`.

    If rewards are equal, the action sampled first ranks first, so groups without signal follow the policy. States that
    the tree has seen do not enter the frontier again. Otherwise an action without effect, or a way back, would expand
    the same state many times. The source does not mention such states.

    Args:
        root: First visit of the task.
        max_episodes: Number of ended walks that finish the tree, at least 1. None: until the frontier is empty, as in
            the source.
        has_backtracking: Whether there is a frontier; without one the tree is a single walk.
        follows_best: Whether walks continue from the best state, and not from the first action's state.
    """

    def __init__(
        self, root: Visit, *, max_episodes: int | None, has_backtracking: bool = True, follows_best: bool = True
    ) -> None:
        self.root = root
        self.head: Visit | None = root
        self.frontier: list[Visit] = []
        self.num_episodes = 0
        self.branches: list[TreeSearch] = []
        """Searches of the same task that start when this one has ended."""
        self._max_episodes = max_episodes
        self._has_backtracking = has_backtracking
        self._follows_best = follows_best
        self._seen = {root.state_digest}

    def record(self, group: Group) -> list[Episode]:
        """Record the group sampled at the head, move the head, and return the episodes that ended.

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
        """Give the walk up at the head, backtrack, and return the episodes that ended."""
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
        """Return the tree as plain data; every waiting visit is stored as the actions that lead to it."""
        return {
            "task": self.root.task.id,
            "head": None if self.head is None else self.head.actions(),
            "frontier": [visit.actions() for visit in self.frontier],
            "num_episodes": self.num_episodes,
            "seen": sorted(self._seen),
        }

    def load_state_dict(self, state: dict[str, Any], replay: Callable[[Sequence[str]], Visit]) -> None:
        """Continue from a `state_dict`.

        Args:
            state: State of a tree of the same task.
            replay: Function that returns the visit reached from this tree's root by a list of actions.
        """
        self.head = None if state["head"] is None else replay(state["head"])
        self.frontier = [replay(actions) for actions in state["frontier"]]
        self.num_episodes = state["num_episodes"]
        self._seen = set(state["seen"])


def rank(group: Group) -> list[Visit]:
    """Return the distinct states that a group reached, best reward first; equal rewards keep the sampling order."""
    distinct: dict[int, Visit] = {}
    for transition in sorted(group.transitions, key=lambda transition: -transition.reward):
        distinct.setdefault(transition.visit.state_digest, transition.visit)
    return list(distinct.values())
