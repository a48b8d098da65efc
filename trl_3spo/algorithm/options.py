"""3SPO's own options: the part of the configuration that needs neither torch nor TRL."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from trl_3spo.algorithm.objective import ObjectiveName

Novelty = Literal["episode", "changed", "training"]
Baseline = Literal["group", "state", "both"]
AdvantageScaling = Literal["group", "batch", "none"]
UpdateAfter = Literal["walks", "step"]
Search = Literal["branch", "frontier", "best_first"]

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
            Largest number of actions sampled per state (G_max). `search="branch"` samples one. The paper and GRPOConfig
            use 8.

        > Parameters that control the score

        score_sharpness (`float`, *optional*, defaults to `2.0`):
            λ₀ ≥ 0 in S(s) = exp(−λ(t) · p(s)) with λ(t) = λ₀ + α · ln t. The paper uses 0.
        discount (`float`, *optional*, defaults to `0.95`):
            Discount factor γ in (0, 1]. A success k steps later counts γᵏ in p(s), so a wasted step has a cost. The
            paper uses 1.
        history_half_life (`float`, *optional*, defaults to `300.0`):
            Number of completed episodes after which a count in the history has decayed to one half. `None`: counts do
            not decay (the paper).
        backoff_strength (`float`, *optional*, defaults to `8.0`):
            κ ≥ 0, in visits. After κ visits a state's own success rate weighs as much as the rate of its coarser score
            key. At 0 the coarser keys count only for states that have never been visited.

        > Parameters that control the reward and the advantage

        objective (`str`, *optional*, defaults to `"success"`):
            Quantity to maximize. `"success"`: the success rate. `"reward"`: the environment's rewards, scaled by its
            `reward_range`; p(s) is then the expected discounted return as a share of that range.
        novelty_weight (`float`, *optional*, defaults to `0.3`):
            ω₀ in [0, 0.5], the weight of the novelty bonus. A small bonus keeps the policy from learning actions that
            change nothing. With `search="branch"` the bonus is added to the scaled advantage, and its mean is
            subtracted. Other searches add it to the reward; 0.05 there is about as much. Where fewer than about
            one in twenty episodes succeed, it can outweigh the successes: set 0. The paper uses 0.5.
        novelty (`str`, *optional*, defaults to `"episode"`):
            Condition under which a state is new. `"episode"`: first visit on this path. `"changed"`: different from the
            previous state (the authors' code). `"training"`: its finest score key is in no completed episode (the
            paper's figure 9).
        outcome_weight (`float`, *optional*, defaults to `0.9`):
            λ in [0, 1] of the λ-returns. They correct the state scores along an episode by how it ended. At 0 (the
            paper) rewards are differences of state scores alone.
        invalid_action_penalty (`float`, *optional*, defaults to `0.0`):
            Penalty ≥ 0 for an action that is not admissible, subtracted from its reward.
        baseline (`str`, *optional*, defaults to `"both"`):
            Baseline of the rewards. `"group"`: the mean of the group (the paper). `"state"`: only S(s), which the
            reward S(s) − S(s') already contains. `"both"`: S(s), and the group mean times 1 − 1/k, where k is the
            number of different actions in the group. `search="branch"` has its own: the mean of p(s) and of the
            returns of the tree's other episodes through s.
        advantage_scaling (`str`, *optional*, defaults to `"batch"`):
            Scaling of the advantages. `"batch"`: subtract the batch mean and divide by the batch standard deviation.
            With `search="branch"`, only divide by the root mean square, of this batch or of the last ones if larger.
            `"group"`: divide by the standard deviation of the group (the paper); needs `baseline="group"`. `"none"`:
            neither.

        > Parameters that control the search

        update_after (`str`, *optional*, defaults to `"walks"`):
            Time of the update. `"walks"`: after the search trees of some tasks have finished. `"step"`: after every
            step of many trees (the paper); needs `outcome_weight=0`.
        search (`str`, *optional*, defaults to `"branch"`):
            State from which a tree continues. `"branch"`: one action is sampled in each state. The first episode starts
            at the task's first state. The others start in states of the first, all of them equally likely. Every step
            is then compared with the other episodes through its state; state scores take no part.
            `"frontier"`: n(s) actions are tried in each state. The episode continues from the state that the first
            action reached; later episodes start at the other states. `"best_first"`: the episode continues from the
            best state of a group (the paper).
        max_episodes_per_tree (`int`, *optional*, defaults to `4`):
            Number of finished episodes that end a search tree, at least 1. `None`: the tree ends when its frontier is
            empty (the paper); needs `update_after="step"`.

        > Parameters that only the paper's setting uses

        score_annealing_rate (`float`, *optional*, defaults to `0.0`):
            α ≥ 0 in λ(t). The paper's 50 makes every group size 0, 1 or G_max; see docs/algorithm.md.
        max_failures (`float`, *optional*):
            ξ > 0. A state with at least ξ failures and a success rate of at most ζ is pruned (n = 0). `None`: no
            pruning. The first state of a task is never pruned.
        min_success_rate (`float`, *optional*, defaults to `0.1`):
            ζ in [0, 1], the success rate above which a state is never pruned.
        novelty_decay_rate (`float`, *optional*, defaults to `0.0`):
            ω_k ≥ 0 in the bonus ω(N) = ω₀ · exp(−ω_k · N), where N counts visits. The paper uses 0.1.
        success_weight (`float`, *optional*, defaults to `0.0`):
            Weight ≥ 0 of R_success in the reward. At 0 a success is rewarded only by the score of its final state,
            exp(−λ). The paper uses 1, which makes the last step of an episode worth many times any other step.
    """

    num_generations: int = field(default=2, metadata={"help": "Largest number of actions sampled per state (G_max)."})
    score_sharpness: float = field(
        default=2.0, metadata={"help": "λ₀ in the state score S = exp(−(λ₀ + α · ln t) · p)."}
    )
    discount: float = field(
        default=0.95, metadata={"help": "Discount factor γ per step: a success k steps later counts γᵏ."}
    )
    history_half_life: float | None = field(
        default=300.0,
        metadata={"help": "Completed episodes after which a count has decayed to one half; None: no decay."},
    )
    backoff_strength: float = field(
        default=8.0, metadata={"help": "κ, in visits: weight of the coarser score keys in a state's success rate."}
    )
    objective: ObjectiveName = field(
        default="success", metadata={"help": "Quantity to maximize: 'success' or the environment's 'reward'."}
    )
    novelty_weight: float = field(
        default=0.3, metadata={"help": "ω₀, weight of the novelty bonus ω(N) = ω₀ · exp(−ω_k · N)."}
    )
    novelty: Novelty = field(
        default="episode",
        metadata={"help": "Condition under which a state is new: 'episode', 'changed' or 'training'."},
    )
    outcome_weight: float = field(
        default=0.9,
        metadata={"help": "λ of the λ-returns that correct state scores by how the episode ended; 0: scores alone."},
    )
    invalid_action_penalty: float = field(
        default=0.0, metadata={"help": "Penalty for an action that is not admissible, subtracted from its reward."}
    )
    baseline: Baseline = field(
        default="both", metadata={"help": "Baseline of the rewards: 'group', 'state' or 'both'."}
    )
    advantage_scaling: AdvantageScaling = field(
        default="batch",
        metadata={"help": "Scaling of the advantages by a standard deviation: 'batch', 'group' or 'none'."},
    )
    update_after: UpdateAfter = field(
        default="walks", metadata={"help": "Time of the update: after whole episodes ('walks') or after every 'step'."}
    )
    search: Search = field(
        default="branch",
        metadata={"help": "State from which a search tree continues: 'branch', 'frontier' or 'best_first'."},
    )
    max_episodes_per_tree: int | None = field(
        default=4, metadata={"help": "Finished episodes that end a search tree; None: until the frontier is empty."}
    )
    score_annealing_rate: float = field(
        default=0.0, metadata={"help": "α in the state score S = exp(−(λ₀ + α · ln t) · p)."}
    )
    max_failures: float | None = field(
        default=None, metadata={"help": "ξ: failures from which a state can be pruned; None: no pruning."}
    )
    min_success_rate: float = field(
        default=0.1, metadata={"help": "ζ: success rate above which a state is never pruned."}
    )
    novelty_decay_rate: float = field(
        default=0.0, metadata={"help": "ω_k in the novelty bonus ω(N) = ω₀ · exp(−ω_k · N)."}
    )
    success_weight: float = field(default=0.0, metadata={"help": "Weight of a success (R_success) in the reward."})

    @property
    def largest_group(self) -> int:
        """Largest number of samples with the same prompt."""
        return 1 if self.search == "branch" else self.num_generations

    def check_options(self) -> None:
        """Check ranges and consistency.

        Raises:
            ValueError: An option is out of range or contradicts another; the error has its value and the remedy.
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
        if self.search == "branch":
            is_relative = self.advantage_scaling != "group"
            remedy = "'batch' or 'none' where search is 'branch', which samples no groups"
        _require(is_relative, "advantage_scaling", self.advantage_scaling, remedy)
        if self.update_after == "step":
            remedy = "0 where update_after is 'step': the outcome of a walk is not known then. Or set it to 'walks'"
            _require(self.outcome_weight == 0, "outcome_weight", self.outcome_weight, remedy)
            remedy = "'walks' where search is 'branch', which needs walks that have ended. Or set search='best_first'"
            _require(self.search != "branch", "update_after", self.update_after, remedy)
        else:
            remedy = "at least 1 where update_after is 'walks', because updates wait for the ends of trees"
            _require(self.max_episodes_per_tree is not None, "max_episodes_per_tree", None, remedy)


def _require(is_met: bool, name: str, value: Any, requirement: str) -> None:
    if not is_met:
        raise ValueError(f"{name} is {value!r}; it must be {requirement}.")
