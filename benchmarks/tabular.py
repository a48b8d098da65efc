"""3SPO, its controls and the baselines in four small worlds, where a policy is a table and success is known exactly.

    python benchmarks/tabular.py --json benchmarks/results/tabular.json
    python benchmarks/summarize.py benchmarks/results/tabular.json

Search, history, scoring, rollouts and credit are the package's own; the policy is a softmax per observation that
ascends the advantages of every group (3SPO) or of every eight episodes (the others) at once. The learning rate of each
method and world is the one of a grid with the largest area under the curve, over half of the actions and on seeds that
are not reported; controls have 3SPO's. With equal seeds all methods find the same tasks and begin with the same policy.
Runs that the file has are not repeated.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from controls import CONTROLS, switch_off
from numpy.typing import NDArray
from provenance import provenance
from tabular_worlds import WORLDS, TablePolicy, TabularEnv

from trl_3spo.algorithm.credit import whiten
from trl_3spo.algorithm.forest import Expansion, Rollout
from trl_3spo.algorithm.options import PUBLISHED, ThreeSPOOptions
from trl_3spo.algorithm.records import Episode, Group
from trl_3spo.algorithm.task_order import Collector
from trl_3spo.baselines.credit import gigpo, group_values, grpo, step_po
from trl_3spo.baselines.episodes import EpisodeRollout

Groups = list[list[Episode]]
Credit = Callable[[Groups], list[NDArray[np.float64]]]
Run = dict[str, Any]

MENDED = {
    "score_sharpness": 4.0,
    "novelty_weight": 0.125,
    "novelty_decay_rate": 0.1,
    "success_weight": 1.0,
    "discount": 1.0,
    "outcome_weight": 0.0,
    "baseline": "group",
    "advantage_delta": 0.05,
    "min_group_size": 3,
    "max_episodes_per_tree": 4,
    "follows_best": True,
    "history_half_life": 100.0,
    "backoff_strength": 0.0,
}
"""The settings for which these worlds were made: small groups at many states, counts that fade as tables learn."""

STEPWISE = {
    "novelty_decay_rate": 0.1,
    "discount": 1.0,
    "outcome_weight": 0.0,
    "baseline": "group",
    "min_group_size": 2,
    "max_episodes_per_tree": 4,
    "history_half_life": 2000.0,
}
"""Scores alone: without outcomes and their discount."""

GROUP_SIZE = 4
GROUP_SIZES = {"defaults": 2, "stepwise": 8, "published": 8}
"""Of those that have another."""
EPISODES_PER_GROUP = 8
NUM_POINTS = 40
BUDGET = 40_000
RATES = (0.3, 0.8, 2.0, 6.0, 20.0)
TUNING_SEEDS = (1000, 1001)


def step_po_credit(groups: Groups) -> list[NDArray[np.float64]]:
    """Return StepPO's whitened advantages, with V from the group's equal states."""
    advantages = step_po(groups, group_values(groups, gamma=0.95), gamma=0.95, lam=1.0)
    among = np.concatenate(advantages)
    return [whiten(x, among) for x in advantages]


BASELINES: dict[str, Credit] = {"grpo": grpo, "gigpo": gigpo, "steppo": step_po_credit}
TUNED = ("3spo", "defaults", "stepwise", "published", *BASELINES)
SWITCHES = CONTROLS | {
    "no_group_size_floor": {"min_group_size": 0},
    "no_novelty_decay": {"novelty_decay_rate": 0.0},
    "no_best_first": {"follows_best": False},
    "no_success_reward": {"success_weight": 0.0},
}
METHODS = (*TUNED, *SWITCHES)


def learn_by_search(env: TabularEnv, policy: TablePolicy, method: str, seed: int) -> Iterator[Collector]:
    """Update a policy after every group that a search samples, or every tree where outcomes count, for ever."""
    named = {"defaults": {}, "stepwise": STEPWISE, "published": PUBLISHED}
    options = ThreeSPOOptions(**named.get(method, MENDED | SWITCHES.get(method, {})))
    size = GROUP_SIZES.get(method, GROUP_SIZE)
    options.check_options(size)
    is_scaled = method not in ("defaults", "stepwise")
    rollout = Rollout(env, options, env.tasks(), max_group_size=size, seed=seed, is_scaled=is_scaled)
    switch_off(method, rollout, options, size, seed)
    collect = collect_tree if options.outcome_weight > 0 else collect_group
    while True:
        groups = collect(rollout, policy, size)
        episodes = rollout.take_ended()
        if options.outcome_weight > 0:
            groups = rollout.judge(groups, episodes)
        policy.update(
            [(x.origin.observation.text, y.visit.action or "", y.advantage) for x in groups for y in x.transitions]
        )
        for episode in episodes:
            rollout.history.observe(episode.worths(options.discount))
        yield rollout


def collect_group(rollout: Rollout, policy: TablePolicy, size: int) -> list[Group]:
    """Sample at one state."""
    return sample(rollout, policy, rollout.plan(size))


def collect_tree(rollout: Rollout, policy: TablePolicy, size: int) -> list[Group]:
    """Search one tree to its end."""
    rollout.start(1)
    groups: list[Group] = []
    while plan := rollout.plan_living():
        groups += sample(rollout, policy, plan)
    return groups


def sample(rollout: Rollout, policy: TablePolicy, plan: Sequence[Expansion]) -> list[Group]:
    """Take the policy's actions at the states of a plan."""
    return rollout.record(plan, [policy.sample(x.visit.observation.text, x.num_samples) for x in plan])


