"""How long it takes until a split as large as the training split of ALFWorld can be played.

    python benchmarks/alfworld_split.py --json FILE

Writes 3,553 generated games as a split in a temporary folder, files of the released games' size, and times fresh
processes: until the first observation, import included, and to open 512 of the games; with an empty cache of games and
with one that knows them, in turn. Medians. The files are in the system's memory by then, as they are not after a start
of the machine. Needs the texts of the alfworld package.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from alfworld_speed import provenance

from trl_3spo.environments.alfworld.data.export import write_games
from trl_3spo.environments.alfworld.generation.generator import generate_games

NUM_GAMES = 3553
NUM_REPEATS = 5
PROGRAM = """
import json, os, time

def resident_megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

start = time.perf_counter()
from trl_3spo.environments.alfworld import AlfworldEnv
env = AlfworldEnv(split="train")
env.reset(env.tasks()[0])
first = time.perf_counter()
before = resident_megabytes()
tasks = env.tasks()[1:513]
for task in tasks:
    env.reset(task)
end = time.perf_counter()
print(json.dumps({
    "first_observation_seconds": first - start,
    "open_microseconds": (end - first) / len(tasks) * 1e6,
    "open_megabytes": (resident_megabytes() - before) / len(tasks),
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = {"games": NUM_GAMES, **measure(Path(folder)), "repeats": NUM_REPEATS, **provenance()}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


def measure(folder: Path) -> dict[str, float]:
    paths = write_games(generate_games(NUM_GAMES, seed=0), folder / "json_2.1.1" / "train")
    found: dict[str, list[float]] = defaultdict(list)
    for i in range(NUM_REPEATS):
        cache = folder / f"cache_{i}"
        for prefix in ("", "cached_"):
            variables = {**os.environ, "ALFWORLD_DATA": str(folder), "TRL_3SPO_CACHE": str(cache)}
            output = subprocess.run([sys.executable, "-c", PROGRAM], env=variables, capture_output=True, check=True)
            for name, value in json.loads(output.stdout).items():
                found[prefix + name].append(value)
        entries = [path.stat().st_size for path in cache.rglob("*.z")]
        found["cache_bytes_per_game"].append(statistics.mean(entries))
    found["file_bytes_per_game"] = [statistics.mean(path.stat().st_size for path in paths)]
    return {name: round(statistics.median(values), 4) for name, values in found.items()}


if __name__ == "__main__":
    main()
