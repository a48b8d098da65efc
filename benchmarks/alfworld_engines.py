"""Both engines of ALFWorld's games side by side: do they say the same, and how fast are they?

    python benchmarks/alfworld_engines.py --games FOLDER --states 2000 --json FILE

Plays every game below the folder in both engines at once: its walkthrough first, then at random with nonsense among the
actions, and now and then both go back to the snapshots of some state before. Text, admissible actions, exact state,
score keys and success have to be equal in every state. The first difference is printed with the actions that lead
there. Then both are timed; see `alfworld_speed.py`. A run that was stopped goes on with the game it was at.
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alfworld_speed import Source, measure, provenance

from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.generation.generator import generate_games
from trl_3spo.environments.base import Observation, Task

JUMP_SHARE = 0.1
LOCAL_SHARE = 0.7
NONSENSE_SHARE = 0.05
NONSENSE = ("go to the moon", "take", "", "open open", "GO TO FRIDGE 1", "put it down", "look\n", "\ud800", "x" * 1000)
ENDLESS = 10**9


Engines = tuple[AlfworldEnv, AlfworldEnv]
"""The native one and textworld, with the same games."""


class Place(NamedTuple):
    """A state both engines have been in."""

    actions: tuple[str, ...]
    snapshots: tuple[Any, Any]
    observation: Observation


class DifferenceError(Exception):
    """The engines differ; `args` are what in, after which actions, and what the native one and textworld say."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=Path, required=True, help="folder searched for game.tw-pddl files")
    parser.add_argument("--generated", type=int, default=0, help="number of generated games to play as well")
    parser.add_argument("--states", type=int, default=2000, help="states to compare, shared out among the games")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    arguments = parser.parse_args()
    found = [*sorted(arguments.games.rglob("game.tw-pddl")), *generated_games(arguments.generated, arguments.seed)]
    games, problems = playable(found)
    if not games:
        parser.error(f"there is no game.tw-pddl below {arguments.games} that can be played: {problems[:1]}")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    compared = list(compare_all(games, arguments))
    differences = [game for game in compared if game["difference"]]
    results = {
        "states": sum(game["states"] for game in compared),
        "differences": len(differences),
        "first_difference": differences[0] if differences else None,
        "games": len(compared),
        "generated_games": arguments.generated,
        "unplayable_games": problems,
        "seed": arguments.seed,
        **measure(games),
        **provenance(),
    }
    arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    progress_file(arguments).unlink()
    print(json.dumps(results, indent=2))
    print(f"{len(differences)} differences in {results['states']} states of {len(compared)} games")
    raise SystemExit(bool(differences))


def playable(found: Sequence[Source]) -> tuple[list[Source], list[str]]:
    """Return the games that can be opened, and what is wrong with the others."""
    games, problems = [], []
    for game in found:
        env = AlfworldEnv([game])
        try:
            env.reset(env.tasks()[0])
            games.append(game)
        except ValueError as error:
            problems.append(str(error))
    return games, problems


def generated_games(count: int, seed: int) -> list[dict[str, Any]]:
    """Half of them of the released games' size, half small, where more happens in as many steps; some with slices."""
    small = generate_games(count // 2, seed, num_receptacles=(5, 9), num_objects=(6, 16), sliced_share=0.3)
    return [*small, *generate_games(count - count // 2, seed, sliced_share=0.3)]


def compare_all(games: Sequence[Source], arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Compare game after game, or read what a stopped run of the same code found."""
    envs = AlfworldEnv(games, max_steps=ENDLESS), AlfworldEnv(games, max_steps=ENDLESS, engine="textworld")
    num_states = -(-arguments.states // len(envs[0].tasks()))
    run = f"{provenance()['commit']} {arguments.seed} {num_states}"
    file = progress_file(arguments)
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines()) if file.is_file() else ()
    known = {line["game"]: line for line in lines if line["run"] == run}
    for task in envs[0].tasks():
        if task.id not in known:
            known[task.id] = {"run": run, "game": task.id, **compare(envs, task, num_states, arguments.seed)}
            with file.open("a") as progress:
                print(json.dumps(known[task.id]), file=progress)
        print(f"{task.id}: {known[task.id]['difference'] or 'equal'}", flush=True)
        yield known[task.id]
    envs[1].close()


def progress_file(arguments: argparse.Namespace) -> Path:
    json_file: Path = arguments.json
    return json_file.with_suffix(".progress")


def compare(envs: Engines, task: Task, num_states: int, seed: int) -> dict[str, Any]:
    """Return how many states of a game were compared, and the first difference with the actions that lead to it."""
    num_compared = 0
    walk = wander(envs, task, random.Random(f"{seed}/{task.id}"))
    try:
        for _ in range(num_states):
            num_compared += 1
            next(walk)
    except (DifferenceError, ValueError) as difference:  # a ValueError where textworld cannot play the game at all
        return {"states": num_compared, "difference": list(difference.args)}
    return {"states": num_compared, "difference": None}


def wander(envs: Engines, task: Task, rng: random.Random) -> Iterator[Place]:
    """Yield one state after the other, for ever.

    Raises:
        DifferenceError: The engines differ there.
    """
    here = arrive(envs, (), [env.reset(task) for env in envs])
    yield here
    places = [here]
    plan = list(envs[0].game(task.id).walkthrough or ())
    while True:
        if not plan and rng.random() < JUMP_SHARE:
            here = go_back(envs, rng.choice(places))
        action = plan.pop(0) if plan else choose(here.observation.admissible_actions, rng)
        results = [env.step(action) for env in envs]
        after = arrive(envs, (*here.actions, action), [result.observation for result in results])
        if results[0] != results[1]:
            raise DifferenceError("success", after.actions, *[result.success for result in results])
        yield after
        if results[0].is_final:
            here = go_back(envs, places[0])
        else:
            here = after
            places.append(here)


def go_back(envs: Engines, place: Place) -> Place:
    return arrive(envs, place.actions, [env.restore(s) for env, s in zip(envs, place.snapshots, strict=True)])


def arrive(envs: Engines, actions: tuple[str, ...], seen: Sequence[Observation]) -> Place:
    """Return the place the engines have come to, if it is the same."""
    snapshots = envs[0].snapshot(), envs[1].snapshot()
    for name in ("text", "admissible_actions", "state_key", "score_keys"):
        native, reference = (getattr(observation, name) for observation in seen)
        if native != reference:
            raise DifferenceError(name, actions, native, reference)
    if snapshots[0].state != snapshots[1].state:
        raise DifferenceError("state", actions, snapshots[0].state, snapshots[1].state)
    return Place(actions, snapshots, seen[0])


def choose(actions: Sequence[str], rng: random.Random) -> str:
    """Choose an action: more often one that handles things here than one that leads away, now and then nonsense."""
    local = [action for action in actions if not action.startswith(("go to", "help", "inventory"))]
    draw = rng.random()
    if draw < NONSENSE_SHARE:
        return rng.choice(NONSENSE)
    return rng.choice(local if draw < LOCAL_SHARE else actions)


if __name__ == "__main__":
    main()
