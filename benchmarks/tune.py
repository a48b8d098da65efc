"""Equal tuning for every method, on development tasks and seeds: as many settings for each, in two stages.

    python benchmarks/tune.py --env webshop --budget 2000 --folder runs/tuning

The first stage tries `NUM_SETTINGS` settings on one seed: the method's own, and others drawn from its grid. The best
`NUM_KEPT` by area go on to all development seeds, with twice the actions. The chosen setting has the largest mean area
there. Runs have four evaluations. Every run is a file of `compare.py` and is not repeated;
`ENV_chosen.json` has the result.
"""

import argparse
import json
import random
from itertools import cycle, product
from pathlib import Path
from statistics import fmean
from typing import Any

from compare import METHODS, WORLDS, run, run_name
from provenance import provenance
from summarize import area as area_of

NUM_SETTINGS, NUM_KEPT, NUM_EVALUATIONS = 10, 3, 4
SEEDS = (100, 101, 102)

RATES = (16e-4, 32e-4, 64e-4)
"""Every method is tried with each of them equally often. Its own rate, 4e-4, was below these for all in pilots."""

TREES = {"per_device_train_batch_size": (96, 192, 384)}
EPISODES = {
    "per_device_train_batch_size": (8, 16, 32),
    "num_generations": (2, 4, 8),
    "dynamic_sampling": (False, True),
}
GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "3spo": TREES | {"num_generations": (2, 4), "max_episodes_per_tree": (1, 2, 4), "novelty_weight": (0.0, 0.05)},
    "branch": TREES | {"max_episodes_per_tree": (2, 4, 8), "novelty_weight": (0.0, 0.3)},
    # Advantages that are divided by their spread have one near 1: the bonus is as large a share of it as in 3SPO.
    "grpo": EPISODES | {"novelty_weight": (0.0, 0.4)},
    "gigpo": EPISODES | {"novelty_weight": (0.0, 0.4)},
    "steppo": EPISODES | {"novelty_weight": (0.0, 0.05)},
    "steppo_history": EPISODES | {"novelty_weight": (0.0, 0.05)},
}


def settings_of(method: str) -> list[dict[str, Any]]:
    """Draw the settings to try: the method's own first, then others of its grid, each learning rate equally often."""
    grid = GRIDS[method]
    every = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    drawn = random.Random(method).sample(every, NUM_SETTINGS - 1)
    return [{}, *({"learning_rate": rate} | settings for rate, settings in zip(cycle(RATES), drawn, strict=False))]


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
    first = [(area(environment, method, x, SEEDS[0], budget, folder), x) for x in settings_of(method)]
    first.sort(key=lambda pair: -pair[0])
    second = [
        (fmean(area(environment, method, x, seed, 2 * budget, folder) for seed in SEEDS), x)
        for _, x in first[:NUM_KEPT]
    ]
    best, chosen = max(second, key=lambda pair: pair[0])
    return {"chosen": chosen, "area": round(best, 4), "first": _rounded(first), "second": _rounded(second)}


def _rounded(pairs: list[tuple[float, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{"area": round(area, 4), "settings": settings} for area, settings in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=WORLDS, required=True)
    parser.add_argument("--methods", nargs="+", choices=[x for x in METHODS if x in GRIDS], default=list(GRIDS))
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
