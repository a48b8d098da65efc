"""How the bookkeeping of a training step grows: with live trees, with the length of episodes, with the history.

    python benchmarks/cost_growth.py --json benchmarks/results/cost_growth.json --plot docs/cost_growth.png

Bookkeeping is all of a sampling round that is not the model's: which states to sample from, their prompts, the actions
taken in the environment, scores, rewards and advantages, ended episodes written to the history. Actions are drawn at
random from the admissible ones of generated ALFWorld games. Milliseconds of processor time, medians over rounds in
which episodes end; one of the three grows and the others stay at 32 trees, 50 steps and an empty history.
"""

import argparse
import importlib.metadata
import json
import platform
import random
import statistics
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

from controls import FRONTIER

from trl_3spo import __version__
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.algorithm.scorer import StateScorer
from trl_3spo.algorithm.three_spo import ThreeSPO
from trl_3spo.environments.alfworld import AlfworldEnv

GROUP_SIZE = 8
USUAL = {"trees": 32, "steps": 50, "states": 0}
GROWTH = {"trees": (8, 32, 128, 512), "steps": (25, 50, 100, 200, 400), "states": (0, 10_000, 100_000, 1_000_000)}
"""Live trees, most steps of an episode, score keys in the history."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    parser.add_argument("--plot", type=Path, help="image to draw the results into; needs matplotlib")
    arguments = parser.parse_args()
    games = AlfworldEnv(generated=6, seed=0)
    curves = {
        name: [{name: value} | measure(games, **(USUAL | {name: value})) for value in values]
        for name, values in GROWTH.items()
    }
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    versions = {
        "python": platform.python_version(),
        "trl_3spo": __version__,
        "numpy": importlib.metadata.version("numpy"),
    }
    results = {"usual": USUAL, "group_size": GROUP_SIZE, "curves": curves, "versions": versions, "commit": head or None}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if arguments.plot:
        plot(curves, arguments.plot)


def measure(games: AlfworldEnv, *, trees: int, steps: int, states: int) -> dict[str, Any]:
    games.max_steps = steps
    options = ThreeSPOOptions(num_generations=GROUP_SIZE, **FRONTIER)
    all_alike = partial(StateScorer, min_group_size=GROUP_SIZE)
    algorithm = ThreeSPO(games, games.tasks(), options, make_scorer=all_alike)
    for first in range(0, states, steps):
        algorithm.history.observe(dict.fromkeys(range(first, min(first + steps, states)), float(first % 3 == 0)))
    rng = random.Random(0)
    # A tree goes one step deeper in a round: when the first episodes have ended, half of the rounds are left.
    milliseconds = [1e3 * round_seconds(games, algorithm, trees * GROUP_SIZE, rng) for _ in range(2 * steps)]
    return {"milliseconds_per_round": round(statistics.median(milliseconds[steps:]), 2)}


def round_seconds(games: AlfworldEnv, algorithm: ThreeSPO, capacity: int, rng: random.Random) -> float:
    """Return the seconds of a sampling round, less those of drawing actions in the policy's place."""
    began = time.process_time()
    plan = algorithm.forest.plan(capacity)
    visits = [expansion.visit for expansion in plan]
    for visit in visits:
        games.prompt(visit.task, visit.observation, visit.turns())
    planned = time.process_time()
    actions = [rng.choices(x.visit.observation.admissible_actions, k=x.num_samples) for x in plan]
    sampled = time.process_time()
    algorithm.forest.record(plan, actions)
    for episode in algorithm.forest.take_ended():
        algorithm.history.observe(episode.worths())
    return time.process_time() - sampled + planned - began


def plot(curves: dict[str, list[dict[str, Any]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(10, 3), layout="constrained")
    labels = {"trees": "live trees", "steps": "most steps of an episode", "states": "score keys in the history"}
    for axis, (name, points) in zip(axes, curves.items(), strict=True):
        axis.plot([point[name] for point in points], [point["milliseconds_per_round"] for point in points], "o-")
        axis.set(xlabel=labels[name], ylim=(0, None))
    axes[0].set_ylabel("milliseconds per round")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
