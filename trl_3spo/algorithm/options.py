"""3SPO's own options: the part of the configuration that needs neither torch nor TRL."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from trl_3spo.algorithm.objective import ObjectiveName

Novelty = Literal["episode", "changed", "training"]
Baseline = Literal["group", "state", "both", "walks"]
AdvantageScaling = Literal["group", "batch", "none"]
UpdateAfter = Literal["walks", "step"]
Search = Literal["frontier", "best_first", "branch"]

_CHOICES = {
    "novelty": get_args(Novelty),
    "baseline": get_args(Baseline),
    "advantage_scaling": get_args(AdvantageScaling),
    "update_after": get_args(UpdateAfter),
    "search": get_args(Search),
    "objective": get_args(ObjectiveName),
}
_NOT_NEGATIVE = (
    "score_sharpness",
    "score_annealing_rate",
    "novelty_decay_rate",
    "success_weight",
    "backoff_strength",
    "invalid_action_penalty",
)

PUBLISHED: dict[str, Any] = {
    "num_generations": 8,
    "score_sharpness": 0.0,
    "score_annealing_rate": 50.0,
    "max_failures": 10.0,
    "min_success_rate": 0.1,
    "novelty": "changed",
    "novelty_weight": 0.5,
    "novelty_decay_rate": 0.1,
    "success_weight": 1.0,
    "discount": 1.0,
    "outcome_weight": 0.0,
    "baseline": "group",
    "advantage_scaling": "group",
    "update_after": "step",
    "max_episodes_per_tree": None,
    "search": "best_first",
    "history_half_life": None,
    "backoff_strength": 0.0,
}
"""The paper's numbers (arXiv 2606.09961)."""


