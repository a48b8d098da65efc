"""3SPO, its controls and the baselines in four small worlds, where a policy is a table and success is known exactly.

    python benchmarks/tabular.py --json benchmarks/results/tabular.json
    python benchmarks/summarize.py benchmarks/results/tabular.json

The policy ascends the advantages of every batch at once: one group (3SPO after every step), the trees that fit
(`defaults`), or eight episodes (the baselines). The learning rate of each method and world has the largest area of a
grid, over half of the actions and on other seeds; controls have 3SPO's. Equal seeds have equal tasks and policies. Runs
that the file has are not repeated.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from provenance import provenance
from tabular_methods import METHODS, TUNED, TableSampler, make_algorithm
from tabular_worlds import WORLDS, TablePolicy, TabularEnv

Run = dict[str, Any]

NUM_POINTS = 40
BUDGET = 40_000
RATES = (0.3, 0.8, 2.0, 6.0, 20.0)
TUNING_SEEDS = (1000, 1001)
KEYS = ("environment", "method", "learning_rate", "seed", "area")


def play(world: str, method: str, learning_rate: float, seed: int, budget: int) -> Run:
    """Train one policy and return its success over the sampled actions."""
    env = TabularEnv(WORLDS[world], seed, scores_by_text=method == "published")
    policy = TablePolicy(env, seed, learning_rate)
    sampler = TableSampler(policy)
    algorithm, capacity = make_algorithm(env, method, seed)
    actions, success, sampled = [0], [policy.success_rate()], 0
    while sampled < budget:
        sampler.learn(algorithm.collect(sampler, capacity))
        metrics = algorithm.metrics()
        sampled += int(metrics["sampled_actions"][0])
        if sampled >= min(len(actions) * budget // NUM_POINTS, budget):
            actions.append(sampled)
            success.append(policy.success_rate())
    return {
        "environment": world,
        "method": method,
        "seed": seed,
        "learning_rate": learning_rate,
        "sampled_actions": sampled,
        "unique_states": int(metrics["unique_states"][0]),
        "curve": {"actions": actions, "success": [round(x, 4) for x in success]},
    }


def area(run: Run) -> float:
    """Return the mean success over the actions of a run."""
    curve = run["curve"]
    return float(np.trapezoid(curve["success"], curve["actions"]) / curve["actions"][-1])


class Study:
    """The runs of a file, which is written after every one of them."""

    def __init__(self, file: Path, budget: int) -> None:
        self._file = file
        self._budget = budget
        self._head = provenance("numpy") | {"budget": budget}
        known = (
            json.loads(file.read_text(encoding="utf-8"))
            if file.exists()
            else {"budget": budget, "tuning": [], "runs": []}
        )
        if known["budget"] != budget:
            raise SystemExit(f"{file} has runs of {known['budget']} actions, not of {budget}; choose another file.")
        self.tuning, self.runs = known["tuning"], known["runs"]

    def tune(self, world: str, method: str) -> float:
        """Return the learning rate whose runs on the tuning seeds have the largest area."""
        known = {tuple(x[name] for name in KEYS[:-1]): x["area"] for x in self.tuning}
        areas = dict.fromkeys(RATES, 0.0)
        for rate, seed in product(RATES, TUNING_SEEDS):
            key = (world, method, rate, seed)
            if key not in known:
                known[key] = round(area(play(*key, self._budget // 2)), 4)
                self.tuning.append(dict(zip(KEYS, (*key, known[key]), strict=True)))
                self._save()
            areas[rate] += known[key]
        return max(RATES, key=lambda rate: areas[rate])

    def run(self, world: str, method: str, seed: int) -> None:
        """Make a run, unless it is there."""
        if any((x["environment"], x["method"], x["seed"]) == (world, method, seed) for x in self.runs):
            return
        rate = self.tune(world, method if method in TUNED else "3spo")
        run = play(world, method, rate, seed, self._budget) | {"commit": self._head["commit"]}
        self.runs.append(run)
        self._save()
        print(f"{world} {method} {seed}: area {area(run):.2f}, final {run['curve']['success'][-1]:.2f}", flush=True)

    def _save(self) -> None:
        lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in self._head.items()]
        for name, runs in {"tuning": self.tuning, "runs": self.runs}.items():
            lines.append(f' "{name}": [\n' + ",\n".join("  " + json.dumps(run) for run in runs) + "\n ]")
        self._file.with_suffix(".partial").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        self._file.with_suffix(".partial").replace(self._file)


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