def learn_by_episodes(env: TabularEnv, policy: TablePolicy, method: str, seed: int) -> Iterator[Collector]:
    """Update a policy after every group of whole episodes, for ever."""
    rollout = EpisodeRollout(env, env.tasks(), group_size=EPISODES_PER_GROUP, seed=seed)
    while True:
        rollout.begin(1)
        while waiting := rollout.waiting():
            rollout.record([policy.sample(visit.observation.text, 1)[0] for visit in waiting.values()])
        groups = rollout.groups()
        steps = [step for x in chain.from_iterable(groups) for step in pairwise(x.end.path())]
        advantages = np.concatenate(BASELINES[method](groups)).tolist()
        policy.update([(a.observation.text, b.action or "", x) for (a, b), x in zip(steps, advantages, strict=True)])
        yield rollout


def play(world: str, method: str, learning_rate: float, seed: int, budget: int) -> Run:
    """Train one policy and return its success over the sampled actions."""
    env = TabularEnv(WORLDS[world], seed, scores_by_text=method == "published")
    policy = TablePolicy(env, seed, learning_rate)
    learn = learn_by_episodes if method in BASELINES else learn_by_search
    actions, success = [0], [policy.success_rate()]
    for rollout in learn(env, policy, method, seed):
        sampled = rollout.counts["sampled_actions"]
        if sampled >= min(len(actions) * budget // NUM_POINTS, budget):
            actions.append(sampled)
            success.append(policy.success_rate())
        if sampled >= budget:
            break
    return {
        "environment": world,
        "method": method,
        "seed": seed,
        "learning_rate": learning_rate,
        "sampled_actions": sampled,
        "unique_states": rollout.num_states,
        "curve": {"actions": actions, "success": [round(x, 4) for x in success]},
    }


def area(run: Run) -> float:
    """Return the mean success over the actions of a run."""
    actions = run["curve"]["actions"]
    return float(np.trapezoid(run["curve"]["success"], actions) / actions[-1])


class Study:
    """The runs of a file, which is written after every one of them."""

    def __init__(self, file: Path, budget: int) -> None:
        self._file = file
        self._budget = budget
        self._head = provenance("numpy") | {"budget": budget}
        known = json.loads(file.read_text()) if file.exists() else {"budget": budget, "tuning": [], "runs": []}
        if known["budget"] != budget:
            raise SystemExit(f"{file} has runs of {known['budget']} actions, not of {budget}; choose another file.")
        self.tuning: list[Run] = known["tuning"]
        self.runs: list[Run] = known["runs"]

    def tune(self, world: str, method: str) -> float:
        """Return the learning rate whose runs on the tuning seeds have the largest area."""
        known = {(x["environment"], x["method"], x["learning_rate"], x["seed"]): x["area"] for x in self.tuning}
        areas = dict.fromkeys(RATES, 0.0)
        for rate, seed in product(RATES, TUNING_SEEDS):
            key = (world, method, rate, seed)
            if key not in known:
                known[key] = round(area(play(*key, self._budget // 2)), 4)
                names = ("environment", "method", "learning_rate", "seed", "area")
                self.tuning.append(dict(zip(names, (*key, known[key]), strict=True)))
                self._save()
            areas[rate] += known[key]
        return max(RATES, key=lambda rate: areas[rate])

    def run(self, world: str, method: str, seed: int) -> None:
        """Make a run, unless it is there."""
        if any((x["environment"], x["method"], x["seed"]) == (world, method, seed) for x in self.runs):
            return
        rate = self.tune(world, method if method in TUNED else "3spo")
        run = play(world, method, rate, seed, self._budget)
        self.runs.append(run)
        self._save()
        print(f"{world} {method} {seed}: area {area(run):.2f}, final {run['curve']['success'][-1]:.2f}", flush=True)

    def _save(self) -> None:
        lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in self._head.items()]
        for name, runs in {"tuning": self.tuning, "runs": self.runs}.items():
            rows = ",\n".join("  " + json.dumps(run) for run in runs)
            lines.append(f' "{name}": [\n{rows}\n ]')
        partial = self._file.with_suffix(".partial")
        partial.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        partial.replace(self._file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file of the runs, which goes on where it stands")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=BUDGET, help="sampled actions of a run")
    arguments = parser.parse_args()
    study = Study(arguments.json, arguments.budget)
    for seed, world, method in product(range(arguments.seeds), arguments.worlds, arguments.methods):
        study.run(world, method, seed)


if __name__ == "__main__":
    main()
