"""How many states are sampled together: branches that start together, walks in turn, and independent walks.

    python benchmarks/branch_rounds.py --json benchmarks/results/branch_rounds.json

The demo's starting model samples batches and is not trained, in turns with each search, on development tasks and with
the settings that tuning chose. A round is one call for answers, with a prompt for each state that it samples from.
Milliseconds are those of the processor, without updates. Medians over batches.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from typing import Any

from compare import make_trainer
from provenance import provenance
from report import chosen_in
from starting_points import WORLDS

from trl_3spo.algorithm.records import Sample, Visit
from trl_3spo.training.agent_trainer import AgentTrainer
from trl_3spo.training.sampling import PolicySampler

METHODS = ("branch", "branch_in_turn", "branch_at_root")
SEED = 100


class Counting:
    """A sampler that remembers how many states each round had.

    Args:
        sampler: Samples the actions.
    """

    def __init__(self, sampler: PolicySampler) -> None:
        self.rounds: list[int] = []
        self._sampler = sampler

    def sample(self, visits: Sequence[Visit], num_samples: Sequence[int]) -> list[list[Sample]]:
        """Sample, and count."""
        self.rounds.append(len(visits))
        return self._sampler.sample(visits, num_samples)

    def phase(self) -> AbstractContextManager[None]:
        """Return the sampler's."""
        return self._sampler.phase()


def sample_batch(trainer: AgentTrainer[Any]) -> dict[str, float]:
    """Sample a batch and return its numbers."""
    counting = Counting(trainer.sampler)
    began = time.process_time()
    with trainer.sampler.collecting():
        trainer.algorithm.collect(counting, trainer.args.per_device_train_batch_size)
    seconds = time.process_time() - began
    num_actions = sum(counting.rounds)
    return {
        "rounds": len(counting.rounds),
        "prompts_per_round": num_actions / len(counting.rounds),
        "milliseconds_per_action": 1000 * seconds / num_actions,
    }


def measure(world: str, num_batches: int, folder: Path) -> dict[str, dict[str, float]]:
    """Return the medians of every search in an environment, without the first batch: tree sizes are not known then."""
    settings = chosen_in(world)["branch"]["chosen"]
    trainers = {
        name: make_trainer(WORLDS[world], name, SEED, 2000, folder / name, "development", **settings)
        for name in METHODS
    }
    batches: dict[str, list[dict[str, float]]] = {name: [] for name in METHODS}
    for _ in range(num_batches + 1):
        for name, trainer in trainers.items():
            batches[name].append(sample_batch(trainer))
    return {
        name: {key: round(median(batch[key] for batch in found[1:]), 2) for key in found[0]}
        for name, found in batches.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--batches", type=int, default=7)
    arguments = parser.parse_args()
    results: dict[str, Any] = provenance("torch", "transformers", "trl")
    with tempfile.TemporaryDirectory() as folder:
        for world in ("webshop", "alfworld"):
            results[world] = measure(world, arguments.batches, Path(folder, world))
            print(world, json.dumps(results[world], indent=1), flush=True)
    arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
