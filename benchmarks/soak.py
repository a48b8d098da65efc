"""Thousands of episodes in environments that raise and hang: what is dropped, what is learned, what is left over.

    python benchmarks/soak.py --episodes 10000 --json benchmarks/results/soak.json

One in twenty walks meets an exception and one in a hundred a step that hangs. Half of these faults are gone when the
call is made again; the others cost the episode. Afterwards every episode that the history has seen is played again in
an environment without faults, and a history is written of these.
"""

import argparse
import json
import logging
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from faulty import Faults, FaultyEnvironment
from provenance import provenance
from soak_updates import train

from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.options import PUBLISHED, ThreeSPOOptions
from trl_3spo.algorithm.records import Episode, Sample, Visit, first_visit, next_visit
from trl_3spo.algorithm.three_spo import ThreeSPO
from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.base import Environment, Task
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.environments.failures import FailurePolicy
from trl_3spo.environments.guarded import GuardedEnvironment

STEP_TIMEOUT = 0.3
CAPACITY = 64
NUM_ALFWORLD_GAMES = 20


class RandomPolicy:
    """Draws from the admissible actions."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def sample(self, visits: Sequence[Visit], num_samples: Sequence[int]) -> list[list[Sample]]:
        """Sample so many actions at every visit."""
        return [[self._at(visit) for _ in range(count)] for visit, count in zip(visits, num_samples, strict=True)]

    def _at(self, visit: Visit) -> Sample:
        return Sample([], [], [0], self._rng.choice(visit.observation.admissible_actions or ("look",)))

    def phase(self) -> Any:
        """Do nothing: there is one process."""
        return nullcontext()


class Remembering(ThreeSPO):
    """3SPO that remembers by their actions the episodes it has written to its history."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.observed: list[tuple[Task, tuple[str, ...]]] = []

    def _observe(self, episodes: Sequence[Episode]) -> None:
        self.observed += [(x.end.task, tuple(x.end.actions())) for x in episodes]
        super()._observe(episodes)


def soak(make: Callable[[], Environment], options: ThreeSPOOptions, episodes: int, steps: float) -> dict[str, Any]:
    """Search with a random policy until so many episodes have ended.

    Args:
        make: Makes the environment without faults.
        options: Of 3SPO.
        episodes: To be written to the history.
        steps: Expected steps of an episode, over which its faults are spread.
    """
    faults = Faults()
    rng = random.Random(0)
    clean = make()
    # Fresh environments share the games that are loaded already.
    guard = GuardedEnvironment(
        lambda: FaultyEnvironment(clean, rng, faults, 0.05 / steps, 0.01 / steps),
        FailurePolicy(step_timeout=STEP_TIMEOUT),
    )
    algorithm = Remembering(guard, clean.tasks(), options, max_idle_rounds=1)
    policy, began = RandomPolicy(0), time.perf_counter()
    while len(algorithm.observed) < episodes:
        algorithm.collect(policy, CAPACITY)
        algorithm.metrics()
    return {
        "episodes": len(algorithm.observed),
        "exceptions": faults["exceptions"],
        "hangs": faults["hangs"],
        "retried": guard.tries.num_retries,
        "dropped": guard.counts["failed_episodes"],
        "history_equal": algorithm.history.state_dict() == replayed(make(), algorithm, options).state_dict(),
        "seconds": round(time.perf_counter() - began, 1),
    }


def replayed(env: Environment, algorithm: Remembering, options: ThreeSPOOptions) -> StateHistory:
    """Return a history of the same episodes, played without faults."""
    history = StateHistory(half_life=options.history_half_life, backoff_strength=options.backoff_strength)
    for task, actions in algorithm.observed:
        visit = first_visit(env, task)
        for action in actions:
            visit = next_visit(env, visit, action)
        assert visit.result.is_final
        history.observe(Episode(visit).worths(options.discount))
    return history


def left_over() -> dict[str, int]:
    """Return how many threads and child processes there are."""
    own = Path("/proc/self/task")
    children = [
        child for thread in own.iterdir() for child in (thread / "children").read_text(encoding="utf-8").split()
    ]
    return {"threads": threading.active_count(), "processes": len(children)}


def table(result: dict[str, Any]) -> str:
    """Return a result as the table of docs/reliability.md."""
    lines = [
        "| | episodes | exceptions | hangs | calls made again | dropped | history equal |",
        "|---|---|---|---|---|---|---|",
    ]
    for world, found in result["worlds"].items():
        counts = [found[name] for name in ("episodes", "exceptions", "hangs", "retried", "dropped")]
        lines.append(
            f"| {world} | {' | '.join(f'{x:,}' for x in counts)} | {'yes' if found['history_equal'] else 'no'} |"
        )
    seconds, left = result["seconds_per_update"], result["left_over"]
    faults = [result[f"updates_{name}"] for name in ("exceptions", "hangs", "dropped")]
    rows = {
        "updates of a tiny model": f"{result['updates']:,}",
        "exceptions, hangs, dropped episodes in them": ", ".join(map(str, faults)),
        "memory at the end, MB": result["memory_mb"],
        "slope of memory over the second half, MB per 1,000 updates": result["memory_slope_mb_per_1000_updates"],
        "median seconds per update, first and second half": f"{seconds['first half']}, {seconds['second half']}",
        "threads, processes left over": f"{left['threads']}, {left['processes']}",
    }
    return "\n".join([*lines, "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=10_000, help="in the corridor; a fifth of it in ALFWorld")
    parser.add_argument("--updates", type=int, default=2000, help="of a tiny model, for memory and time")
    parser.add_argument("--json", type=Path, required=True, help="file to write the result to")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # one line for every dropped episode
    before, origin = left_over(), provenance("numpy", "torch", "trl")
    half = arguments.episodes // 2
    worlds = {
        "corridor, after walks": soak(CorridorEnv, ThreeSPOOptions(), half, steps=7),
        "corridor, after steps": soak(CorridorEnv, ThreeSPOOptions(**PUBLISHED), arguments.episodes - half, steps=7),
        "ALFWorld, after walks": soak(
            lambda: AlfworldEnv(generated=NUM_ALFWORLD_GAMES), ThreeSPOOptions(), arguments.episodes // 5, steps=50
        ),
    }
    with tempfile.TemporaryDirectory() as folder:
        updates = train(folder, arguments.updates) if arguments.updates else {}
    after = left_over()
    result = {
        "episodes": sum(x["episodes"] for x in worlds.values()),
        "dropped": sum(x["dropped"] for x in worlds.values()),
        "history_equal": all(x["history_equal"] for x in worlds.values()),
        **updates,
        "left_over": {name: after[name] - before[name] for name in after},
        "worlds": worlds,
        "cpus": os.cpu_count(),
        **origin,
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
