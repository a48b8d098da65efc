"""Released games of ALFWorld and generated ones side by side: how large, how furnished, how hidden.

    python benchmarks/alfworld_distribution.py --games FOLDER --json benchmarks/results/alfworld_distribution.json

Prints the table of docs/environments.md: means over the games, with their standard error where it is not a share.
"""

import argparse
import json
import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from alfworld_speed import provenance

from trl_3spo.environments.alfworld.data.files import source_from_path
from trl_3spo.environments.alfworld.generation.generator import generate_games
from trl_3spo.environments.alfworld.generation.oracle import assignment_of, oracle_plan
from trl_3spo.environments.alfworld.simulator.game import Game

LANDMARKS = {"fridge": "Kitchen", "toilet": "Bathroom", "bed": "Bedroom"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=Path, required=True, help="folder searched for released game.tw-pddl files")
    parser.add_argument("--generated", type=int, default=1200, help="number of games to generate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    options = parser.parse_args()
    released = [source_from_path(path).load() for path in sorted(options.games.rglob("game.tw-pddl"))]
    if len(released) < 2:
        parser.error(f"there are {len(released)} games below {options.games}; at least 2 are required")
    data = generate_games(options.generated, options.seed)
    generated = [Game(game, kind=game["kind"], parameters=game["parameters"]) for game in data]
    results = {"released": describe(released), "generated": describe(generated), "seed": options.seed}
    results |= provenance()
    options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results["released"], results["generated"]))


def describe(games: Sequence[Game]) -> dict[str, Any]:
    """Return what the games are like."""
    rooms = {room: [game for game in games if room_of(game) == room] for room in sorted(set(map(room_of, games)))}
    return {
        "games": len(games),
        "quantities": {name: summary([measure(game) for game in games]) for name, measure in QUANTITIES.items()},
        "rooms": {
            room: {
                "share": len(those) / len(games),
                "receptacles": statistics.mean(len(game.receptacles) for game in those),
                "objects": statistics.mean(len(hosts_of(game)) for game in those),
            }
            for room, those in rooms.items()
        },
        "kinds": dict(sorted(Counter(assignment_of(game).kind for game in games).items())),
    }


def summary(values: Sequence[float]) -> dict[str, float]:
    error = statistics.stdev(values) / math.sqrt(len(values))
    return {"mean": statistics.mean(values), "error": error, "least": min(values), "greatest": max(values)}


def room_of(game: Game) -> str:
    types = {receptacle.type for receptacle in game.receptacles}
    return next((room for landmark, room in LANDMARKS.items() if landmark in types), "LivingRoom")


def hosts_of(game: Game) -> dict[int, list[int]]:
    """Return for every object that lies in a receptacle in which ones: released files declare others, out of reach."""
    hosts: dict[int, list[int]] = {}
    for place, things in enumerate(game.initial.contents):
        for thing in things:
            hosts.setdefault(thing, []).append(place)
    return hosts


def share_of_receptacles(test: Callable[[Game, int], bool]) -> Callable[[Game], float]:
    return lambda game: statistics.mean(test(game, place) for place in range(len(game.receptacles)))


def is_shared(game: Game, place: int) -> bool:
    return len(game.receptacles_at(game.receptacles[place].location)) > 1


def behind_doors(game: Game) -> float:
    """Return the share of objects in receptacles that have to be opened."""
    return statistics.mean(is_hidden(game, places) for places in hosts_of(game).values())


def is_hidden(game: Game, places: Sequence[int]) -> bool:
    return all(game.receptacles[place].openable for place in places)


def targets_of(game: Game) -> list[list[int]]:
    target = assignment_of(game).target
    return [places for thing, places in hosts_of(game).items() if game.objects[thing].type == target]


def has_dead_end(game: Game) -> float:
    """Return whether something can be taken that no receptacle accepts."""
    acceptable = frozenset().union(*game.accepts)
    return any(game.objects[thing].pickupable and thing not in acceptable for thing in hosts_of(game))


QUANTITIES: dict[str, Callable[[Game], float]] = {
    "receptacles": lambda game: len(game.receptacles),
    "objects in receptacles": lambda game: len(hosts_of(game)),
    "receptacles at a shared location, share": share_of_receptacles(is_shared),
    "receptacles to be opened, share": share_of_receptacles(lambda game, place: game.receptacles[place].openable),
    "empty receptacles, share": share_of_receptacles(lambda game, place: not game.initial.contents[place]),
    "objects behind doors, share": behind_doors,
    "objects in two receptacles": lambda game: sum(len(places) > 1 for places in hosts_of(game).values()),
    "objects of the target's type": lambda game: len(targets_of(game)),
    "all targets behind doors, share": lambda game: all(is_hidden(game, places) for places in targets_of(game)),
    "has a dead end, share": has_dead_end,
    "actions of the oracle": lambda game: len(oracle_plan(game, game.initial) or ()),
}


def table(released: dict[str, Any], generated: dict[str, Any]) -> str:
    """Return the comparison as Markdown."""
    lines = [f"| | {released['games']} released | {generated['games']} generated |", "|---|---|---|"]
    for name in QUANTITIES:
        lines.append(f"| {name} | {cell(released, name)} | {cell(generated, name)} |")
    for room, ours in generated["rooms"].items():
        theirs = released["rooms"].get(room)
        lines.append(f"| {room}: share; receptacles; objects | {room_cell(theirs)} | {room_cell(ours)} |")
    return "\n".join(lines)


def cell(side: dict[str, Any], name: str) -> str:
    numbers = side["quantities"][name]
    if name.endswith("share"):
        return f"{numbers['mean']:.0%}"
    limits = f"{numbers['least']:.0f} to {numbers['greatest']:.0f}"
    return f"{numbers['mean']:.1f} ± {numbers['error']:.1f} ({limits})"


def room_cell(room: dict[str, float] | None) -> str:
    return f"{room['share']:.0%}; {room['receptacles']:.1f}; {room['objects']:.1f}" if room else "none"


if __name__ == "__main__":
    main()
