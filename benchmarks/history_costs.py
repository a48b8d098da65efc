"""What the history of success costs with a million states in it.

    python benchmarks/history_costs.py --json benchmarks/results/history_costs.json

Episodes of 20 states, none seen before, then episodes that pass states again. Medians over repeats of one process's
processor time; writing and reading a checkpoint by the clock.
"""

import argparse
import importlib.metadata
import json
import platform
import random
import statistics
import subprocess
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trl_3spo import __version__
from trl_3spo.algorithm.history import StateHistory

EPISODE_LENGTH = 20
NUM_PROBES = 2_000
"""Episodes, or as many times their states, that one timing goes over."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    parser.add_argument("--states", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    results = {
        "sizes": [measure(num_states, arguments.repeats) for num_states in arguments.states],
        "repeats": arguments.repeats,
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        ).stdout.strip(),
        "versions": {
            "trl_3spo": __version__,
            "numpy": importlib.metadata.version("numpy"),
            "python": platform.python_version(),
        },
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


def measure(num_states: int, repeats: int) -> dict[str, Any]:
    history, bytes_per_state = filled_history(num_states)
    rng = random.Random(1)
    seen = random_keys(random.Random(0), num_states)
    timings: dict[str, list[float]] = {"new": [], "again": [], "lookup": [], "save": [], "load": []}
    for _ in range(repeats):
        fresh = episodes(random_keys(rng, NUM_PROBES * EPISODE_LENGTH))
        known = episodes([rng.choice(seen) for _ in range(NUM_PROBES * EPISODE_LENGTH)])
        saved = history.state_dict()
        timings["again"].append(per_state(lambda known=known: observe(history, known)))
        timings["lookup"].append(per_state(lambda known=known: look_up(history, known)))
        timings["new"].append(per_state(lambda fresh=fresh: observe(history, fresh)))
        history.load_state_dict(saved)  # without the fresh ones: every repeat finds the same size
        save, load = checkpoint(history)
        timings["save"].append(save)
        timings["load"].append(load)
    medians = {name: statistics.median(values) for name, values in timings.items()}
    return {
        "states": num_states,
        "bytes_per_state": round(bytes_per_state, 1),
        "microseconds_per_new_state": round(medians["new"] * 1e6, 2),
        "microseconds_per_known_state": round(medians["again"] * 1e6, 2),
        "microseconds_per_lookup": round(medians["lookup"] * 1e6, 2),
        "save_seconds": round(medians["save"], 3),
        "load_seconds": round(medians["load"], 3),
    }


def filled_history(num_states: int) -> tuple[StateHistory, float]:
    """Return a history of so many states and the memory one takes, the digests of their keys included."""
    rng = random.Random(0)
    tracemalloc.start()
    history = StateHistory(half_life=2000.0, backoff_strength=8.0)
    for i in range(num_states // EPISODE_LENGTH):
        history.observe(dict.fromkeys(random_keys(rng, EPISODE_LENGTH), float(i % 2 == 0)))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return history, used / len(history)


def random_keys(rng: random.Random, count: int) -> list[int]:
    return [rng.getrandbits(64) for _ in range(count)]


def episodes(keys: list[int]) -> list[list[int]]:
    return [keys[i : i + EPISODE_LENGTH] for i in range(0, len(keys), EPISODE_LENGTH)]


def observe(history: StateHistory, played: list[list[int]]) -> None:
    for keys in played:
        history.observe(dict.fromkeys(keys, 1.0))


def look_up(history: StateHistory, played: list[list[int]]) -> None:
    for keys in played:
        for key in keys:
            history.estimate((key,))


def per_state(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) / (NUM_PROBES * EPISODE_LENGTH)


def checkpoint(history: StateHistory) -> tuple[float, float]:
    """Return the seconds to write the history to disk, as the trainer does, and to read it back."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "history.npz"
        started = time.perf_counter()
        np.savez(file, **history.state_dict())
        written = time.perf_counter()
        with np.load(file) as counts:
            StateHistory().load_state_dict(dict(counts))
        return written - started, time.perf_counter() - written


if __name__ == "__main__":
    main()
