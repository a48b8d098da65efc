"""The tables of docs/results.md from the runs of `report.py`, by the contrasts that docs/protocol.md names in advance.

    python benchmarks/report_tables.py
    python benchmarks/report_tables.py --plot docs/report.png
    python benchmarks/report_tables.py --tuning

    area         success averaged over the actions of a run, mean over seeds
    final        success at the end on all 200 tasks, three plays each, mean over seeds, with the 95 % t-interval
    to 60 %      sampled actions at the first evaluation at or above 60 %, median over seeds
    difference   of areas, method minus `branch` with the same seed: mean with its 95 % t-interval
    p            paired permutation test of that difference (all changes of signs), with Holm's correction

The second table compares success after equally many processed tokens, and after equal processor seconds. `--tuning`
shows what tuning chose instead.
"""

import argparse
import json
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from report import METHODS, RESULTS
from scipy import stats
from summarize import Methods, Run, area, final, holm, interval, load, median_actions, plot

REFERENCE = "branch"
SHORT = {
    "learning_rate": "rate",
    "per_device_train_batch_size": "batch",
    "num_generations": "group",
    "max_episodes_per_tree": "walks",
    "novelty_weight": "novelty",
    "dynamic_sampling": "dynamic sampling",
}
"""What the table calls options."""


def permutation_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of paired differences being zero on average: exact, over all changes of signs."""
    values = np.array(differences)
    signs = np.array(list(product((1.0, -1.0), repeat=len(values))))
    return float(np.mean(np.abs(signs @ values) >= abs(values.sum()) - 1e-12))


def differences(methods: Methods, name: str) -> list[float]:
    """Return a method's areas minus the reference's, of the seeds of both."""
    seeds = sorted(methods[name].keys() & methods[REFERENCE].keys())
    return [area(methods[name][seed]) - area(methods[REFERENCE][seed]) for seed in seeds]


def table(methods: Methods) -> str:
    """Return the table of the contrasts, in the protocol's order."""
    names = [name for name in METHODS if name in methods]
    others = {name: differences(methods, name) for name in names if name != REFERENCE}
    p = holm({name: permutation_p(found) for name, found in others.items() if len(found) > 1})
    lines = [
        "| method | seeds | area | final | 95 % interval | to 60 % | to 80 % | difference of areas | p |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        runs = methods[name]
        reached = [median_actions(runs, share) for share in (0.6, 0.8)]
        cells = [name, str(len(runs)), f"{fmean(map(area, runs.values())):.3f}"]
        cells += [f"{fmean(map(final, runs.values())):.1%}", _bounds(interval(list(map(final, runs.values()))))]
        cells += ["–" if n is None else f"{n:,.0f}" for n in reached]
        cells += [_shown(others[name]) if name in others else "–", f"{p[name]:.3f}" if name in p else "–"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def cost_table(methods: Methods) -> str:
    """Return success at equal processed tokens, and at equal processor seconds, as many as every run has."""
    names = [name for name in METHODS if name in methods]
    every = [run for name in names for run in methods[name].values()]
    tokens = min(run["curve"]["tokens"][-1] for run in every)
    seconds = min(run["curve"]["seconds"][-1] for run in every)
    lines = [
        f"| method | success after {tokens:,.0f} processed tokens | after {seconds:.0f} s of one core |",
        "|---|---|---|",
    ]
    for name in names:
        runs = methods[name].values()
        cells = (fmean(_at(run, unit, x) for run in runs) for unit, x in (("tokens", tokens), ("seconds", seconds)))
        lines.append(f"| {name} | {' | '.join(f'{x:.1%}' for x in cells)} |")
    return "\n".join(lines)


def tuning_table(methods: dict[str, Any]) -> str:
    """Return what tuning chose, with its mean area over the development seeds and the areas of the other candidates."""
    lines = ["| method | chosen setting | area | the other two of the second stage |", "|---|---|---|---|"]
    for name, found in sorted(methods.items(), key=lambda item: -item[1]["area"]):
        others = sorted((x["area"] for x in found["second"] if x["settings"] != found["chosen"]), reverse=True)
        shown = ", ".join(f"{SHORT.get(option, option)} {value}" for option, value in found["chosen"].items())
        lines.append(f"| {name} | {shown} | {found['area']:.3f} | {', '.join(f'{x:.3f}' for x in others)} |")
    return "\n".join(lines)


def _at(run: Run, unit: str, budget: float) -> float:
    return float(np.interp(budget, run["curve"][unit], run["curve"]["success"]))


def _bounds(bounds: list[float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.1%} to {bounds[1]:.1%}"


def _shown(found: Sequence[float]) -> str:
    if len(found) < 2:
        return f"{fmean(found):+.3f}"
    half = stats.t.ppf(0.975, len(found) - 1) * stdev(found) / math.sqrt(len(found))
    return f"{fmean(found):+.3f} ± {half:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, default=[RESULTS / "report"])
    parser.add_argument("--plot", type=Path, help="file to draw the curves to")
    parser.add_argument("--tuning", action="store_true", help="show what tuning chose")
    arguments = parser.parse_args()
    if arguments.tuning:
        for file in sorted((RESULTS / "tuning").glob("*_chosen.json")):
            methods = json.loads(file.read_text(encoding="utf-8"))["methods"]
            print(f"### {file.stem.removesuffix('_chosen')}\n\n{tuning_table(methods)}\n")
        return
    environments = load(arguments.runs)
    for environment, methods in environments.items():
        print(f"### {environment}\n\n{table(methods)}\n\n{cost_table(methods)}\n")
    if arguments.plot:
        plot(environments, arguments.plot)


if __name__ == "__main__":
    main()
