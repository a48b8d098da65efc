"""How many samples the scores give to the wrong states, over time.

    python benchmarks/allocation_regret.py --json benchmarks/results/allocation_regret.json \\
        --plot docs/allocation_regret.png

The per-state bandit of the paper's theory: the states' success rates stay as they are, and every episode passes one
state, drawn at random, which gets n(s) samples by the package's own history and scores. Someone who knew the success
rates would give the smallest n, 1, to mastered states and the largest, G_max, to the others. The regret is the samples
that differ, added up: too many for mastered states, too few for those that still have to be learned.
"""

import argparse
import json
import random
import statistics
from pathlib import Path
from typing import Any

from provenance import provenance

from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.options import PUBLISHED, ThreeSPOOptions
from trl_3spo.algorithm.records import Visit
from trl_3spo.algorithm.scorer import StateScorer
from trl_3spo.environments.base import Observation, StepResult, Task

GROUP_SIZE = 8
LEARNABLE, MASTERED = (0.02, 0.1, 0.3, 0.5), (0.9, 0.95, 0.99, 1.0)
STATES_PER_RATE = 10
MARKS = tuple(round(10 ** (i / 4)) for i in range(4, 20))
"""Episodes at which regrets are noted, up to 56,000."""

SETTINGS: dict[str, dict[str, Any]] = {
    "published": PUBLISHED,
    "published, α = 1": PUBLISHED | {"score_annealing_rate": 1.0},
    "published, α = 1, no pruning": PUBLISHED | {"score_annealing_rate": 1.0, "max_failures": None},
    "defaults, half-life 2,000": {"history_half_life": 2000.0},
    "λ = 4, no floor, no fading": {"score_sharpness": 4.0, "history_half_life": None},
    "no scores": {},
}


def simulate(options: ThreeSPOOptions, min_group_size: int, seed: int) -> dict[str, list[int]]:
    """Return both regrets at the marks."""
    rng = random.Random(seed)
    history = StateHistory(half_life=options.history_half_life, backoff_strength=options.backoff_strength)
    scorer = StateScorer(options, history, min_group_size=min_group_size)
    states = bandit()
    too_many = too_few = 0
    noted: dict[str, list[int]] = {"too_many": [], "too_few": []}
    for t in range(1, MARKS[-1] + 1):
        visit, rate = rng.choice(states)
        size = scorer.group_size(visit)
        if rate in MASTERED:
            too_many += abs(size - 1)
        else:
            too_few += GROUP_SIZE - size
        history.observe(dict.fromkeys(visit.keys, float(rng.random() < rate)))
        if t in MARKS:
            noted["too_many"].append(too_many)
            noted["too_few"].append(too_few)
    return noted


def bandit() -> list[tuple[Visit, float]]:
    """Return states with their success rates. None is the first of its task, which could not be pruned."""
    task = Task("bandit")
    root = Visit(task, StepResult(Observation("", state_key="root")), None)
    rates = (LEARNABLE + MASTERED) * STATES_PER_RATE
    arms = [StepResult(Observation("", state_key=i)) for i in range(len(rates))]
    return [(Visit(task, arm, None, root, "", 1), rate) for arm, rate in zip(arms, rates, strict=True)]


def mean_regrets(name: str, num_seeds: int) -> dict[str, list[float]]:
    """Return the regrets at the marks, averaged over seeds."""
    options = ThreeSPOOptions(**({"num_generations": GROUP_SIZE, "search": "frontier"} | SETTINGS[name]))
    options.check_options()
    runs = [simulate(options, GROUP_SIZE if name == "no scores" else 1, seed) for seed in range(num_seeds)]
    return {
        name: [statistics.fmean(values) for values in zip(*(run[name] for run in runs), strict=True)]
        for name in runs[0]
    }


def plot(regrets: dict[str, dict[str, list[float]]], file: Path) -> None:
    """Draw both regrets against log t."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 4.2))
    titles = {"too_many": "too many, mastered states", "too_few": "too few, states to learn"}
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        for (setting, values), style in zip(regrets.items(), ("-", "--", ":", "-.", "--", "-"), strict=True):
            axes.plot(MARKS, values[name], style, label=setting)
        axes.set(xscale="log", yscale="symlog", ylim=(0, None), xlabel="episodes t", ylabel="samples", title=title)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="lower center", ncols=3, fontsize="small")
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the regrets to")
    parser.add_argument("--plot", type=Path, help="file to draw them to")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    origin = provenance()
    regrets = {name: mean_regrets(name, arguments.seeds) for name in SETTINGS}
    result = origin | {"seeds": arguments.seeds, "episodes": MARKS, "regrets": regrets}
    arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if arguments.plot:
        plot(regrets, arguments.plot)
    for name, values in regrets.items():
        print(f"{name}: {values['too_many'][-1]:,.0f} too many, {values['too_few'][-1]:,.0f} too few")


if __name__ == "__main__":
    main()
