"""The tables of docs/results.md from the runs of `report.py`, by the contrasts that docs/protocol.md names in advance.

    python benchmarks/report_tables.py
    python benchmarks/report_tables.py --plot docs/report.png
    python benchmarks/report_tables.py --tuning

    area         success averaged over the actions of a run, mean over seeds
    final        success at the end on all 200 tasks, three plays each, mean over seeds, with the 95 % t-interval
    score        WebShop's score at the end, as large as success in percent where rewards are success
    to 60 %      sampled actions at the first evaluation at or above 60 %, median over seeds
    difference   first method minus second with the same seed: mean with its 95 % t-interval
    p            paired permutation test of that difference (all changes of signs). Holm's correction is over both
                 measures of the contrasts named in advance, and over those of the later ones

The third table compares success after equally many processed tokens, and after equal processor seconds. `--tuning`
shows what tuning chose instead.
"""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from report import BASELINES, CONTROLS, METHODS, RESULTS
from scipy import stats
from summarize import Methods, Run, area, final, holm, interval, load, median_actions, plot

CONTRASTS = (
    *(("branch_in_turn", name) for name in BASELINES),
    ("branch_in_turn", "branch_at_root"),
    *(("3spo", name) for name in BASELINES),
    ("branch_in_turn", "branch_in_turn_without_novelty"),
    ("branch_in_turn_undecided", "branch_in_turn"),
)
"""Pairs of methods that docs/protocol.md names in advance, in its order."""

LATER = (("branch", "branch_in_turn"), ("branch_by_value", "branch"), ("branch_by_value", "branch_in_turn"))
"""Pairs that it added, which are corrected among themselves."""

EARLIER = ("branch_by_value", "branch_in_turn_undecided", "branch_in_turn_without_novelty")
"""Variants whose code is not kept: another bonus for novelty, and controls of `branch_in_turn`."""

SHOWN = (*METHODS, *EARLIER)

MEASURES = {"area": area, "final": final}
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


def differences(methods: Methods, pair: tuple[str, str], measure: Callable[[Run], float]) -> list[float]:
    """Return what a measure is larger in the first method than in the second, for the seeds of both."""
    one, other = (methods.get(name, {}) for name in pair)
    return [measure(one[seed]) - measure(other[seed]) for seed in sorted(one.keys() & other.keys())]


def table(methods: Methods) -> str:
    """Return the table of all methods."""
    lines = [
        "| method | seeds | area | final | 95 % interval | score | to 60 % | to 80 % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in filter(methods.get, SHOWN):
        runs = methods[name]
        ends = [run["curve"]["return"][-1] for run in runs.values()]
        cells = [name, str(len(runs)), f"{fmean(map(area, runs.values())):.3f}"]
        cells += [f"{fmean(map(final, runs.values())):.1%}", _bounds(interval(list(map(final, runs.values()))))]
        cells.append(f"{100 * fmean(ends):.1f}")
        reached = [median_actions(runs, share) for share in (0.6, 0.8)]
        cells += ["–" if n is None else f"{n:,.0f}" for n in reached]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def contrast_table(methods: Methods) -> str:
    """Return the table of the contrasts, in the protocol's order."""
    lines = [
        "| contrast | seeds | difference of areas | p | difference in the end | p |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + _contrasts(methods, CONTRASTS) + _contrasts(methods, LATER))


def _contrasts(methods: Methods, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return the lines of some contrasts, which are corrected together."""
    found = {
        (pair, name): values
        for pair, (name, measure) in product(pairs, MEASURES.items())
        if len(values := differences(methods, pair, measure)) > 1
    }
    p = holm({key: permutation_p(values) for key, values in found.items()})
    lines = []
    for pair in pairs:
        if (pair, "area") in found:
            measured = (f"{_shown(found[pair, name])} | {p[pair, name]:.3f}" for name in MEASURES)
            lines.append(f"| {' – '.join(pair)} | {len(found[pair, 'area'])} | {' | '.join(measured)} |")
    return lines


def cost_table(methods: Methods) -> str:
    """Return success at equal processed tokens, and at equal processor seconds, as many as every run has."""
    names = [name for name in SHOWN if name in methods]
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
        print(f"### {environment}\n\n{table(methods)}\n\n{contrast_table(methods)}\n\n{cost_table(methods)}\n")
    if file := arguments.plot:
        shown = ["branch_in_turn", *(name for name in METHODS if name not in CONTROLS)]
        plot({x: {name: found[name] for name in shown if name in found} for x, found in environments.items()}, file)


if __name__ == "__main__":
    main()
