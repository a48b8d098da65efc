"""Tables of benchmark runs: means with intervals, paired tests, and how many actions a success rate took.

    python benchmarks/summarize.py benchmarks/results/tabular.json
    python benchmarks/summarize.py runs/compare --json summary.json --plot summary.png

Inputs are files of one run or of many, or folders of such files; without any, the committed ones. There, an
environment's report runs take the place of the earlier study's. No mean is taken over different seeds: the methods of
an environment need the same ones, and so do the controls of a method (`no_…` of 3SPO, `branch_…` of `branch_in_turn`),
whose seeds must be among that method's. In the file of `--json`, `tuned` says whether the protocol's tuning chose the
setting (docs/protocol.md).

    final        success rate at the last evaluation, mean over seeds, with the 95 % t-interval of the mean
    area         success rate over the sampled actions, averaged
    to 60 %      sampled actions at the first evaluation at or above 60 %, median over seeds; none if half of the seeds
                 or more did not get there
    all keys     prequential log-loss of the history against the base rate's, nats per visited state, mean over a run;
                 of its score keys together and of each alone, finest first
    p            paired t-tests of final and area against 3SPO's, or a control's against its method's, over seeds, with
                 Holm's correction over a table
"""

import argparse
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

Run = dict[str, Any]
Methods = dict[str, dict[int, Run]]
"""Runs of an environment by method and seed."""

RESULTS = Path(__file__).parent / "results"
EARLIER, REPORT = (RESULTS / "tabular.json", RESULTS / "compare"), RESULTS / "report"
REFERENCE = "3spo"
CONTROLS = {"no_": REFERENCE, "branch_": "branch_in_turn"}
"""What the names of a method's controls begin with."""
SHARES = (60, 80, 90)


def load(paths: Sequence[Path]) -> dict[str, Methods]:
    """Return all runs by environment, method and seed."""
    environments: dict[str, Methods] = defaultdict(lambda: defaultdict(dict))
    for file in (file for path in paths for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])):
        content = json.loads(file.read_text(encoding="utf-8"))
        for run in content.get("runs", [content]):
            runs = environments[run["environment"]][run["method"]]
            if run["seed"] in runs:
                raise SystemExit(f"{file} has seed {run['seed']} of {run['method']} once more; give each run once.")
            runs[run["seed"]] = run
    if not environments:
        raise SystemExit("There are no runs to summarize; make some with benchmarks/compare.py or tabular.py.")
    return environments


def load_committed() -> dict[str, Methods]:
    """Return the committed runs, those of a report where an environment has them."""
    return load([path for path in EARLIER if path.exists()]) | (load([REPORT]) if REPORT.exists() else {})


def require_comparable(environment: str, methods: Methods) -> None:
    """Exit, naming every missing run, unless methods and controls each have the same seeds, and all the same panel."""
    panels = {run["panel"] for runs in methods.values() for run in runs.values() if "panel" in run}
    if len(panels) > 1:
        raise SystemExit(
            f"{environment}: the runs were evaluated on different tasks, panels {', '.join(sorted(panels))}."
        )
    compared = {name: runs for name, runs in methods.items() if not is_control(name)}
    missing = _missing(compared, set().union(*compared.values()))
    for reference in CONTROLS.values():
        controls = controls_of(reference, methods)
        seeds = set().union(*controls.values())
        missing |= _missing(controls, seeds)
        if lacking := sorted(seeds - methods.get(reference, {}).keys()):
            missing[reference] = lacking
    if missing:
        named = "; ".join(f"{name} lacks {', '.join(map(str, seeds))}" for name, seeds in missing.items())
        raise SystemExit(
            f"{environment}: no mean over unequal seeds. {named}. Start the benchmark again with the same arguments to "
            "finish them, or choose seeds that all have with --seeds."
        )


def _missing(methods: Methods, needed: set[int]) -> dict[str, list[int]]:
    return {name: sorted(needed - runs.keys()) for name, runs in methods.items() if needed - runs.keys()}


def is_control(method: str) -> bool:
    """Whether a method is another one with a part switched off."""
    return method.startswith(tuple(CONTROLS)) and method not in CONTROLS.values()


def controls_of(reference: str, methods: Methods) -> Methods:
    """Return the controls of a method."""
    beginnings = tuple(beginning for beginning, name in CONTROLS.items() if name == reference)
    return {name: runs for name, runs in methods.items() if name.startswith(beginnings) and is_control(name)}


