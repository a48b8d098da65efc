"""How fast ALFWorld's games are played here, and by textworld where it is installed.

    python benchmarks/alfworld_speed.py --json results/alfworld_speed.json

Walks at random over games and takes the median over repeats that alternate between the engines, in one process. A step
of either engine includes the admissible commands and whether the game is won.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import platform
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from trl_3spo import __version__
from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.export import to_textworld
from trl_3spo.environments.alfworld.generator import generate_games

NUM_GAMES = 12
MAX_STEPS = 50
TEXTWORLD_STEPS = 40
NUM_JUMPS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    parser.add_argument("--games", type=Path, help="folder searched for game.tw-pddl files; default: generated games")
    parser.add_argument("--steps", type=int, default=20_000, help="native steps per repeat")
    parser.add_argument("--repeats", type=int, default=5, help="repeats, at least 5")
    arguments = parser.parse_args()
    if arguments.repeats < 5 or arguments.steps < 1:
        parser.error("at least 5 repeats and 1 step are required")
    with tempfile.TemporaryDirectory() as folder:
        results = measure(arguments, Path(folder))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


def measure(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    env, textworld = open_games(arguments.games, scratch)
    for task in env.tasks():
        env.reset(task)  # opened now, so that loading is not part of the walks
    timings: dict[str, list[float]] = {"native": [], "jump": [], "textworld": []}
    for i in range(arguments.repeats):
        timings["native"].append(time_native_step(env, arguments.steps, random.Random(i)))
        timings["jump"].append(time_jump(env, random.Random(i)))
        if textworld:
            path = textworld[i % len(textworld)]
            timings["textworld"].append(time_textworld_step(path, random.Random(i)))
    return {
        "native_steps_per_second": round(1 / statistics.median(timings["native"])),
        "snapshot_restore_microseconds": round(statistics.median(timings["jump"]) * 1e6, 3),
        "textworld_steps_per_second": round(1 / statistics.median(timings["textworld"]), 1) if textworld else None,
        "games": str(arguments.games or f"{NUM_GAMES} generated"),
        "native_steps": arguments.steps,
        "textworld_steps": TEXTWORLD_STEPS if textworld else 0,
        "repeats": arguments.repeats,
        "versions": {
            "python": platform.python_version(),
            "trl_3spo": __version__,
            "textworld": version("textworld"),
            "platform": platform.platform(),
        },
        "commit": commit(),
    }


def open_games(folder: Path | None, scratch: Path) -> tuple[AlfworldEnv, list[Path]]:
    """Return the environment, and the files textworld is to play: none where it is not installed."""
    has_textworld = all(importlib.util.find_spec(name) for name in ("textworld", "alfworld"))
    if folder is not None:
        paths = sorted(folder.rglob("game.tw-pddl"))
        return AlfworldEnv(paths, max_steps=MAX_STEPS), paths if has_textworld else []
    games = generate_games(NUM_GAMES, seed=0)
    return AlfworldEnv(games, max_steps=MAX_STEPS), write_games(games, scratch) if has_textworld else []


def write_games(games: list[dict[str, Any]], folder: Path) -> list[Path]:
    from alfworld.info import ALFRED_PDDL_PATH, ALFRED_TWL2_PATH

    domain, grammar = Path(ALFRED_PDDL_PATH).read_text(), Path(ALFRED_TWL2_PATH).read_text()
    paths = [folder / str(i) / "game.tw-pddl" for i in range(len(games))]
    for path, game in zip(paths, games, strict=True):
        path.parent.mkdir()
        path.write_text(json.dumps(to_textworld(game, domain, grammar)))
    return paths


def time_native_step(env: AlfworldEnv, num_steps: int, rng: random.Random) -> float:
    """Return seconds per step, resets included."""
    tasks = env.tasks()
    start = time.perf_counter()
    observation = env.reset(tasks[0])
    for _ in range(num_steps):
        result = env.step(rng.choice(observation.admissible_actions))
        observation = env.reset(rng.choice(tasks)) if result.is_final else result.observation
    return (time.perf_counter() - start) / num_steps


def time_jump(env: AlfworldEnv, rng: random.Random) -> float:
    """Return seconds for going back to a state and taking its snapshot, among states of all games."""
    snapshots = []
    for task in env.tasks():
        actions = env.reset(task).admissible_actions
        for action in rng.choices(actions, k=10):
            env.step(action)
            snapshots.append(env.snapshot())
    jumps = rng.choices(snapshots, k=NUM_JUMPS)
    restore, snapshot = env.restore, env.snapshot
    start = time.perf_counter()
    for jump in jumps:
        restore(jump)
        snapshot()
    return (time.perf_counter() - start) / NUM_JUMPS


def time_textworld_step(path: Path, rng: random.Random) -> float:
    """Return seconds per step, without loading and reset."""
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler

    infos = textworld.EnvInfos(admissible_commands=True, won=True)
    env = textworld.start(str(path), infos, wrappers=[AlfredDemangler])
    state = env.reset()
    start = time.perf_counter()
    for _ in range(TEXTWORLD_STEPS):
        state, _, _ = env.step(rng.choice(state["admissible_commands"]))
    seconds = time.perf_counter() - start
    env.close()
    return seconds / TEXTWORLD_STEPS


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """Return the commit the code is at, `+` after it where files have changed since."""
    git = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=False).stdout
    return (head + ("+" if changed else "")) or None


if __name__ == "__main__":
    main()
