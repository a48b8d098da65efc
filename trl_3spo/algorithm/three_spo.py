"""3SPO as an object: the parts of `algorithm/`, put together."""

import logging
import random
from collections.abc import Sequence
from itertools import chain
from typing import Any, Protocol

from trl_3spo.algorithm import scoring
from trl_3spo.algorithm.after_step import AfterStep
from trl_3spo.algorithm.after_walks import AfterWalks
from trl_3spo.algorithm.base import Alone, Judgement, Metrics, OnRound, Ranks, Round, Row, Sampler
from trl_3spo.algorithm.branching import BranchSearch, Choose, anywhere
from trl_3spo.algorithm.credit import Credit, GroupAdvantages, whitened
from trl_3spo.algorithm.forest import Forest, MakeTree
from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.objective import SUCCESS, Objective
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.algorithm.predictive_gain import PredictiveGain
from trl_3spo.algorithm.records import Episode, Group, Sample, Visit
from trl_3spo.algorithm.scorer import StateScorer
from trl_3spo.algorithm.search import TreeSearch
from trl_3spo.algorithm.tally import Tally
from trl_3spo.algorithm.task_order import TaskOrder
from trl_3spo.algorithm.walk_credit import RunningScale, WalkCredit
from trl_3spo.environments.base import Environment, Task

logger = logging.getLogger(__name__)


class MakeScorer(Protocol):
    """Makes what answers for the worth of states; `StateScorer` does."""

    def __call__(self, options: ThreeSPOOptions, history: StateHistory, *, objective: Objective) -> StateScorer:
        """Make a scorer from options, history and objective."""


EXPECTED_STEPS = 10
"""Steps of a walk before any has been seen."""

