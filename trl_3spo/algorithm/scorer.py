"""Scores, group sizes and rewards of states: the equations applied to what the history knows."""

from trl_3spo.algorithm import scoring
from trl_3spo.algorithm.history import Estimate, StateHistory
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.algorithm.records import Visit


class StateScorer:
    """Answers, for a visit, what its state is worth, how many samples it gets and what a step into it earns.

    Args:
        options: Checked options.
        history: Completed episodes so far; read, never written.
        min_group_size: Floor on n(s), from 1 to G_max. Only pruning goes below it.
    """

    def __init__(self, options: ThreeSPOOptions, history: StateHistory, *, min_group_size: int = 1) -> None:
        self._options = options
        self._history = history
        self._min_group_size = min_group_size

    def estimate(self, visit: Visit) -> Estimate:
        """Return what the history knows of a state."""
        return self._history.estimate(visit.keys)

    def value(self, visit: Visit) -> float:
        """Return p(s) in [0, 1]; where the task has ended, 1 or 0.

        A truncated walk has not ended its task: the state it stopped in keeps its own value.
        """
        if visit.result.terminated:
            return float(visit.result.success)
        return self.estimate(visit).value

    def score(self, visit: Visit) -> float:
        """Return S(s) in [0, 1]; where the task has ended, it is that of a state that always, or never, succeeds."""
        return scoring.state_score(self.value(visit), self._sharpness)

    def next_score(self, visit: Visit, outcome: float | None = None) -> float:
        """Return S(s') of a state that an action led to, one step nearer to what it is worth.

        Args:
            visit: The state.
            outcome: What it turned out to be worth, in [0, 1], where a walk went on from it.
        """
        value = self.value(visit)
        discount = self._options.discount
        score = scoring.state_score(discount * value, self._sharpness)
        surprise = 0.0 if outcome is None else discount * (outcome - value)
        return scoring.corrected_score(score, surprise, self._sharpness)

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
        options = self._options
        num_visits = self.estimate(origin).num_visits
        weight = scoring.novelty_weight(num_visits, options.novelty_decay_rate, options.novelty_weight)
        penalty = options.invalid_action_penalty * reached.is_inadmissible
        return -penalty + scoring.transition_reward(
            self.score(origin),
            self.next_score(reached, outcome),
            is_novel=weight > 0 and self.is_novel(origin, reached),
            success=reached.result.success,
            novelty_weight=weight,
            success_weight=options.success_weight,
        )

    def is_novel(self, origin: Visit, reached: Visit) -> bool:
        """Return whether the state that was reached is new, in the sense of the options."""
        state = reached.state_digest
        if self._options.novelty == "changed":
            return state != origin.state_digest
        if self._options.novelty == "training":
            return not self._history.has_seen(reached.keys[0])
        return reached.is_new_on_path

    @property
    def _sharpness(self) -> float:
        options = self._options
        return scoring.sharpness(self._history.num_episodes, options.score_sharpness, options.score_annealing_rate)

    def _is_hopeless(self, estimate: Estimate) -> bool:
        options = self._options
        return scoring.is_hopeless(
            estimate.num_failures, estimate.value, options.max_failures, options.min_success_rate
        )
