"""New games: seeded, solvable, all six task types, from a handful of receptacles to the size of the released ones.

Nothing is downloaded. A game is a dictionary that `Game` reads; `to_textworld` turns it into the content of a
`game.tw-pddl` file that ALFWorld's own engine plays.
"""

import hashlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trl_3spo.environments.alfworld.assignment import KINDS, SENTENCES
from trl_3spo.environments.alfworld.blueprint import Blueprint, problem_text
from trl_3spo.environments.alfworld.drawing import Bounds, capacity, draw_blueprint, is_possible
from trl_3spo.environments.alfworld.game import Game
from trl_3spo.environments.alfworld.oracle import oracle_plan
from trl_3spo.environments.alfworld.rooms import ROOMS, Room

MIN_RECEPTACLES = 4
"""The destination, the appliance and two places to search."""

MIN_OBJECTS = 2
"""Two targets, or the target and the lamp."""

MAX_FRUITLESS_DRAWS = 200
"""Draws without a new game after which the sizes are taken to have no more of them."""


def generate_games(
    count: int,
    seed: int,
    *,
    kinds: Sequence[str] = KINDS,
    num_receptacles: Bounds = None,
    num_objects: Bounds = None,
) -> list[dict[str, Any]]:
    """Return different solvable games, the task types in turn. The first n are the same for every count.

    Two games are different if the tasks differ or the same types of things do not lie in the same types of places.

    Args:
        count: Number of games, at least 0.
        seed: Equal seeds give equal games, in every process.
        kinds: Task types to draw from.
        num_receptacles: Least and greatest number of receptacles, such as (4, 8) for small games; `None` gives the
            sizes of the released games (mean 22).
        num_objects: Least and greatest number of objects, such as (4, 10); `None` likewise (mean 37).

    Raises:
        ValueError: An option is out of its range, or there are not so many different games of these sizes.
    """
    if count < 0 or not kinds:
        raise ValueError(
            f"cannot generate {count} games of the kinds {kinds!r}: give a count >= 0 and at least one kind"
        )
    rng = random.Random(seed)
    games: dict[str, dict[str, Any]] = {}
    num_fruitless = 0
    while len(games) < count:
        kind = kinds[len(games) % len(kinds)]
        game = generate_game(rng, kind=kind, num_receptacles=num_receptacles, num_objects=num_objects)
        num_fruitless = num_fruitless + 1 if game["id"] in games else 0
        games.setdefault(game["id"], game)
        if num_fruitless == MAX_FRUITLESS_DRAWS:
            raise ValueError(
                f"found only {len(games)} different games of the {count} asked for with num_receptacles="
                f"{num_receptacles} and num_objects={num_objects}: widen the ranges or ask for fewer"
            )
    return list(games.values())


def generate_game(
    rng: random.Random,
    *,
    kind: str | None = None,
    num_receptacles: Bounds = None,
    num_objects: Bounds = None,
) -> dict[str, Any]:
    """Return one solvable game; see `generate_games` for the sizes.

    The keys are `pddl_problem`, `task` (the sentence), `kind`, `parameters` (as `pddl_params` in the released files),
    `solvable`, `walkthrough` (the shortest way the oracle knows) and `id` (equal for games that do not differ).

    Args:
        rng: Source of all choices.
        kind: The task type; `None` draws one.
        num_receptacles: Least and greatest number of receptacles.
        num_objects: Least and greatest number of objects.

    Raises:
        ValueError: An option is out of its range.
    """
    kind = rng.choice(KINDS) if kind is None else kind
    rooms = _suitable_rooms(kind, num_receptacles)
    _check_bounds("num_objects", num_objects, MIN_OBJECTS)
    while True:
        blueprint = draw_blueprint(rng, kind, rng.choice(rooms), num_receptacles, num_objects)
        game = _describe(blueprint, rng.choice(SENTENCES[kind]))
        simulator = Game(game)
        # A drawn game is nearly always solvable; what is not is drawn again rather than repaired.
        if plan := oracle_plan(simulator, simulator.initial):
            return {**game, "walkthrough": plan}