VALUES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Success rates between never and always, for which group sizes are compared."""


class ThreeSPO:
    """State-Score-Supervised Policy Optimization (arXiv 2606.09961).

    Searches a tree for every task. By default walks branch off the first walk. A step is compared with the
    past success in its state and with the other walks through it. Other searches sample n(s) actions from a state and
    score the states they lead to. They go on from one of these and come back to the others. `options.update_after` says
    when the policy is updated. Parts can be exchanged for ablations: pass a class or function of your own.

    Args:
        env: Environment of all trees. It is put back with `restore` for every action.
        tasks: Tasks to train on, at least one.
        options: Options, which are checked here.
        ranks: Processes of the training.
        seed: Seed of the order of tasks.
        max_idle_rounds: Sampling rounds without any signal after which `collect` returns nothing.
        make_scorer: Class or function that makes the scorer of states from options, history and objective.
        make_tree: Class or function that makes the search of one task from its first visit.
        advantages: Function that compares the rewards of a group. Branching has no groups.
        choose: Function that chooses where walks branch off.

    Raises:
        ValueError: An option is out of its range, there are no tasks, or there is nothing for `advantages` to compare.
    """

    def __init__(
        self,
        env: Environment,
        tasks: Sequence[Task],
        options: ThreeSPOOptions,
        *,
        ranks: Ranks | None = None,
        seed: int = 0,
        max_idle_rounds: int = 100,
        make_scorer: MakeScorer = StateScorer,
        make_tree: MakeTree | None = None,
        advantages: GroupAdvantages | None = None,
        choose: Choose = anywhere,
    ) -> None:
        options.check_options()
        warn_of_equal_sizes(options)
        if advantages is not None and options.search == "branch":
            raise ValueError("advantages compares the actions of one state, and search='branch' samples one action.")
        self.ranks = ranks or Alone()
        self.objective = Objective.of(options.objective, env)
        self.tally = Tally(self.ranks, self.objective)
        self.history = StateHistory(half_life=options.history_half_life, backoff_strength=options.backoff_strength)
        self.scorer = make_scorer(options, self.history, objective=self.objective)
        self.order = TaskOrder(tasks, seed=seed, rank=self.ranks.rank, num_ranks=self.ranks.num_ranks)
        self.forest = Forest(
            env,
            self.order,
            self.scorer,
            make_tree or self._tree,
            first_tree_size=EXPECTED_STEPS * options.largest_group * (options.max_episodes_per_tree or 1),
            tally=self.tally,
        )
        self.options = options
        self.on_round: OnRound | None = None
        self._seed = seed
        self._choose = choose
        self._gain = PredictiveGain(self.history, options.discount, self.objective)
        self._scale = RunningScale()
        credit = (
            WalkCredit(options, self.scorer, self.ranks, self._scale)
            if options.search == "branch"
            else Credit(options, self.scorer, advantages)
        )
        parts = (self.forest, credit, self._observe, self.tally, self.ranks, max_idle_rounds, self._show)
        is_stepwise = options.update_after == "step"
        self._loop = AfterStep(*parts, options.largest_group) if is_stepwise else AfterWalks(*parts)

    def _tree(self, root: Visit) -> TreeSearch:
        """Return the search of one task as the options have it."""
        most = self.options.max_episodes_per_tree
        if self.options.search != "branch":
            return TreeSearch(root, max_episodes=most, follows_best=self.options.search == "best_first")
        assert most is not None, "Options are checked: branching needs update_after='walks', which needs a number."
        # Drawn anew for every batch, without anything that a checkpoint would have to hold.
        drawn_for = f"{self._seed}/{self.ranks.rank}/{self.history.num_episodes}/{root.task.id}"
        rng = random.Random(drawn_for.encode(errors="surrogatepass"))  # a task's name may be any text
        return BranchSearch(root, max_episodes=most, choose=self._choose, scorer=self.scorer, rng=rng)

    def collect(self, sampler: Sampler, capacity: int) -> list[Row]:
        """Sample state groups and return the rows of those with signal; see `Algorithm.collect`."""
        rows = self._loop.collect(sampler, capacity)
        is_whitened = self.options.advantage_scaling == "batch" and self.options.search != "branch"
        return whitened(rows, self.ranks) if is_whitened else rows

    def _show(
        self, groups: list[Group], samples: list[list[Sample]], rows: list[list[Row]], ended: list[Episode]
    ) -> None:
        if self.on_round is not None:
            searched_on = {tree.root for tree in self.forest.trees if tree.head is not None}
            self.on_round(Round(groups, samples, rows, ended, searched_on, self._judge))

    def _judge(self, visit: Visit) -> Judgement:
        return Judgement(self.scorer.score(visit), self.scorer.value(visit), self.scorer.estimate(visit).num_visits)

    def _observe(self, episodes: Sequence[Episode]) -> None:
        for gains in self.ranks.gather(self._gain.of(episodes)):
            for name, gain in gains.items():
                self.tally.log(f"predictive_gain/{name}", gain)
        observe_together(self.history, episodes, self.options.discount, self.ranks, self.objective)
        self.tally.end(episodes)

    def metrics(self) -> Metrics:
        """Return what is logged: docs/metrics.md lists it."""
        total = self.tally.total()
        num_groups = max(total["groups"], 1)
        self.tally.log("pruned_states", total["pruned"])
        self.tally.log("frac_sampled_groups_without_signal", total["groups_without_signal"] / num_groups)
        for n in range(1, self.options.largest_group + 1):
            self.tally.log(f"group_size/{n}", total[f"size_{n}"] / num_groups)
        self.tally.log("frontier_size", sum(self.ranks.gather(self.forest.num_waiting)))
        return self.tally.metrics()

    def state_dict(self) -> dict[str, Any]:
        """Return history, the credit's scale, trees, states reached and place in the order of tasks."""
        shared = {"history": self.history.state_dict(), "mean_square": self._scale.mean_square}
        own = {"position": self.order.position} | self.forest.state_dict() | self.tally.state_dict()
        return {"shared": shared, "gain": self._gain.state_dict()} | own

    def load_state_dict(self, state: dict[str, Any], *, saved_by: int) -> None:
        """Go on where a `state_dict` left off; a rank that did not save it itself begins new trees.

        Raises:
            ValueError: A tree's task is not among the tasks.
        """
        self.history.load_state_dict(state["shared"]["history"])
        self._scale.mean_square = state["shared"]["mean_square"]
        self.order.resume(state["position"], saved_by=saved_by)
        self._gain.load_state_dict(state["gain"])
        is_own = saved_by == self.ranks.rank
        self.forest.load_state_dict(state if is_own else state | {"trees": []})
        if is_own:
            self.tally.load_state_dict(state)


def observe_together(
    history: StateHistory,
    episodes: Sequence[Episode],
    discount: float,
    ranks: Ranks,
    objective: Objective = SUCCESS,
) -> None:
    """Write the ended episodes of all ranks to a history, in the same order on every rank.

    So every rank has the same history, bit by bit, without ever sending it.
    """
    for worths in chain.from_iterable(ranks.gather([x.worths(discount, objective) for x in episodes])):
        history.observe(worths)


def warn_of_equal_sizes(options: ThreeSPOOptions) -> None:
    """Warn if, after 100 episodes, every state gets the same number of samples whatever its success rate."""
    sharpness = scoring.sharpness(100, options.score_sharpness, options.score_annealing_rate)
    scores = [scoring.state_score(value, sharpness) for value in VALUES]
    sizes = {scoring.group_size(score, options.num_generations, 1) for score in scores}
    if len(sizes) == 1 and options.num_generations > 1 and options.search != "branch":
        logger.warning(
            "After 100 episodes every state that ever succeeded gets n = %d samples, whatever its success rate. For "
            "sizes in between lower score_annealing_rate (%s) or score_sharpness (%s).",
            *sizes,
            options.score_annealing_rate,
            options.score_sharpness,
        )
