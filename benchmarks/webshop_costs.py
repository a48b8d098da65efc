"""What WebShop costs here, in time and memory, on generated catalogues of 1,000 and 100,000 products.

    python benchmarks/webshop_costs.py --json benchmarks/results/webshop_costs.json

Every catalogue is written to files and loaded twice, each time in a process of its own so that its memory can be told:
the first builds the search index and keeps it on disk, the second finds it and goes on to walk and search. Customers
ask for the first 1,000 products. Walks click at random, search as the expert does, and take in what can be clicked
next. Times are a core's processor time, so that other work on the machine counts for little, and medians over repeats.
Searches are timed without their memory of earlier ones, which walks do use.
"""

import argparse
import gc
import json
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
from alfworld_speed import provenance

from trl_3spo.environments.webshop import WebShopEnv, World
from trl_3spo.environments.webshop.catalogue.catalogue import generate_catalogue, write_catalogue
from trl_3spo.environments.webshop.expert.expert import ShoppingExpert

SIZES = (1_000, 100_000)
NUM_INSTRUCTED = 1_000
NUM_ENVIRONMENTS = 512
NUM_JUMPS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    parser.add_argument("--steps", type=int, default=5_000, help="steps per repeat")
    parser.add_argument("--queries", type=int, default=200, help="searches per repeat")
    parser.add_argument("--repeats", type=int, default=5, help="repeats, at least 5")
    arguments = parser.parse_args()
    if arguments.repeats < 5 or arguments.steps < 1 or arguments.queries < 1:
        parser.error("at least 5 repeats, 1 step and 1 search are required")
    results = {
        "products": {str(size): measure(size, arguments) for size in SIZES},
        "steps": arguments.steps,
        "queries": arguments.queries,
        "repeats": arguments.repeats,
        "environments": NUM_ENVIRONMENTS,
        "numpy": numpy.__version__,
    } | provenance()
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


def measure(num_products: int, arguments: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_catalogue(generate_catalogue(num_products, num_instructed=NUM_INSTRUCTED), folder)
        return apart(measure_building, folder) | apart(measure_use, folder, arguments)


def apart(function: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """Call a function in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def measure_building(folder: Path) -> dict[str, float]:
    seconds, _ = timed(lambda: load(folder))
    return {"first_load_seconds": round(seconds, 2), "first_load_peak_megabytes": megabytes("VmHWM")}


def measure_use(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    imported = megabytes("VmRSS")
    seconds, world = timed(lambda: load(folder))
    tasks = world.tasks()
    loaded = megabytes("VmRSS")
    environments = [WebShopEnv(world, split=None) for _ in range(NUM_ENVIRONMENTS)]
    for env, task in zip(environments, random.Random(0).choices(tasks, k=NUM_ENVIRONMENTS), strict=True):
        env.reset(task)
    populated = megabytes("VmRSS")
    env, repeats = environments[0], range(arguments.repeats)
    queries = {task.id: ShoppingExpert().act(env.reset(task)) for task in tasks}
    steps = [time_step(env, queries, arguments.steps, random.Random(i)) for i in repeats]
    searches = [time_search(world, list(queries.values()), arguments.queries, i) for i in repeats]
    jumps = [time_jump(env, random.Random(i)) for i in repeats]
    return {
        "second_load_seconds": round(seconds, 2),
        "process_megabytes": populated,
        "world_megabytes": round(loaded - imported, 1),
        "environments_megabytes": round(populated - loaded, 1),
        "step_milliseconds": round(statistics.median(steps) * 1e3, 4),
        "search_milliseconds": round(statistics.median(searches) * 1e3, 4),
        "snapshot_restore_microseconds": round(statistics.median(jumps) * 1e6, 3),
    }


def load(folder: Path) -> World:
    return World.from_files(folder / "items.json", folder / "attributes.json", index_cache=folder)


def timed(function: Callable[[], World]) -> tuple[float, World]:
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def megabytes(counter: str) -> float:
    """Return one of the kernel's counters: VmRSS, the memory of this process now, or VmHWM, the most it has had."""
    gc.collect()
    [line] = [
        line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if line.startswith(counter)
    ]
    return round(int(line.split()[1]) / 1024, 1)


def time_step(env: WebShopEnv, queries: dict[str, str], num_steps: int, rng: random.Random) -> float:
    """Return seconds per step, resets included."""
    tasks = rng.choices(env.tasks(), k=num_steps)
    start = time.process_time()
    task, observation = tasks[0], env.reset(tasks[0])
    for next_task in tasks:
        result = env.step(rng.choice(observation.admissible_actions or (queries[task.id],)))
        observation = result.observation
        if result.is_final:
            task, observation = next_task, env.reset(next_task)
    return (time.process_time() - start) / num_steps


def time_search(world: World, actions: list[str], num_queries: int, repeat: int) -> float:
    """Return seconds per search that has not been made before."""
    queries = [action[len("search[") : -1] + f" {repeat}" for action in actions]
    queries = random.Random(repeat).sample(queries, num_queries)
    world.search.cache_clear()
    start = time.process_time()
    for query in queries:
        world.search(query)
    return (time.process_time() - start) / num_queries


def time_jump(env: WebShopEnv, rng: random.Random) -> float:
    """Return seconds for going back to a state and taking its snapshot, among states of many tasks."""
    snapshots = []
    for task in rng.choices(env.tasks(), k=100):
        env.reset(task)
        snapshots.append(env.snapshot())
    jumps = rng.choices(snapshots, k=NUM_JUMPS)
    restore, snapshot = env.restore, env.snapshot
    start = time.process_time()
    for jump in jumps:
        restore(jump)
        snapshot()
    return (time.process_time() - start) / NUM_JUMPS


if __name__ == "__main__":
    main()