@dataclass
class ThreeSPOOptions:
    r"""
    Options of 3SPO; [`ThreeSPOConfig`] adds them to GRPOConfig's.

    Parameters:
        num_generations (`int`, *optional*, defaults to `2`):
            G_max, the most actions that are sampled from one state. The paper's, and GRPOConfig's, is 8.

        > Parameters that control the score

        score_sharpness (`float`, *optional*, defaults to `2.0`):
            λ₀ ≥ 0 of S(s) = exp(−λ(t) · p(s)), λ(t) = λ₀ + α · ln t. The paper's is 0.
        discount (`float`, *optional*, defaults to `0.95`):
            γ in (0, 1]. A success that took k more steps counts γᵏ in p(s), so that a wasted step costs something. The
            paper's is 1.
        history_half_life (`float`, *optional*, defaults to `300.0`):
            Number of completed episodes after which a count has decayed to one half. `None` keeps counts for ever (the
            paper).
        backoff_strength (`float`, *optional*, defaults to `8.0`):
            κ ≥ 0, the number of visits of a state that weigh as much as what its coarser score keys say. At 0 the
            coarser keys count only for states that have never been seen.

        > Parameters that control the reward and the advantage

        objective (`str`, *optional*, defaults to `"success"`):
            What is maximised. `"success"`: how often tasks are solved. `"reward"`: what the environment pays, scaled by
            its `reward_range`; p(s) is then the discounted return that is expected, as a share of the most there is.
        novelty_weight (`float`, *optional*, defaults to `0.05`):
            ω₀ in [0, 0.5], the weight of novelty in a state never visited. A little of it keeps actions that change
            nothing from paying. The paper's is 0.5. With `baseline="walks"` it is added to the scaled advantage,
            relative to its mean, as in the baselines: 0.3 there is about 0.05 elsewhere.
        novelty (`str`, *optional*, defaults to `"episode"`):
            In which sense a state is new. `"episode"`: it is met for the first time on this path. `"changed"`: it
            differs from the state before (the authors' code). `"training"`: its finest score key is in no completed
            episode (the paper's figure 9).
        outcome_weight (`float`, *optional*, defaults to `0.9`):
            λ in [0, 1] of the λ-returns that correct the scores of the states a walk passed. At 0 (the paper) rewards
            are differences of scores alone.
        invalid_action_penalty (`float`, *optional*, defaults to `0.0`):
            Taken off the reward of an action that is not admissible, at least 0.
        baseline (`str`, *optional*, defaults to `"both"`):
            What a reward is compared with. `"group"`: the mean of its group (the paper). `"state"`: only S(s), which
            S(s) − S(s') holds already. `"both"`: S(s), and the fraction 1 − 1/k of the group's mean, k being the number
            of different actions in the group. `"walks"`: the λ-return of s' with the mean of p(s) and of what the other
            walks through s returned; scores then take no part in the reward.
        advantage_scaling (`str`, *optional*, defaults to `"batch"`):
            `"batch"` subtracts the mean of the batch and divides by its standard deviation; with `baseline="walks"` it
            divides by the root mean square alone. `"group"` divides by the standard deviation of the group (the paper),
            and needs `baseline="group"`. `"none"` does neither.

        > Parameters that control the search

        update_after (`str`, *optional*, defaults to `"walks"`):
            When the policy is updated. `"walks"`: when the trees of some tasks have been searched to their ends.
            `"step"`: after every step of many trees (the paper); needs `outcome_weight=0`.
        search (`str`, *optional*, defaults to `"frontier"`):
            Where a tree goes on. `"frontier"`: n(s) actions are tried in each state; a walk goes on from the state the
            first one reached, and later walks start at the others. Walks are the policy's own. `"best_first"`: walks go
            on from the best state a group reached (the paper). `"branch"`: one action is sampled in each state, and
            every walk but the first starts in a state on the tree's walks, drawn without looking at how they ended.
        max_episodes_per_tree (`int`, *optional*, defaults to `2`):
            Number of ended walks after which a task's tree is finished, at least 1. `None` goes on until the frontier
            is empty (the paper); needs `update_after="step"`.

        > Parameters that only the paper's setting uses

        score_annealing_rate (`float`, *optional*, defaults to `0.0`):
            α ≥ 0 of λ(t). The paper's 50 makes every group size 0, 1 or G_max; see docs/algorithm.md.
        max_failures (`float`, *optional*):
            ξ > 0. A state with this many failures and a success rate of at most ζ is pruned (n = 0). `None` prunes
            nothing. The first state of a task is never pruned.
        min_success_rate (`float`, *optional*, defaults to `0.1`):
            ζ in [0, 1].
        novelty_decay_rate (`float`, *optional*, defaults to `0.0`):
            ω_k ≥ 0 of ω(N) = ω₀ · exp(−ω_k · N). The paper's is 0.1.
        success_weight (`float`, *optional*, defaults to `0.0`):
            Factor ≥ 0 on R_success in the reward. At 0 a success is the score of the state it ends in, exp(−λ). The
            paper's 1 makes the last step of an episode worth many times any other.
    """

    num_generations: int = field(default=2, metadata={"help": "G_max: most actions sampled from one state."})
    score_sharpness: float = field(default=2.0, metadata={"help": "λ₀ of S = exp(−(λ₀ + α · ln t) · p)."})
    discount: float = field(default=0.95, metadata={"help": "γ: a success k steps later counts γᵏ."})
    history_half_life: float | None = field(
        default=300.0, metadata={"help": "Episodes after which a count has decayed to one half. None keeps counts."}
    )
    backoff_strength: float = field(default=8.0, metadata={"help": "κ of the back-off along score keys, in visits."})
    objective: ObjectiveName = field(
        default="success", metadata={"help": "What is maximised: 'success' or the environment's 'reward'."}
    )
    novelty_weight: float = field(default=0.05, metadata={"help": "ω₀ of ω(N) = ω₀ · exp(−ω_k · N)."})
    novelty: Novelty = field(default="episode", metadata={"help": "Sense of new: 'episode', 'changed' or 'training'."})
    outcome_weight: float = field(
        default=0.9, metadata={"help": "λ of the λ-returns that correct the scores along a walk."}
    )
    invalid_action_penalty: float = field(
        default=0.0, metadata={"help": "Taken off the reward of an action that is not admissible."}
    )
    baseline: Baseline = field(
        default="both", metadata={"help": "What rewards are compared with: 'group', 'state', 'both' or 'walks'."}
    )
    advantage_scaling: AdvantageScaling = field(
        default="batch", metadata={"help": "What advantages are divided by the standard deviation of."}
    )
    update_after: UpdateAfter = field(
        default="walks", metadata={"help": "When the policy is updated: after 'walks' or after every 'step'."}
    )
    search: Search = field(
        default="frontier", metadata={"help": "Where a tree goes on: 'frontier', 'best_first' or 'branch'."}
    )
    max_episodes_per_tree: int | None = field(
        default=2, metadata={"help": "Ended walks after which a tree is finished. None empties the frontier."}
    )
    score_annealing_rate: float = field(default=0.0, metadata={"help": "α of S = exp(−(λ₀ + α · ln t) · p)."})
    max_failures: float | None = field(
        default=None, metadata={"help": "ξ: failures after which a state is pruned. None prunes nothing."}
    )
    min_success_rate: float = field(default=0.1, metadata={"help": "ζ: success rate above which no state is pruned."})
    novelty_decay_rate: float = field(default=0.0, metadata={"help": "ω_k of ω(N) = ω₀ · exp(−ω_k · N)."})
    success_weight: float = field(default=0.0, metadata={"help": "Factor on R_success in the reward."})

    def check_options(self) -> None:
        """Check ranges and consistency.

        Raises:
            ValueError: With the option, its value, what is required and what to do.
        """
        for name, choices in _CHOICES.items():
            _require(getattr(self, name) in choices, name, getattr(self, name), f"one of {', '.join(choices)}")
        for name in _NOT_NEGATIVE:
            _require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        for name in ("max_failures", "history_half_life"):
            value = getattr(self, name)
            _require(value is None or value > 0, name, value, "above 0, or None to switch it off")
        _require(0 <= self.min_success_rate <= 1, "min_success_rate", self.min_success_rate, "between 0 and 1")
        _require(0 <= self.novelty_weight <= 0.5, "novelty_weight", self.novelty_weight, "between 0 and 0.5")
        _require(0 < self.discount <= 1, "discount", self.discount, "above 0 and at most 1")
        _require(0 <= self.outcome_weight <= 1, "outcome_weight", self.outcome_weight, "between 0 and 1")
        episodes = self.max_episodes_per_tree
        _require(episodes is None or episodes >= 1, "max_episodes_per_tree", episodes, "at least 1, or None")
        self._check_consistency()

    def _check_consistency(self) -> None:
        has_score = self.score_sharpness > 0 or self.score_annealing_rate > 0
        remedy = "above 0 where score_annealing_rate is 0, or all states have the same score"
        _require(has_score, "score_sharpness", self.score_sharpness, remedy)
        is_relative = self.advantage_scaling != "group" or self.baseline == "group"
        remedy = f"'batch' or 'none' where baseline is {self.baseline!r}. Or set baseline='group'"
        _require(is_relative, "advantage_scaling", self.advantage_scaling, remedy)
        if self.update_after == "step":
            remedy = "0 where update_after is 'step': the outcome of a walk is not known then. Or set it to 'walks'"
            _require(self.outcome_weight == 0, "outcome_weight", self.outcome_weight, remedy)
            has_walks = self.search == "branch" or self.baseline == "walks"
            remedy = "'walks' where search is 'branch' or baseline is 'walks', which need walks that have ended"
            _require(not has_walks, "update_after", self.update_after, remedy)
        else:
            remedy = "at least 1 where update_after is 'walks', because updates wait for the ends of trees"
            _require(self.max_episodes_per_tree is not None, "max_episodes_per_tree", None, remedy)


def _require(is_met: bool, name: str, value: Any, requirement: str) -> None:
    if not is_met:
        raise ValueError(f"{name} is {value!r}; it must be {requirement}.")
