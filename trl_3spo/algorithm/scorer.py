"""Scores, group sizes and rewards of states: the equations applied to what the history knows."""

from trl_3spo.algorithm import scoring
from trl_3spo.algorithm.history import Estimate, StateHistory
from trl_3spo.algorithm.objective import SUCCESS, Objective
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.algorithm.records import Visit


class StateScorer:
    """Answers, for a visit, what its state is worth, how many samples it gets and what a step into it earns.

    Args:
        options: Checked options.
        history: Completed episodes so far; read, never written.
        min_group_size: Floor on n(s), from 1 to G_max. Only pruning goes below it.
        objective: Says what a step pays.
    """

    def __init__(
        self,
        options: ThreeSPOOptions,
        history: StateHistory,
        *,
        min_group_size: int = 1,
        objective: Objective = SUCCESS,
    ) -> None:
        self.objective = objective
        self._options = options
        self._history = history
        self._min_group_size = min_group_size

    def estimate(self, visit: Visit) -> Estimate:
        """Return what the history knows of a state."""
        return self._history.estimate(visit.keys)

    def value(self, visit: Visit) -> float:
        """Return V(s), what a state is expected to go on to return: p(s), and 0 where the task has ended.

        A truncated walk has not ended its task: the state it stopped in keeps its own value. With rewards below zero
        V(s) is p(s) plus the objective's floor.
        """
        return 0.0 if visit.result.terminated else self.estimate(visit).value + self.objective.floor

    def worth(self, visit: Visit) -> float:
        """Return what arriving at a visit is worth: what the step into it paid, and V of it."""
        return self.objective.reward(visit.result) + self.value(visit)

    def score(self, visit: Visit) -> float:
        """Return S(s) in [0, 1]. An end has the score of a state that is always worth what has been paid."""
        return self._score_of(self.worth(visit) if visit.result.terminated else self.value(visit))

    def _score_of(self, worth: float) -> float:
        return scoring.state_score(self.objective.share(worth), self._sharpness)

    def next_score(self, visit: Visit, outcome: float | None = None) -> float:
        """Return S(s') of a state that an action led to, one step nearer to what it is worth.

        Args:
            visit: The state.
            outcome: Worth of arriving there, if a walk went on from the state.
        """
        worth, discount = self.worth(visit), self._options.discount
        surprise = 0.0 if outcome is None else discount * (outcome - worth)
        return scoring.corrected_score(self._score_of(discount * worth), surprise, self._sharpness)

    def group_size(self, visit: Visit) -> int:
        """Return n(s) in [0, G_max]; 0 prunes, which never happens to the first state of a task. Branching takes 1."""
        estimate = self.estimate(visit)
        if visit.parent is not None and self._is_hopeless(estimate):
            return 0
        if self._options.search == "branch":
            return 1
        score = scoring.state_score(estimate.value, self._sharpness)
        return scoring.group_size(score, self._options.num_generations, self._min_group_size)

    def reward(self, origin: Visit, reached: Visit, outcome: float | None = None) -> float:
        """Return R of Eq. 2 for the step from one visit to another, see `next_score`."""
        return sum(self.reward_parts(origin, reached, outcome).values())

    def reward_parts(self, origin: Visit, reached: Visit, outcome: float | None = None) -> dict[str, float]:
        """Return what `reward` is the sum of: novelty, score, success and penalty."""
        options = self._options
        num_visits = self.estimate(origin).num_visits
        weight = scoring.novelty_weight(num_visits, options.novelty_decay_rate, options.novelty_weight)
        penalty = options.invalid_action_penalty * reached.is_inadmissible
        parts = scoring.reward_parts(
            self.score(origin),
            self.next_score(reached, outcome),
            is_novel=weight > 0 and self.is_novel(origin, reached),
            success=self.objective.reward(reached.result),
            novelty_weight=weight,
            success_weight=options.success_weight,
        )
        return parts | {"penalty": -penalty}

    def is_novel(self, origin: Visit, reached: Visit) -> bool:
        """Return whether the state that was reached is new, in the sense of the options; an end is new to its path."""
        state = reached.state_digest
        if self._options.novelty == "changed":
            return state != origin.state_digest
        if self._options.novelty == "training":
            return not self._history.has_seen(reached.keys[0])
        return reached.result.terminated or reached.is_new_on_path

    @property
    def _sharpness(self) -> float:
        options = self._options
        return scoring.sharpness(self._history.num_episodes, options.score_sharpness, options.score_annealing_rate)

    def _is_hopeless(self, estimate: Estimate) -> bool:
        options = self._options
        return scoring.is_hopeless(
            estimate.num_failures, estimate.value, options.max_failures, options.min_success_rate
        )
