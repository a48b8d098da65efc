"""3SPO's own options: the part of the configuration that needs neither torch nor TRL."""

from dataclasses import dataclass, field
from typing import Any

NOVELTIES = ("episode", "changed", "training")
BASELINES = ("group", "state", "both")
NOT_NEGATIVE = (
    "score_sharpness",
    "score_annealing_rate",
    "novelty_decay_rate",
    "score_difference_weight",
    "success_weight",
    "backoff_strength",
)
PUBLISHED: dict[str, Any] = {
    "score_sharpness": 0.0,
    "score_annealing_rate": 50.0,
    "max_failures": 10.0,
    "min_success_rate": 0.1,
    "novelty": "changed",
    "novelty_weight": 0.5,
    "novelty_decay_rate": 0.1,
    "advantage_delta": 1e-4,
    "success_weight": 1.0,
    "discount": 1.0,
    "outcome_weight": 0.0,
    "baseline": "group",
    "min_group_size": 0,
    "max_episodes_per_tree": None,
    "follows_best": True,
    "history_half_life": None,
    "backoff_strength": 0.0,
}
"""The paper's numbers (arXiv 2606.09961)."""


@dataclass
class ThreeSPOOptions:
    r"""
    Options of scores, rewards, search and history; [`ThreeSPOConfig`] adds them to GRPOConfig's.

    Parameters:
        score_sharpness (`float`, *optional*, defaults to `2.0`):
            λ₀ ≥ 0 of S(s) = exp(−λ(t) · p(s)), λ(t) = λ₀ + α · ln t. The paper's is 0.
        score_annealing_rate (`float`, *optional*, defaults to `0.0`):
            α ≥ 0. The paper's 50 makes every group size 0, 1 or G_max; see docs/algorithm.md.
        max_failures (`float`, *optional*):
            ξ > 0: a state with this many failures and a success rate of at most ζ is pruned (n = 0). `None` prunes
            nothing. First states of a task are never pruned.
        min_success_rate (`float`, *optional*, defaults to `0.1`):
            ζ in [0, 1].
        novelty (`str`, *optional*, defaults to `"episode"`):
            In which sense a state is new: `"episode"` (first time on this path), `"changed"` (differs from the state
            before; the authors' code), `"training"` (its finest score key is in no completed episode so far; the
            paper's figure 9).
        novelty_weight (`float`, *optional*, defaults to `0.05`):
            ω₀ in [0, 0.5], the weight of novelty in a state never visited. A little of it keeps actions that change
            nothing from paying. The paper's is 0.5.
        novelty_decay_rate (`float`, *optional*, defaults to `0.0`):
            ω_k ≥ 0 of ω(N) = ω₀ · exp(−ω_k · N). The paper's is 0.1.
        score_difference_weight (`float`, *optional*, defaults to `1.0`):
            Factor ≥ 0 on S(s) − S(s') in the reward; 0 leaves success and novelty.
        success_weight (`float`, *optional*, defaults to `0.0`):
            Factor ≥ 0 on R_success in the reward. At 0 a success is the score of the state it ends in, exp(−λ), and an
            action is worth what it adds to the chances; the paper's 1 makes the last step of an episode worth many
            times any other.
        discount (`float`, *optional*, defaults to `0.95`):
            γ in (0, 1]: a success that took k more steps counts γᵏ in success rates, so that a wasted step costs
            something. The paper's is 1.
        outcome_weight (`float`, *optional*, defaults to `0.9`):
            λ in [0, 1]: how far what became of a walk takes the place of the scores of the states it passed. At 0 (the
            paper) rewards are differences of scores alone, and the policy is updated right after the step; above 0 it
            is updated when the walks have ended.
        baseline (`str`, *optional*, defaults to `"both"`):
            What a reward is relative to: `"group"` is the mean of its group (the paper), so that a group whose actions
            all agree teaches nothing; `"state"` is only what S(s) − S(s') holds already, the score of the state the
            group shares; `"both"` takes as much of the group's mean as its k different actions tell, 1 − 1/k of it.
        advantage_delta (`float`, *optional*, defaults to `0.1`):
            δ > 0 of A = (R − mean R) / (std R + δ), with `scale_rewards="group"`. Small values blow groups whose
            rewards hardly differ up to full-size advantages; GRPO's is 1e-4.
        min_group_size (`int`, *optional*, defaults to `0`):
            Floor on n(s), from 0 to `num_generations`.
        has_adaptive_group_size (`bool`, *optional*, defaults to `True`):
            Whether n(s) follows the score; `False` samples `num_generations` actions from every state.
        max_episodes_per_tree (`int`, *optional*, defaults to `2`):
            Ended walks after which a task's tree is finished, at least 1; `None` goes on until the frontier is empty
            (the paper).
        has_backtracking (`bool`, *optional*, defaults to `True`):
            Whether a tree returns to the states its groups reached but its walk did not take.
        follows_best (`bool`, *optional*, defaults to `False`):
            Whether a walk goes on from the best of the states a group reached (the paper), or from the one its first
            action reached: then walks are the policy's own, and success rates what it achieves, not what the best of
            n actions does.
        history_half_life (`float`, *optional*, defaults to `300.0`):
            Completed episodes after which a count has faded to one half; `None` keeps counts for ever (the paper).
        backoff_strength (`float`, *optional*, defaults to `8.0`):
            κ ≥ 0, how many visits of a state outweigh what is known of its coarser kin; 0 uses no kin where a state
            has been seen.
    """

    score_sharpness: float = field(default=2.0, metadata={"help": "λ₀ of S = exp(−(λ₀ + α · ln t) · p)."})
    score_annealing_rate: float = field(default=0.0, metadata={"help": "α of S = exp(−(λ₀ + α · ln t) · p)."})
    max_failures: float | None = field(
        default=None, metadata={"help": "ξ: failures after which a state is pruned. None prunes nothing."}
    )
    min_success_rate: float = field(default=0.1, metadata={"help": "ζ: success rate above which no state is pruned."})
    novelty: str = field(
        default="episode", metadata={"help": "Sense of new: 'episode', 'changed' or 'training'.", "choices": NOVELTIES}
    )
    novelty_weight: float = field(default=0.05, metadata={"help": "ω₀ of ω(N) = ω₀ · exp(−ω_k · N)."})
    novelty_decay_rate: float = field(default=0.0, metadata={"help": "ω_k of ω(N) = ω₀ · exp(−ω_k · N)."})
    score_difference_weight: float = field(default=1.0, metadata={"help": "Factor on S(s) − S(s') in the reward."})
    success_weight: float = field(default=0.0, metadata={"help": "Factor on R_success in the reward."})
    discount: float = field(default=0.95, metadata={"help": "γ: a success k steps later counts γᵏ."})
    outcome_weight: float = field(
        default=0.9, metadata={"help": "λ: how far outcomes of walks take the place of scores in rewards."}
    )
    baseline: str = field(
        default="both",
        metadata={"help": "What rewards are relative to: 'group', 'state' or 'both'.", "choices": BASELINES},
    )
    advantage_delta: float = field(default=0.1, metadata={"help": "δ of A = (R − mean R) / (std R + δ)."})
    min_group_size: int = field(default=0, metadata={"help": "Floor on n(s)."})
    has_adaptive_group_size: bool = field(default=True, metadata={"help": "Whether n(s) follows the state score."})
    max_episodes_per_tree: int | None = field(
        default=2, metadata={"help": "Ended walks after which a tree is finished. None empties the frontier."}
    )
    has_backtracking: bool = field(
        default=True, metadata={"help": "Whether trees return to states not walked on from."}
    )
    follows_best: bool = field(
        default=False,
        metadata={"help": "Whether walks go on from the best state of a group, or from its first action's."},
    )
    history_half_life: float | None = field(
        default=300.0, metadata={"help": "Episodes after which a count has faded to one half. None keeps counts."}
    )
    backoff_strength: float = field(default=8.0, metadata={"help": "κ of the back-off along score keys, in visits."})

    def check_options(self, max_group_size: int) -> None:
        """Check ranges and consistency.

        Args:
            max_group_size: G_max.

        Raises:
            ValueError: With the option, its value, what is required and what to do.
        """
        for name in NOT_NEGATIVE:
            _require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        for name in ("max_failures", "history_half_life"):
            value = getattr(self, name)
            _require(value is None or value > 0, name, value, "above 0, or None to switch it off")
        has_reward = self.score_difference_weight > 0 or self.success_weight > 0
        remedy = "above 0 where score_difference_weight is 0, or no action earns anything"
        _require(has_reward, "success_weight", self.success_weight, remedy)
        _require(self.advantage_delta > 0, "advantage_delta", self.advantage_delta, "above 0; GRPO uses 1e-4")
        _require(0 <= self.min_success_rate <= 1, "min_success_rate", self.min_success_rate, "between 0 and 1")
        _require(0 <= self.novelty_weight <= 0.5, "novelty_weight", self.novelty_weight, "between 0 and 0.5")
        _require(0 < self.discount <= 1, "discount", self.discount, "above 0 and at most 1")
        _require(0 <= self.outcome_weight <= 1, "outcome_weight", self.outcome_weight, "between 0 and 1")
        _require(self.novelty in NOVELTIES, "novelty", self.novelty, f"one of {', '.join(NOVELTIES)}")
        _require(self.baseline in BASELINES, "baseline", self.baseline, f"one of {', '.join(BASELINES)}")
        episodes = self.max_episodes_per_tree
        _require(episodes is None or episodes >= 1, "max_episodes_per_tree", episodes, "at least 1, or None")
        is_awaited = self.outcome_weight > 0
        remedy = "at least 1 where outcome_weight is above 0, because updates wait for the ends of trees"
        _require(episodes is not None or not is_awaited, "max_episodes_per_tree", episodes, remedy)
        self._check_group_sizes(max_group_size)

    def _check_group_sizes(self, max_group_size: int) -> None:
        allowed = f"between 0 and num_generations ({max_group_size})"
        _require(0 <= self.min_group_size <= max_group_size, "min_group_size", self.min_group_size, allowed)
        has_score = self.score_sharpness > 0 or self.score_annealing_rate > 0
        remedy = "above 0 together with score_annealing_rate, or has_adaptive_group_size=False to sample without scores"
        _require(has_score or not self.has_adaptive_group_size, "score_sharpness", self.score_sharpness, remedy)


def _require(is_met: bool, name: str, value: Any, requirement: str) -> None:
    if not is_met:
        raise ValueError(f"{name} is {value!r}; it must be {requirement}.")