def summary(runs: dict[int, Run]) -> dict[str, Any]:
    """Return a method's statistics."""
    finals = [final(run) for run in runs.values()]
    is_tuned = all(run.get("tasks") == "report" for run in runs.values())
    return {
        "seeds": sorted(runs),
        "tuned": is_tuned,
        "report_seeds": sorted(runs) if is_tuned else [],
        "final": statistics.fmean(finals),
        "interval": interval(finals),
        **{f"actions_to_{share}": median_actions(runs, share / 100) for share in SHARES},
        "unique_states_per_action": statistics.fmean(x["unique_states"] / x["sampled_actions"] for x in runs.values()),
    }


def interval(values: Sequence[float]) -> list[float] | None:
    """Return the 95 % t-interval of the mean of shares, within [0, 1]; None of fewer than two."""
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return [max(mean - half, 0.0), min(mean + half, 1.0)]


def median_actions(runs: dict[int, Run], share: float) -> float | None:
    """Return the median over seeds of the actions at the first evaluation at or above a success rate."""
    median = statistics.median(actions_to(run["curve"], share) for run in runs.values())
    return median if math.isfinite(median) else None


def actions_to(curve: dict[str, list[float]], share: float) -> float:
    """Return the actions at the first evaluation at or above a success rate, infinite where there is none."""
    return next((n for n, x in zip(curve["actions"], curve["success"], strict=True) if x >= share), math.inf)


def area(run: Run) -> float:
    """Return the success rate averaged over the actions of a run until its budget, which a last batch may pass."""
    actions, success = run["curve"]["actions"], run["curve"]["success"]
    last = min(run.get("budget", actions[-1]), actions[-1])
    within = [x for x in actions if x < last]
    heights = [*success[: len(within)], float(np.interp(last, actions, success))]
    return float(np.trapezoid(heights, [*within, last]) / last)


def final(run: Run) -> float:
    """Return the success rate at the last evaluation of a run."""
    return float(run["curve"]["success"][-1])


def p_values(methods: Methods, measure: Callable[[Run], float], compared_with: str = REFERENCE) -> dict[str, float]:
    """Return Holm-corrected p-values of every method's measure against another's, over the seeds of both."""
    reference = methods.get(compared_with, {})
    raw = {}
    for name, runs in methods.items():
        seeds = sorted(runs.keys() & reference.keys())
        if name != compared_with and len(seeds) > 1:
            raw[name] = paired_p([measure(runs[seed]) - measure(reference[seed]) for seed in seeds])
    return holm(raw)


def paired_p(differences: Sequence[float]) -> float:
    """Return the p-value of a t-test that paired differences are zero on average; 1 if all of them are."""
    return float(stats.ttest_1samp(differences, 0.0).pvalue) if any(differences) else 1.0


def holm(p: dict[Any, float]) -> dict[Any, float]:
    """Return Holm's step-down correction (Holm 1979) of p-values by any names."""
    corrected = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        highest = max(highest, min(p[name] * (len(p) - rank), 1.0))
        corrected[name] = highest
    return corrected


