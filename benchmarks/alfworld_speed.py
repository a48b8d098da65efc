"""How fast ALFWorld's games are played here and by textworld, and what hundreds of them take.

    python benchmarks/alfworld_speed.py --games FOLDER --json FILE

Medians over repeats that alternate between the engines, in one process on one core; memory in a process of its own. A
step of either engine includes the admissible commands and whether the game is won. Without textworld its numbers are
left out.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import random
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trl_3spo import __version__
from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.data.export import write_games
from trl_3spo.environments.alfworld.data.files import read_json
from trl_3spo.environments.alfworld.generation.generator import generate_games

MAX_STEPS = 50
NUM_REPEATS = 7
NUM_NATIVE_STEPS = 10_000
NUM_TEXTWORLD_STEPS = 40
NUM_JUMPS = 20_000
NUM_LIVE_GAMES = 512
NUM_ROUNDS = 50
NUM_POOLED_GAMES = 4
GROUP_SIZE = 4

Source = Path | dict[str, Any]
"""A game, as its file or as its content."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=Path, help="folder searched for game.tw-pddl files; default: generated games")
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    arguments = parser.parse_args()
    games = sorted(arguments.games.rglob("game.tw-pddl")) if arguments.games else generate_games(24, seed=0)
    results = {**measure(games), "games": len(games), **provenance()}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


def measure(games: Sequence[Source]) -> dict[str, Any]:
    """Time both engines on the same games."""
    has_textworld = all(map(importlib.util.find_spec, ("textworld", "alfworld")))
    seconds: dict[str, list[float]] = defaultdict(list)
    pools = [open_pool(games, count) for count in (1, 2)] if has_textworld else []
    for i in range(NUM_REPEATS):
        time_native(games, random.Random(i), seconds)
        for pool in pools:
            time_pool(pool, random.Random(i), seconds)
        if has_textworld:
            time_textworld(games[i % len(games)], random.Random(i), seconds)
    for pool in pools:
        pool.env.close()
    # A process of its own: this one would take what earlier games have left free.
    with multiprocessing.get_context("spawn").Pool(1) as process:
        megabytes = process.apply(megabytes_of_live_games, (games,))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rates = {name.removesuffix("_step") for name in medians if name.endswith("_step")}
    return {
        **{f"{name}_steps_per_second": round(1 / medians[f"{name}_step"], 1) for name in sorted(rates)},
        **{f"{name}_microseconds": round(s * 1e6, 2) for name, s in medians.items() if not name.endswith("_step")},
        "native_megabytes_512_games": megabytes,
        "repeats": NUM_REPEATS,
    }


def time_native(games: Sequence[Source], rng: random.Random, seconds: dict[str, list[float]]) -> None:
    env = AlfworldEnv(games, max_steps=MAX_STEPS)
    tasks = env.tasks()
    with tempfile.TemporaryDirectory() as os.environ["TRL_3SPO_CACHE"]:
        for name in ("native_open", "native_open_from_cache"):
            seconds[name].append(timed(lambda: [env.reset(task) for task in tasks]) / len(tasks))
            env.close()
        for task in tasks:
            env.reset(task)
    seconds["native_reset"].append(timed(lambda: [env.reset(task) for task in tasks]) / len(tasks))
    seconds["native_step"].append(timed(lambda: walk(env, rng)) / NUM_NATIVE_STEPS)
    live, places = open_many(games)
    seconds["native_512_games_step"].append(timed(lambda: advance(live, places, rng)) / (NUM_LIVE_GAMES * NUM_ROUNDS))
    going_on = [place for way in places for place in way if place is not None]
    jumps = rng.choices(going_on, k=NUM_JUMPS)
    seconds["native_snapshot_restore"].append(timed(lambda: jump(live, jumps)) / NUM_JUMPS)


def walk(env: AlfworldEnv, rng: random.Random) -> None:
    """Walk at random through all games, resets included."""
    tasks = env.tasks()
    observation = env.reset(tasks[0])
    for _ in range(NUM_NATIVE_STEPS):
        result = env.step(rng.choice(observation.admissible_actions))
        observation = env.reset(rng.choice(tasks)) if result.is_final else result.observation


def open_many(games: Sequence[Source]) -> tuple[AlfworldEnv, list[list[Any]]]:
    """Return an environment of 512 games, the given ones again and again, with a list of snapshots for each."""
    contents = [read_json(game) if isinstance(game, Path) else game for game in games]
    env = AlfworldEnv([contents[i % len(contents)] for i in range(NUM_LIVE_GAMES)], max_steps=MAX_STEPS)
    return env, [[(env.reset(task), env.snapshot())[1]] for task in env.tasks()]


