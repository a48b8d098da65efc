"""The methods of the tabular benchmark: 3SPO in several settings, its controls, and the baselines."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from controls import FRONTIER, Control, controls
from tabular_worlds import TablePolicy, TabularEnv

from trl_3spo.algorithm.base import Algorithm, Row
from trl_3spo.algorithm.credit import group_relative
from trl_3spo.algorithm.options import PUBLISHED, ThreeSPOOptions
from trl_3spo.algorithm.records import Sample, Visit
from trl_3spo.algorithm.scorer import StateScorer
from trl_3spo.algorithm.three_spo import ThreeSPO
from trl_3spo.baselines.episodes import EpisodeGRPO, GiGPO
from trl_3spo.baselines.step_po import GroupValues, StepPO

SCORES_ALONE: dict[str, Any] = {"update_after": "step", "outcome_weight": 0.0, "discount": 1.0, "baseline": "group"}
MENDED = SCORES_ALONE | {
    "num_generations": 4,
    "score_sharpness": 4.0,
    "novelty_weight": 0.125,
    "novelty_decay_rate": 0.1,
    "success_weight": 1.0,
    "advantage_scaling": "group",
    "max_episodes_per_tree": 4,
    "search": "best_first",
    "history_half_life": 100.0,
    "backoff_strength": 0.0,
}
"""The settings for which these worlds were made: small groups at many states, counts that decay as tables learn."""
MENDED_FLOOR, MENDED_DELTA = 3, 0.05
STEPWISE = SCORES_ALONE | {
    "num_generations": 8,
    "novelty_decay_rate": 0.1,
    "advantage_scaling": "none",
    "search": "frontier",
    "max_episodes_per_tree": 4,
    "novelty_weight": 0.05,
    "history_half_life": 2000.0,
}
STEPWISE_FLOOR = 2

EPISODES_PER_GROUP = 8
BASELINES: dict[str, Any] = {
    "grpo": EpisodeGRPO,
    "gigpo": GiGPO,
    "steppo": partial(StepPO, values=GroupValues(0.95), discount=0.95),
}
TUNED = ("3spo", "defaults", "branch", "stepwise", "published", *BASELINES)
SWITCHES = {
    "no_novelty_decay": Control({"novelty_decay_rate": 0.0}),
    "no_best_first": Control({"search": "frontier"}),
    "no_success_reward": Control({"success_weight": 0.0}),
    "no_group_size_floor": Control(parts={"make_scorer": StateScorer}),
}
CONTROLS = (
    "no_scores",
    "no_budget_scores",
    "no_score_difference",
    "no_adaptive_group_size",
    "no_novelty",
    "no_backtracking",
    "no_fading",
)
METHODS = (*TUNED, *CONTROLS, *SWITCHES)


class TableSampler:
    """A table as the policy that algorithms sample from."""

    def __init__(self, policy: TablePolicy) -> None:
        self._policy = policy

    def sample(self, visits: Sequence[Visit], num_samples: Sequence[int]) -> list[list[Sample]]:
        """Sample so many actions at every visit."""
        return [self._at(visit.observation.text, count) for visit, count in zip(visits, num_samples, strict=True)]

    def _at(self, text: str, count: int) -> list[Sample]:
        prompt = [{"role": "user", "content": text}]
        return [Sample(prompt, [], [int(action)], action) for action in self._policy.sample(text, count)]

    def learn(self, rows: Sequence[Row]) -> None:
        """Ascend the advantages of sampled actions."""
        self._policy.update([(x.sample.prompt[0]["content"], x.sample.action, x.advantage) for x in rows])

    def phase(self) -> AbstractContextManager[None]:
        """Do nothing: there is one process."""
        return nullcontext()


def make_algorithm(env: TabularEnv, method: str, seed: int) -> tuple[Algorithm, int]:
    """Return the algorithm of a method, and the capacity of its batches."""
    common: dict[str, Any] = {"seed": seed, "max_idle_rounds": 1}
    if method in BASELINES:
        return BASELINES[method](env, env.tasks(), group_size=EPISODES_PER_GROUP, **common), EPISODES_PER_GROUP
    options, parts = _settings(method, seed)
    algorithm = ThreeSPO(env, env.tasks(), options, **parts, **common)
    if options.update_after == "step":
        return algorithm, options.num_generations
    most_walks = options.max_episodes_per_tree or 1
    group_size = 1 if options.search == "branch" else options.num_generations
    return algorithm, most_walks * env.world.max_steps * group_size  # of the largest tree


def _settings(method: str, seed: int) -> tuple[ThreeSPOOptions, dict[str, Any]]:
    if method == "defaults":
        return ThreeSPOOptions(advantage_scaling="none", **FRONTIER), {}
    if method == "branch":
        return ThreeSPOOptions(advantage_scaling="none", novelty_weight=0.05), {}
    if method == "published":
        return ThreeSPOOptions(**PUBLISHED), {}
    if method == "stepwise":
        floor = {"min_group_size": STEPWISE_FLOOR}
        return ThreeSPOOptions(**STEPWISE), {"make_scorer": partial(StateScorer, **floor)}
    floor = {"min_group_size": MENDED_FLOOR}
    known = controls(ThreeSPOOptions(**MENDED), seed=seed, **floor) | SWITCHES | {"3spo": Control()}
    parts = {
        "make_scorer": partial(StateScorer, **floor),
        "advantages": lambda rewards, _: group_relative(rewards, delta=MENDED_DELTA),
    }
    return ThreeSPOOptions(**(MENDED | known[method].options)), parts | known[method].parts
