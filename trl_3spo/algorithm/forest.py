"""The collecting phase: which states to sample from next, and what became of the samples."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trl_3spo.algorithm.credit import group_relative, has_signal
from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.algorithm.records import Episode, Group, Transition, Visit, first_visit, next_visit, next_visits
from trl_3spo.algorithm.scorer import StateScorer
from trl_3spo.algorithm.search import TreeSearch
from trl_3spo.algorithm.task_order import Collector
from trl_3spo.algorithm.walk_outcomes import walk_outcomes
from trl_3spo.environments.base import Environment, Task

EXPECTED_STEPS = 10
"""Steps of a walk before any has been seen."""
TREE_SIZE_RATE = 0.2
"""How fast the expected size of a tree follows the trees."""


@dataclass(frozen=True, eq=False)
class Expansion:
    """A state to sample actions from.

    Args:
        tree: Whose head the state is.
        visit: The state.
        num_samples: n(s) ≥ 1.
    """

    tree: TreeSearch
    visit: Visit
    num_samples: int


class Rollout(Collector):
    """Many search trees over one environment, advanced together.

    Passive, like the search: `plan` names the states to sample from and `record` takes the actions sampled there. The
    episodes this ends wait in `take_ended` until the caller writes them to `history`: groups recorded until then are
    judged by the history before, so no score is that of a group's own outcome. `judge` judges groups again when the
    walks through them have ended.

    Args:
        env: Serves all trees; it is put back with `restore` for every action.
        options: Checked options.
        tasks: To be trained on, at least one.
        max_group_size: G_max.
        seed: Of the order of tasks, which is reshuffled on every pass.
        rank: This process among `num_ranks`, which share the tasks out between them.
        is_scaled: Whether advantages relative to their group are divided by its spread.
    """

    def __init__(
        self,
        env: Environment,
        options: ThreeSPOOptions,
        tasks: Sequence[Task],
        *,
        max_group_size: int,
        seed: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
        is_scaled: bool = True,
    ) -> None:
        super().__init__(env, tasks, seed=seed, rank=rank, num_ranks=num_ranks)
        self.history = StateHistory(half_life=options.history_half_life, backoff_strength=options.backoff_strength)
        self.scorer = StateScorer(options, self.history, max_group_size)
        self.trees: deque[TreeSearch] = deque()
        self._options = options
        self._is_scaled = is_scaled
        self._samples_per_tree: float | None = None
        self._max_tree_size = EXPECTED_STEPS * max_group_size
        self._ended: list[Episode] = []

    def start(self, num_trees: int) -> None:
        """Start the trees of the next tasks."""
        self.trees += [self._tree(first_visit(self._env, task)) for task in self.next_tasks(num_trees)]

    def num_trees_for(self, capacity: int) -> int:
        """Return how many trees are likely to take so many samples, at least one."""
        return max(int(capacity / (self._samples_per_tree or self._max_tree_size)), 1)

    def plan_living(self) -> list[Expansion]:
        """Choose a state to sample from next of every living tree; without any all have been searched."""
        settled = [(tree, self._settle(tree)) for tree in self.trees]
        plan = [Expansion(tree, tree.head, size) for tree, size in settled if tree.head is not None]
        self.trees = deque(expansion.tree for expansion in plan)
        return plan

    def plan(self, capacity: int) -> list[Expansion]:
        """Choose states to sample from next: at most one of every tree, whole groups, at most `capacity` actions.

        New trees are started while the living ones do not fill the capacity. Trees that had to wait come first next
        time.

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
            if not self.trees:
                self.start(1)
            tree = self.trees.popleft()
            size = self._settle(tree)
            if tree.head is not None:
                yield Expansion(tree, tree.head, size)

    def _settle(self, tree: TreeSearch) -> int:
        while tree.head is not None:
            size = self.scorer.group_size(tree.head)
            if size > 0:
                return size
            self.counts["pruned"] += 1
            self._ended += tree.prune()
        return 0

    def _tree(self, root: Visit) -> TreeSearch:
        options = self._options
        return TreeSearch(
            root,
            max_episodes=options.max_episodes_per_tree,
            has_backtracking=options.has_backtracking,
            follows_best=options.follows_best,
        )

    def record(self, plan: Sequence[Expansion], actions: Sequence[Sequence[str]]) -> list[Group]:
        """Take the sampled actions in the environment, judge where they led, and advance the trees.

        Args:
            plan: What `plan` returned, or a part of it.
            actions: For every expansion its n(s) actions, in sampling order.

        Returns:
            One group for every expansion, in the plan's order.
        """
        pairs = list(zip(plan, actions, strict=True))
        reached = iter(next_visits(self._env, [(x.visit, action) for x, sampled in pairs for action in sampled]))
        groups = []
        for expansion, sampled in pairs:
            group = self._group(expansion.visit, list(islice(reached, len(sampled))), {})
            self._count(group)
            self._ended += expansion.tree.record(group)
            groups.append(group)
        return groups

    def judge(self, groups: Sequence[Group], episodes: Sequence[Episode]) -> list[Group]:
        """Return the groups with rewards that know what became of the walks through them.

        Args:
            groups: What `record` returned.
            episodes: That have ended, not yet written to the history.
        """
        options = self._options
        outcomes = walk_outcomes(episodes, self.scorer.value, discount=options.discount, weight=options.outcome_weight)
        self._expect(sum(len(x.transitions) for x in groups) / len({x.origin.path()[0] for x in groups}))
        return [self._group(group.origin, [x.visit for x in group.transitions], outcomes) for group in groups]

    def _expect(self, samples_per_tree: float) -> None:
        before = self._samples_per_tree or samples_per_tree
        self._samples_per_tree = before + TREE_SIZE_RATE * (samples_per_tree - before)

    def _group(self, origin: Visit, visits: Sequence[Visit], outcomes: Mapping[Visit, float]) -> Group:
        rewards = [self.scorer.reward(origin, visit, outcomes.get(visit)) for visit in visits]
        advantages = self._advantages(np.array(rewards), num_actions=len(set(visits)))
        transitions = tuple(Transition(*row) for row in zip(visits, rewards, advantages.tolist(), strict=True))
        return Group(origin, transitions, has_signal(advantages))

    def _advantages(self, rewards: NDArray[np.float64], num_actions: int) -> NDArray[np.float64]:
        options = self._options
        if options.baseline == "group":
            return group_relative(rewards, delta=options.advantage_delta, is_scaled=self._is_scaled)
        # Equal actions share their outcome: their mean would take away all that it says.
        share = 0.0 if options.baseline == "state" else 1.0 - 1.0 / num_actions
        relative: NDArray[np.float64] = rewards - share * rewards.mean()
        return relative

    def _count(self, group: Group) -> None:
        size = len(group.transitions)
        self.counts.update({"groups": 1, f"size_{size}": 1, "groups_without_signal": not group.has_signal})
        self._count_reached(transition.visit for transition in group.transitions)

    def take_ended(self) -> list[Episode]:
        """Return the episodes that have ended since the last call, for the history to observe."""
        ended, self._ended = self._ended, []
        return ended

    @property
    def num_waiting(self) -> int:
        """States on the frontiers of all living trees."""
        return sum(len(tree.frontier) for tree in self.trees)

    def state_dict(self) -> dict[str, Any]:
        """Return history, trees, states reached and place in the order of tasks as plain data and arrays."""
        trees = [tree.state_dict() for tree in self.trees if tree.head is not None]
        own = {"trees": trees, "samples_per_tree": self._samples_per_tree}
        return super().state_dict() | {"history": self.history.state_dict()} | own

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a `state_dict` left off; the environment replays the way to every waiting state.

        Raises:
            ValueError: A tree's task is not among the tasks.
        """
        super().load_state_dict(state)
        self.history.load_state_dict(state["history"])
        self._samples_per_tree = state["samples_per_tree"]
        tasks = {task.id: task for task in self._tasks}
        self.trees = deque(self._load_tree(tasks, saved) for saved in state["trees"])

    def _load_tree(self, tasks: dict[str, Task], saved: dict[str, Any]) -> TreeSearch:
        if saved["task"] not in tasks:
            raise ValueError(
                f"The checkpoint holds a search on task {saved['task']!r}, which is not among the {len(tasks)} tasks "
                "trained on; resume with the environment and split it was saved with."
            )
        root = first_visit(self._env, tasks[saved["task"]])
        tree = self._tree(root)
        tree.load_state_dict(saved, lambda actions: self._replay(root, actions))
        return tree

    def _replay(self, root: Visit, actions: Sequence[str]) -> Visit:
        visit = root
        for action in actions:
            visit = next_visit(self._env, visit, action)
        return visit
