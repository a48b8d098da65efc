"""Model an update's seconds against processes, environments and generation, and name what limits it.

    python benchmarks/scaling_model.py --json benchmarks/results/scaling_model.json

Measured, here or in results/: the environment's steps, the history's observations, and what it takes to write and read
the messages between ranks. Not measured: everything of the GPUs and the network, which is arithmetic with the numbers
of `Machine`. Parts follow one another; waiting for the slowest rank is left out.
"""

import argparse
import importlib.metadata
import itertools
import json
import math
import pickle
import platform
import random
import statistics
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from memory_plan import SHAPES

from trl_3spo import __version__

RESULTS = Path(__file__).parent / "results"
RANKS = (1, 8, 64, 512)


@dataclass(frozen=True)
class Machine:
    """Assumed of an H100 node.

    Args:
        flops: 40 % of 989e12, per second.
        bandwidth: 70 % of 3.35e12 bytes of GPU memory, per second.
        links: Bytes per second between GPUs of a node.
        network: Bytes per second of each GPU to other nodes, 400 Gbit/s.
        latency: Seconds of a collective, times log₂ of the ranks.
    """

    flops: float = 0.4 * 989e12
    bandwidth: float = 0.7 * 3.35e12
    links: float = 300e9
    network: float = 50e9
    latency: float = 5e-5


@dataclass(frozen=True)
class Work:
    """Of one rank and one update: alfworld_1.5b.yaml.

    Args:
        rows: Of the update.
        actions: Sampled for it.
        rounds: Generate calls they are sampled in.
        prompt: Tokens.
        completion: Tokens of the longest completion.
        group: Completions of a prompt.
        episode: Environment steps of an episode.
        keys: Score keys of a state.
    """

    rows: int = 64
    actions: int = 96
    rounds: int = 2
    prompt: int = 1024
    completion: int = 512
    group: int = 8
    episode: int = 20
    keys: int = 3


def seconds(
    machine: Machine,
    work: Work,
    costs: dict[str, float],
    *,
    ranks: int,
    token_seconds: float,
    ranks_per_server: int | None,
    engine: str,
    envs: int,
) -> dict[str, float]:
    """Return the seconds of every part of an update.

    Args:
        machine: What it runs on.
        work: Of one rank.
        costs: `measured_costs`.
        ranks: Processes that train, one a GPU.
        token_seconds: Least seconds of one decoding step.
        ranks_per_server: Ranks for which a GPU does nothing but generate; None where the ranks do so themselves.
        engine: `native` or `textworld`, of the environment.
        envs: Environment processes of a rank.
    """
    shape = SHAPES["Qwen2.5-1.5B"]
    num_weights = shape.num_linear + shape.num_other
    tokens = work.rows * (work.prompt / work.group + work.completion)
    rows_at_once = work.actions / work.rounds * min(ranks_per_server or 1, ranks)
    key_bytes = shape.num_layers * 2 * shape.layer.key_size * 2 * (work.prompt + work.completion / 2)
    reading = (2 * num_weights + rows_at_once * key_bytes) / machine.bandwidth
    step = max(token_seconds, reading, 2 * num_weights * rows_at_once / machine.flops)
    episodes = work.actions / work.episode
    bandwidth = machine.links if ranks <= 8 else machine.network
    num_messages = 4 * work.rounds + 5
    return {
        "generation": work.rounds * work.completion * step,
        "update": (2 + 2 + 4 + 2) * num_weights * tokens / machine.flops,  # forward twice, backward, reference
        "gradients": 2 * 4 * num_weights * (ranks - 1) / ranks / bandwidth,
        "weights to servers": 2 * num_weights / machine.network if ranks_per_server else 0.0,
        "environment": work.actions / (costs[f"{engine}_steps"] * envs),
        "history": ranks * episodes * work.episode * work.keys * costs["observe"],
        "messages": ranks * (episodes * costs["episode_message"] + num_messages * costs["message"])
        + num_messages * machine.latency * math.log2(max(ranks, 2)),
    }


def measured_costs() -> dict[str, float]:
    """Return seconds and steps per second that were measured."""
    speed = json.loads((RESULTS / "alfworld_speed.json").read_text(encoding="utf-8"))
    history = json.loads((RESULTS / "history_costs.json").read_text(encoding="utf-8"))["sizes"][-1]
    rng = random.Random(0)
    episode = [([rng.getrandbits(64) for _ in range(60)], True)]
    return {
        "native_steps": speed["native_steps_per_second"],
        "textworld_steps": speed["textworld_steps_per_second"],
        "observe": history["microseconds_per_known_state"] * 1e-6,
        "message": _read_and_written((None, [])),
        "episode_message": _read_and_written((None, episode)) - _read_and_written((None, [])),
    }


def _read_and_written(message: object, repeats: int = 1000) -> float:
    timings = []
    for _ in range(repeats):
        began = time.perf_counter()
        pickle.loads(pickle.dumps(message))
        timings.append(time.perf_counter() - began)
    return statistics.median(timings)


KERNEL_BY_KERNEL, IN_GRAPHS = 25e-3, 5e-3
"""Assumed seconds of a decoding step of transformers, and of an engine with compiled graphs such as vLLM."""

SCENARIOS = {
    "transformers": (KERNEL_BY_KERNEL, None, "native", 1),
    "vLLM on the ranks": (IN_GRAPHS, None, "native", 1),
    "vLLM on a GPU for every 4 ranks": (IN_GRAPHS, 4, "native", 1),
    "vLLM on the ranks, textworld in 8 processes": (IN_GRAPHS, None, "textworld", 8),
}
HEAD = "| generation and environment | ranks | seconds an update | actions/s | largest | largest of what grows |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    file = parser.parse_args().json
    machine, work, costs = Machine(), Work(), measured_costs()
    rows = []
    print(f"{HEAD}\n|---|---|---|---|---|---|")
    for (name, options), ranks in itertools.product(SCENARIOS.items(), RANKS):
        names = ("token_seconds", "ranks_per_server", "engine", "envs")
        parts = seconds(machine, work, costs, ranks=ranks, **dict(zip(names, options, strict=True)))
        total = sum(parts.values())
        largest = max(parts, key=parts.__getitem__)
        growing = max(("gradients", "history", "messages"), key=parts.__getitem__)
        rows.append({"scenario": name, "ranks": ranks, "seconds": total, "parts": parts})
        print(
            f"| {name} | {ranks} | {total:.2f} | {ranks * work.actions / total:,.0f} | "
            f"{largest} ({parts[largest] / total:.0%}) | {growing} ({parts[growing] / total:.1%}) |"
        )
    record = {
        "rows": rows,
        "assumed": asdict(machine),
        "work": asdict(work),
        "measured": costs,
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        ).stdout.strip(),
        "versions": {
            "trl_3spo": __version__,
            "numpy": importlib.metadata.version("numpy"),
            "python": platform.python_version(),
        },
    }
    file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
