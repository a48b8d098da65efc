"""The runs of docs/protocol.md: report tasks and seeds, every method at the setting that tuning chose.

    python benchmarks/report.py --env webshop --budget 2000
    python benchmarks/report.py --env webshop_sparse --budget 2000 --seeds 5

A setting that was tuned in an environment is kept for its other starting points and for the larger one. Seeds come
first, so that the methods have equally many runs whenever it is stopped. Started again, it goes on. `report_tables.py`
makes the tables.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

from compare import WORLDS, run

RESULTS = Path(__file__).parent / "results"
FIRST_SEED = 200
NUM_EVALUATIONS = 6
BASELINES = ("gigpo", "steppo", "steppo_history", "grpo")
CONTROLS = ("branch_at_root", "branch_in_turn", "branch_undecided", "branch_without_novelty")
METHODS = ("branch", *BASELINES, "3spo", *CONTROLS)


def chosen_in(environment: str) -> dict[str, Any]:
    """Return what tuning chose for each method in an environment, whatever its starting point and size."""
    file = RESULTS / "tuning" / f"{environment.partition('_')[0]}_chosen.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))["methods"])


def settings_of(method: str, chosen: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the method of `compare.py` and its options; a control has those of the method that it is a control of."""
    if method == "branch_without_novelty":
        return "branch", chosen["branch"]["chosen"] | {"novelty_weight": 0.0}
    return method, chosen["branch" if method in CONTROLS else method]["chosen"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=WORLDS, required=True)
    parser.add_argument("--budget", type=int, required=True, help="sampled actions of a run")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="to divide the runs among processes")
    parser.add_argument("--folder", type=Path, default=RESULTS / "report", help="one file for every finished run")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    chosen = chosen_in(arguments.env)
    for seed, name in product(range(arguments.first_seed, arguments.first_seed + arguments.seeds), arguments.methods):
        method, settings = settings_of(name, chosen)
        run(
            arguments.env,
            method,
            seed,
            arguments.budget,
            arguments.folder,
            "report",
            name=name,
            num_evaluations=NUM_EVALUATIONS,
            **settings,
        )


if __name__ == "__main__":
    main()