def to_textworld(game: Mapping[str, Any], domain: str, grammar: str) -> dict[str, Any]:
    """Return the content of a `game.tw-pddl` file that ALFWorld's engine plays.

    Args:
        game: A generated game.
        domain: Text of `alfred.pddl`, as installed with the alfworld package.
        grammar: Text of `alfred.twl2`, likewise.

    Raises:
        ValueError: The grammar has no place for the task.
    """
    sentence = f"Your task is to: {game['task']}"
    grammar, num_places = re.subn(r'Your task is to: [^"]*', lambda _: sentence, grammar)
    if num_places != 1:
        raise ValueError(
            f"the grammar says 'Your task is to: ' {num_places} times: once is required; pass the text of alfred.twl2"
        )
    keys = ("pddl_problem", "solvable", "walkthrough")
    return {"pddl_domain": domain, "grammar": grammar, **{key: game[key] for key in keys}}


def write_game(game: Mapping[str, Any], folder: Path | str, domain: str, grammar: str) -> Path:
    """Write `game.tw-pddl` and `traj_data.json` to a folder, made if need be, and return the path of the former.

    ALFWorld finds games in folders `<anything>/<anything>/`; a game's id is a good name for the outer one.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "game.tw-pddl"
    path.write_text(json.dumps(to_textworld(game, domain, grammar)), encoding="utf-8")
    trajectory = {"task_id": game["id"], "task_type": game["kind"], "pddl_params": game["parameters"]}
    (folder / "traj_data.json").write_text(json.dumps(trajectory, indent=2), encoding="utf-8")
    return path


def _check_bounds(name: str, bounds: Bounds, least: int) -> None:
    if bounds is not None and not least <= bounds[0] <= bounds[1]:
        raise ValueError(f"{name} is {bounds}: it must be (low, high) with {least} <= low <= high; use ({least}, 10)")


def _suitable_rooms(kind: str, num_receptacles: Bounds) -> list[Room]:
    """Return the rooms the task can be done in and that hold so many receptacles."""
    if kind not in KINDS:
        raise ValueError(f"there is no task type {kind!r}: it must be one of {', '.join(KINDS)}")
    _check_bounds("num_receptacles", num_receptacles, MIN_RECEPTACLES)
    rooms = [room for room in ROOMS.values() if is_possible(kind, room)]
    largest = max(capacity(room) for room in rooms)
    low = num_receptacles[0] if num_receptacles else 0
    if low > largest:
        raise ValueError(
            f"num_receptacles is {num_receptacles}: no room for {kind} holds over {largest}; lower the first number"
        )
    return [room for room in rooms if capacity(room) >= low]


def _describe(blueprint: Blueprint, sentence: str) -> dict[str, Any]:
    """Return a game without its walkthrough."""
    kind, target, destination, lamp = blueprint.kind, blueprint.target, blueprint.destination, blueprint.lamp
    return {
        "id": f"{kind}-{target}-None-{destination or lamp}-{_digest(blueprint)}",
        "kind": kind,
        "task": sentence.format(target=target.lower(), destination=destination.lower(), lamp=lamp.lower()),
        "parameters": {
            "object_target": target,
            "parent_target": destination,
            "mrecep_target": "",
            "toggle_target": lamp,
            "object_sliced": False,
        },
        "pddl_problem": problem_text(blueprint),
        "solvable": True,
    }


def _digest(blueprint: Blueprint) -> str:
    """Return a name for what lies where, by types, in twelve hexadecimal digits."""
    contents: list[list[str]] = [[] for _ in blueprint.furnishings]
    for item in blueprint.items:
        contents[item.host].append(item.type)
    places = zip(blueprint.furnishings, contents, strict=True)
    outline = sorted((furnishing.type, sorted(names)) for furnishing, names in places)
    return hashlib.sha256(repr(outline).encode()).hexdigest()[:12]