def advance(env: AlfworldEnv, places: list[list[Any]], rng: random.Random) -> None:
    """Take a step in every game, and another one, keeping all snapshots."""
    for _ in range(NUM_ROUNDS):
        origins = [way[-1] or way[0] for way in places]  # a game that has ended goes on from its start
        actions = [rng.choice(origin.observation.admissible_actions) for origin in origins]
        reached = env.step_each(list(zip(origins, actions, strict=True)))
        for way, (_, snapshot) in zip(places, reached, strict=True):
            way.append(snapshot)


def jump(env: AlfworldEnv, places: Sequence[Any]) -> None:
    for place in places:
        env.restore(place)
        env.snapshot()


def time_textworld(game: Source, rng: random.Random, seconds: dict[str, list[float]]) -> None:
    """Time textworld as ALFWorld starts it, and going back with `ReferenceGame`, which takes snapshots as it steps."""
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld.envs.pddl import PddlEnv

    from trl_3spo.environments.alfworld.textworld.process import ReferenceGame

    env, reference = AlfredDemangler(PddlEnv(textworld.EnvInfos(admissible_commands=True, won=True))), ReferenceGame()
    with tempfile.TemporaryDirectory() as folder:
        path = game if isinstance(game, Path) else write_games([game], folder)[0]
        seconds["textworld_open"].append(timed(lambda: (env.load(str(path)), env.reset())))
        seconds["textworld_reset"].append(timed(env.reset))
        reference.load(str(path))
    actions: list[str] = []
    seconds["textworld_step"].append(timed(lambda: walk_textworld(env, actions, rng)) / NUM_TEXTWORLD_STEPS)
    env.close()
    reference.tell(tuple(actions))
    ways = [tuple(actions[: rng.randint(0, len(actions))]) for _ in range(200)]
    seconds["textworld_restore"].append(timed(lambda: [reference.restore(way) for way in ways]) / len(ways))


def walk_textworld(env: Any, actions: list[str], rng: random.Random) -> None:
    for _ in range(NUM_TEXTWORLD_STEPS):
        actions.append(rng.choice(env.state["admissible_commands"]))
        env.step(actions[-1])


class Pool(NamedTuple):
    """`AlfworldEnv` with textworld in some processes, and where its games are."""

    name: str
    env: AlfworldEnv
    places: list[Any]


def open_pool(games: Sequence[Source], num_processes: int) -> Pool:
    env = AlfworldEnv(games[:NUM_POOLED_GAMES], engine="textworld", num_processes=num_processes)
    return Pool(
        f"textworld_in_{num_processes}_step", env, [(env.reset(task), env.snapshot())[1] for task in env.tasks()]
    )


def time_pool(pool: Pool, rng: random.Random, seconds: dict[str, list[float]]) -> None:
    """Take some actions from each place at once, as a group of samples does, and go on with one of them."""
    moves = [(place, action) for place in pool.places for action in choose(place, rng)]
    start = time.perf_counter()
    reached = pool.env.step_each(moves)
    seconds[pool.name].append((time.perf_counter() - start) / len(moves))
    pool.places[:] = [snapshot or place for (place, _), (_, snapshot) in zip(moves, reached, strict=True)][::GROUP_SIZE]


def choose(place: Any, rng: random.Random) -> list[str]:
    return rng.sample(place.observation.admissible_actions, GROUP_SIZE)


def megabytes_of_live_games(games: Sequence[Source]) -> float:
    """Return by how much 512 games in play, with all snapshots of 50 steps each, add to a process."""
    before = resident_megabytes()
    env, places = open_many(games)
    advance(env, places, random.Random(0))
    return round(resident_megabytes() - before, 1)


def resident_megabytes() -> float:
    num_pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return num_pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def provenance() -> dict[str, Any]:
    """Return versions, and the commit the code is at, `+` after it where files have changed since."""
    git = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    changes = [*git, "status", "--porcelain", "--untracked-files=no"]
    changed = subprocess.run(changes, capture_output=True, text=True, check=False).stdout
    return {
        "versions": {
            "python": platform.python_version(),
            "trl_3spo": __version__,
            "textworld": version("textworld"),
            "alfworld": version("alfworld"),
            "platform": platform.platform(),
            "cores": os.cpu_count(),
        },
        "commit": (head + ("+" if changed else "")) or None,
    }


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
