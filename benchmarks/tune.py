"""Equal tuning for every method, on development tasks and seeds: as many settings for each, in two stages.

    python benchmarks/tune.py --env webshop --budget 1000 --folder benchmarks/results/tuning

The first stage tries the method's own setting and nine others on one seed. The nine are an orthogonal array of four
factors with three levels: every two levels of different factors meet once, so no setting is missed by a draw. Three
settings go on to all development seeds, with twice the actions: the best two by area, and the levels that were best on
average. The chosen setting has the largest mean area there. Runs have four evaluations. Every run is a file of
`compare.py` and is not repeated; `ENV_chosen.json` has the result.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from compare import METHODS, WORLDS, run, run_name
from provenance import provenance
from summarize import area as area_of

NUM_BEST, NUM_EVALUATIONS = 2, 4
SEEDS = (100, 101, 102)

ARRAY = ("0000", "0111", "0222", "1012", "1120", "1201", "2021", "2102", "2210")
"""Levels of the four factors in each of nine settings: Taguchi's L9."""

Levels = Sequence[dict[str, Any]]

RATES = {
    "webshop": [{"learning_rate": rate} for rate in (16e-4, 32e-4, 64e-4)],  # lower ones were worse for all in pilots
    "alfworld": [{"learning_rate": rate} for rate in (8e-4, 16e-4, 32e-4)],  # the shop's: StepPO unlearned
}
ACTIONS = [{"per_device_train_batch_size": size} for size in (96, 192, 384)]
EPISODES = [{"per_device_train_batch_size": size} for size in (8, 16, 32)]  # about as many actions
GROUPS = [{"num_generations": size} for size in (2, 4, 8)]


def extras(novelty_weight: float) -> Levels:
    """Return the last factor of the baselines: nothing, novelty, or groups without signal replaced."""
    return [{}, {"novelty_weight": novelty_weight}, {"dynamic_sampling": True}]


FACTORS: dict[str, tuple[Levels, Levels, Levels]] = {
    "branch": (
        ACTIONS,
        [{"max_episodes_per_tree": number} for number in (2, 4, 8)],
        [{"novelty_weight": weight} for weight in (0.0, 0.1, 0.3)],
    ),
    "3spo": (
        ACTIONS,
        [{"num_generations": n, "max_episodes_per_tree": walks} for n, walks in ((2, 1), (2, 2), (4, 2))],
        [{"novelty_weight": weight} for weight in (0.0, 0.05, 0.1)],
    ),
    # Advantages that are divided by their spread have one near 1: the bonus is as large a share of it as in 3SPO.
    "grpo": (EPISODES, GROUPS, extras(0.4)),
    "gigpo": (EPISODES, GROUPS, extras(0.4)),
    "steppo": (EPISODES, GROUPS, extras(0.05)),
    "steppo_history": (EPISODES, GROUPS, extras(0.05)),
}


def setting(environment: str, method: str, levels: Sequence[int]) -> dict[str, Any]:
    """Return the options of a method at one level of each factor: the learning rate and the method's three."""
    factors = (RATES[environment.partition("_")[0]], *FACTORS[method])
    return {k: v for factor, level in zip(factors, levels, strict=True) for k, v in factor[level].items()}


def best_levels(areas: Sequence[float]) -> list[int]:
    """Return for each factor the level with the largest mean area over the settings of the array."""
    return [
        max(range(3), key=lambda level: fmean(x for row, x in zip(ARRAY, areas, strict=True) if int(row[i]) == level))
        for i in range(4)
    ]


def area(environment: str, method: str, settings: dict[str, Any], seed: int, budget: int, folder: Path) -> float:
    """Make a run, or read it, and return the area under its success curve, in [0, 1]."""
    folder = folder / str(budget)
    folder.mkdir(parents=True, exist_ok=True)
    cheap = {"num_evaluations": NUM_EVALUATIONS, "num_last_plays": 0}
    run(environment, method, seed, budget, folder, "development", **cheap, **settings)
    return area_of(
        json.loads((folder / f"{run_name(environment, method, seed, settings)}.json").read_text(encoding="utf-8"))
    )


def tune(environment: str, method: str, budget: int, folder: Path) -> dict[str, Any]:
    """Return the chosen setting of a method, with the areas of both stages."""
    tried = [setting(environment, method, [int(level) for level in row]) for row in ARRAY]
    areas = [area(environment, method, x, SEEDS[0], budget, folder) for x in tried]
    first = [(area(environment, method, {}, SEEDS[0], budget, folder), {}), *zip(areas, tried, strict=True)]
    first.sort(key=lambda pair: -pair[0])
    kept = [x for _, x in first[:NUM_BEST]]
    kept.append(setting(environment, method, best_levels(areas)))
    if kept[-1] in kept[:-1]:
        kept[-1] = first[NUM_BEST][1]
    second = [(fmean(area(environment, method, x, seed, 2 * budget, folder) for seed in SEEDS), x) for x in kept]
    best, chosen = max(second, key=lambda pair: pair[0])
    return {"chosen": chosen, "area": round(best, 4), "first": _rounded(first), "second": _rounded(second)}


def _rounded(pairs: list[tuple[float, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{"area": round(area, 4), "settings": settings} for area, settings in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=WORLDS, required=True)
    parser.add_argument("--methods", nargs="+", choices=[x for x in METHODS if x in FACTORS], default=list(FACTORS))
    parser.add_argument("--budget", type=int, required=True, help="sampled actions of a run of the first stage")
    parser.add_argument("--folder", type=Path, required=True, help="files of the runs, and chosen.json")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file = arguments.folder / f"{arguments.env}_chosen.json"
    found = json.loads(file.read_text(encoding="utf-8"))["methods"] if file.exists() else {}
    for method in arguments.methods:
        found[method] = tune(arguments.env, method, arguments.budget, arguments.folder)
        head = provenance("torch", "transformers", "trl") | {"seeds": SEEDS, "budget": arguments.budget}
        file.write_text(json.dumps(head | {"methods": found}, indent=1) + "\n", encoding="utf-8")
        print(f"{arguments.env} {method}: {found[method]['chosen']}, area {found[method]['area']:.2f}", flush=True)


if __name__ == "__main__":
    main()