def table(methods: Methods, compared_with: str = REFERENCE) -> str:
    """Return a Markdown table of methods that have the same seeds, best area first."""
    tests = [p_values(methods, measure, compared_with) for measure in (final, area)]
    lines = [
        "| method | seeds | final | 95 % interval | area | to 60 % | to 80 % | to 90 % | states per action "
        "| p, final | p, area |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    areas = {name: statistics.fmean(map(area, runs.values())) for name, runs in methods.items()}
    for name in sorted(methods, key=lambda name: -areas[name]):
        x = summary(methods[name])
        bounds = "–" if x["interval"] is None else "{:.1%} to {:.1%}".format(*x["interval"])
        reached = [x[f"actions_to_{share}"] for share in SHARES]
        cells = [name, len(x["seeds"]), f"{x['final']:.1%}", bounds, f"{areas[name]:.2f}"]
        cells += ["–" if n is None else f"{n:,.0f}" for n in reached]
        cells += [f"{x['unique_states_per_action']:.4f}", *(f"{p[name]:.3f}" if name in p else "–" for p in tests)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def token_table(methods: Methods) -> str:
    """Return a Markdown table of success after equally many processed tokens, as many as the shortest run has."""
    budget = min(run["curve"]["tokens"][-1] for runs in methods.values() for run in runs.values())
    lines = [f"| method | success after {budget:,.0f} processed tokens | 95 % interval |", "|---|---|---|"]
    for name, runs in methods.items():
        values = [_at_tokens(run["curve"], budget) for run in runs.values()]
        bounds = interval(values)
        shown = "–" if bounds is None else "{:.1%} to {:.1%}".format(*bounds)
        lines.append(f"| {name} | {statistics.fmean(values):.1%} | {shown} |")
    return "\n".join(lines)


def _at_tokens(curve: dict[str, list[float]], budget: float) -> float:
    """Return the success rate at so many tokens, between evaluations linearly."""
    return float(np.interp(budget, curve["tokens"], curve["success"]))


def gain_table(methods: Methods) -> str:
    """Return a Markdown table of how much better histories predict what becomes of states than the base rate does.

    Args:
        methods: All of whose runs have a history.
    """
    alone = {key for runs in methods.values() for run in runs.values() for key in run["predictive_gain"]} - {"all"}
    keys = ["all", *sorted(alone)]
    lines = [f"| method | all keys | {' | '.join(f'key {key}' for key in keys[1:])} |", "|---" * (len(keys) + 1) + "|"]
    for name, runs in methods.items():
        gains = [statistics.fmean(run["predictive_gain"][key] for run in runs.values()) for key in keys]
        lines.append("| " + " | ".join([name, *(f"{gain:+.3f}" for gain in gains)]) + " |")
    return "\n".join(lines)


def tables(environment: str, methods: Methods) -> str:
    """Return all tables of an environment: the methods, and controls beside their method on the controls' seeds."""
    compared = {name: runs for name, runs in methods.items() if not is_control(name)}
    parts = [f"### {environment}", table(compared)]
    if all("tokens" in run["curve"] for runs in compared.values() for run in runs.values()):
        parts.append(token_table(compared))
    if knowing := {x: runs for x, runs in methods.items() if all(run.get("predictive_gain") for run in runs.values())}:
        parts.append(gain_table(knowing))
    for reference in CONTROLS.values():
        if controls := controls_of(reference, methods):
            seeds = set().union(*controls.values())
            beside = {reference: {seed: methods[reference][seed] for seed in seeds}}
            parts.append(table(beside | controls, reference))
    return "\n\n".join(parts)


def plot(environments: dict[str, Methods], file: Path) -> None:
    """Write the mean curves of all methods that are no controls, with 95 % t-intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = (4.2 * len(environments) + 1.6, 3.6)
    figure, panels = pyplot.subplots(1, len(environments), figsize=size, squeeze=False, layout="constrained")
    names = [name for name in dict.fromkeys(chain.from_iterable(environments.values())) if not is_control(name)]
    colors = {name: f"C{i}" for i, name in enumerate(names)}  # the same in every panel: there is one legend
    for axes, (environment, methods) in zip(panels[0], environments.items(), strict=True):
        for name in filter(methods.__contains__, names):
            runs = methods[name].values()
            grid = np.linspace(0, min(run["curve"]["actions"][-1] for run in runs), 101)
            curves = np.array([np.interp(grid, run["curve"]["actions"], run["curve"]["success"]) for run in runs])
            axes.plot(grid, curves.mean(axis=0), color=colors[name])
            if len(curves) > 1:
                bounds = np.array([interval(list(values)) for values in curves.T])
                axes.fill_between(grid, *bounds.T, color=colors[name], alpha=0.12, linewidth=0)
        axes.set(title=environment, xlabel="sampled actions", ylim=(0, 1))
    panels[0][0].set_ylabel("success rate")
    lines = [pyplot.Line2D([], [], color=color) for color in colors.values()]
    figure.legend(lines, names, loc="outside right upper", fontsize="small")
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--json", type=Path, help="file to write the statistics to")
    parser.add_argument("--plot", type=Path, help="file to draw the curves to")
    parser.add_argument("--seeds", type=int, nargs="+", help="take no others")
    arguments = parser.parse_args()
    environments = load(arguments.runs) if arguments.runs else load_committed()
    for environment, methods in environments.items():
        if arguments.seeds is not None:
            for name, runs in methods.items():
                methods[name] = {seed: run for seed, run in runs.items() if seed in arguments.seeds}
        require_comparable(environment, methods)
    print("\n\n".join(tables(*item) for item in environments.items()))
    if arguments.json:
        statistics_of = {
            environment: {name: summary(runs) for name, runs in methods.items()}
            for environment, methods in environments.items()
        }
        arguments.json.write_text(json.dumps(statistics_of, indent=1) + "\n", encoding="utf-8")
    if arguments.plot:
        plot(environments, arguments.plot)


if __name__ == "__main__":
    main()
