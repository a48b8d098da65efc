"""Many search trees over one environment: the next states to sample from, and the states that samples reach."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any

from trl_3spo.algorithm.records import Episode, Group, Sample, Transition, Visit, first_visit, next_visit, next_visits
from trl_3spo.algorithm.scorer import StateScorer
from trl_3spo.algorithm.search import TreeSearch
from trl_3spo.algorithm.tally import Tally
from trl_3spo.algorithm.task_order import TaskOrder
from trl_3spo.environments.base import Environment

TREE_SIZE_RATE = 0.2
"""Rate at which the expected tree size follows the latest trees."""

MakeTree = Callable[[Visit], TreeSearch]


@dataclass(frozen=True, eq=False)
class Expansion:
    """A state to sample actions from.

    Args:
        tree: Tree with the state as its head.
        visit: Visit of the state.
        num_samples: Number of samples n(s) ≥ 1.
    """

    tree: TreeSearch
    visit: Visit
    num_samples: int


class Forest:
    """Search trees that are advanced together.

    The caller drives it: `plan` returns the states to sample from, and `record` takes the sampled actions. Episodes
    that ended wait in `take_ended` until the caller writes them to the history. Until then groups are ranked by the
    earlier history, so no reward depends on the group's own outcome.

    Args:
        env: Environment of all trees; every action is taken after a `restore`.
        order: Order of the tasks to start trees for.
        scorer: Group sizes of states, and rewards that rank a group.
        make_tree: Function that makes the search of one task from its first visit.
        first_tree_size: Expected number of samples of a tree before any tree has been searched.
        tally: Counts of the samples.
    """

    def __init__(
        self,
        env: Environment,
        order: TaskOrder,
        scorer: StateScorer,
        make_tree: MakeTree,
        *,
        first_tree_size: int,
        tally: Tally,
    ) -> None:
        self.trees: deque[TreeSearch] = deque()
        self._env = env
        self._order = order
        self._scorer = scorer
        self._make_tree = make_tree
        self._tally = tally
        self._samples_per_tree: float | None = None
        self._first_tree_size = first_tree_size
        self._ended: list[Episode] = []

    def start(self, num_trees: int) -> int:
        """Start the trees of the next tasks, and return their number; a task that fails to start has no tree."""
        roots = [first_visit(self._env, task) for task in self._order.take(num_trees)]
        trees = [self._make_tree(root) for root in roots if not root.has_failed]
        self.trees += trees
        return len(trees)

    def num_trees_for(self, capacity: int) -> int:
        """Return the expected number of trees for so many samples, at least one."""
        return max(int(capacity / (self._samples_per_tree or self._first_tree_size)), 1)

    def expect(self, samples_per_tree: float) -> None:
        """Update the expected tree size with the mean number of samples of the latest trees."""
        before = self._samples_per_tree or samples_per_tree
        self._samples_per_tree = before + TREE_SIZE_RATE * (samples_per_tree - before)

    def plan_living(self) -> list[Expansion]:
        """Choose the next state of every unfinished tree, and of the branches of finished ones; empty at the end."""
        plan = []
        while self.trees:
            tree = self.trees.popleft()
            size = self._settle(tree)
            if tree.head is not None:
                plan.append(Expansion(tree, tree.head, size))
            else:
                self.trees += tree.branches
        self.trees = deque(expansion.tree for expansion in plan)
        return plan

    def plan(self, capacity: int) -> list[Expansion]:
        """Choose the next states: at most one per tree, whole groups, at most `capacity` actions.

        New trees are started until the trees fill the capacity. Trees that had to wait come first next time.

        Args:
            capacity: Number of actions, at least G_max so that any group fits.
        """
        plan: list[Expansion] = []
        waiting: deque[TreeSearch] = deque()
        for expansion in self._candidates():
            if expansion.num_samples > capacity:
                waiting.append(expansion.tree)
                break
            capacity -= expansion.num_samples
            plan.append(expansion)
            if capacity == 0:
                break
        waiting += self.trees
        self.trees = waiting + deque(expansion.tree for expansion in plan)
        return plan

    def _candidates(self) -> Iterator[Expansion]:
        while True:
            if not self.trees and self.start(1) == 0:
                return
            tree = self.trees.popleft()
            size = self._settle(tree)
            if tree.head is not None:
                yield Expansion(tree, tree.head, size)

    def _settle(self, tree: TreeSearch) -> int:
        while tree.head is not None:
            size = self._scorer.group_size(tree.head)
            if size > 0:
                return size
            self._tally.counts["pruned"] += 1
            self._ended += tree.prune()
        return 0

    def record(self, plan: Sequence[Expansion], samples: Sequence[Sequence[Sample]]) -> list[Group]:
        """Take the sampled actions in the environment, rank the reached states, and advance the trees.

        Args:
            plan: Result of `plan`, or a part of it.
            samples: n(s) samples of every expansion, in sampling order.

        Returns:
            One group per expansion, in the plan's order, including failed transitions. Trees do not get failed ones. If
            all transitions of a group failed, the walk is given up.
        """
        pairs = list(zip(plan, samples, strict=True))
        moves = [(x.visit, sample.action) for x, sampled in pairs for sample in sampled]
        reached = iter(next_visits(self._env, moves, list(chain.from_iterable(samples))))
        groups = []
        for expansion, sampled in pairs:
            group = self._group(expansion.visit, list(islice(reached, len(sampled))))
            self._tally.counts.update({"groups": 1, f"size_{len(sampled)}": 1})
            self._tally.reach(transition.visit for transition in group.transitions)
            self._ended += _advance(expansion.tree, group.without_failed())
            groups.append(group)
        return groups

    def _group(self, origin: Visit, reached: Sequence[Visit]) -> Group:
        each = [(visit, self._scorer.reward_parts(origin, visit)) for visit in reached]
        return Group(origin, tuple(Transition(visit, sum(parts.values()), parts) for visit, parts in each))

    def take_ended(self) -> list[Episode]:
        """Return the episodes that ended since the last call, for the history."""
        ended, self._ended = self._ended, []
        return ended

    @property
    def num_waiting(self) -> int:
        """Number of states on the frontiers of all unfinished trees."""
        return sum(len(tree.frontier) for tree in self.trees)

    def state_dict(self) -> dict[str, Any]:
        """Return the unfinished trees and the expected tree size as plain data."""
        trees = [tree.state_dict() for tree in self.trees if tree.head is not None]
        return {"trees": trees, "samples_per_tree": self._samples_per_tree}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`; the environment replays the actions to every waiting state.

        Raises:
            ValueError: A tree's task is not among the tasks.
        """
        self._samples_per_tree = state["samples_per_tree"]
        tasks = {task.id: task for task in self._order.tasks}
        self.trees = deque()
        for saved in state["trees"]:
            if saved["task"] not in tasks:
                raise ValueError(
                    f"The checkpoint holds a search on task {saved['task']!r}, which is not among the {len(tasks)} "
                    "tasks trained on; resume with the environment and split it was saved with."
                )
            root = first_visit(self._env, tasks[saved["task"]])
            if root.has_failed:
                continue
            tree = self._make_tree(root)
            tree.load_state_dict(saved, partial(self._replay, root))
            tree.frontier = [visit for visit in tree.frontier if not visit.has_failed]
            if tree.head is not None and tree.head.has_failed:
                tree.prune()
            self.trees.append(tree)

    def _replay(self, root: Visit, actions: Sequence[str]) -> Visit:
        visit = root
        for action in actions:
            if visit.has_failed:
                break
            visit = next_visit(self._env, visit, action)
        return visit


def _advance(tree: TreeSearch, group: Group) -> list[Episode]:
    """Record a group in its tree, or give the walk up if every transition of the group failed."""
    return tree.record(group) if group.transitions else tree.prune()
