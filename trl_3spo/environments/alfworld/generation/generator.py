"""New games: seeded, solvable, all six task types, from a handful of receptacles to the size of the released ones.

Nothing is downloaded. A game is a dictionary that `Game` reads; `export` writes it in the form ALFWorld itself loads.
"""

import hashlib
import random
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from trl_3spo.environments.alfworld.assignment import KINDS, SENTENCES, SLICED_SENTENCES
from trl_3spo.environments.alfworld.generation.blueprint import Blueprint, problem_text
from trl_3spo.environments.alfworld.generation.drawing import (
    Bounds,
    capacity,
    draw_blueprint,
    is_possible,
    sliceable_targets,
)
from trl_3spo.environments.alfworld.generation.oracle import assignment_of, oracle_plan
from trl_3spo.environments.alfworld.rooms import ROOMS, Room
from trl_3spo.environments.alfworld.simulator.game import Game
from trl_3spo.environments.base import Task

MIN_RECEPTACLES = 4
"""The destination, the appliance and two places to search."""

MIN_OBJECTS = 2
"""Two targets, or the target and the lamp."""

MAX_FRUITLESS_DRAWS = 200
"""Draws without a new game after which the sizes are taken to have no more of them."""


class HasGames(Protocol):
    """What is asked of an environment whose games must not come again: the part of `AlfworldEnv` that names them."""

    def tasks(self) -> Sequence[Task]: ...  # noqa: D102

    def game(self, task_id: str) -> Game: ...  # noqa: D102


def generate_games(
    count: int,
    seed: int,
    *,
    kinds: Sequence[str] = KINDS,
    num_receptacles: Bounds = None,
    num_objects: Bounds = None,
    sliced_share: float = 0.0,
    apart_from: HasGames | None = None,
) -> list[dict[str, Any]]:
    """Return different solvable games, the task types in turn. The first n are the same for every count.

    Two games are different if the tasks differ or the same types of things do not lie in the same types of places.

    Args:
        count: Number of games, at least 0.
        seed: Equal seeds give equal games, in every process.
        kinds: Task types to draw from.
        num_receptacles: Least and greatest number of receptacles, such as (4, 8) for small games. `None` follows the
            released games (mean 22), also in their quirks: cabinets that cannot be opened, objects recorded in two
            receptacles at once.
        num_objects: Least and greatest number of objects, such as (4, 10); `None` follows the released games (mean 37).
        sliced_share: Chance in [0, 1] of a game to ask for a sliced target, other than to look at. ALFWorld leaves such
            games out.
        apart_from: An environment whose games must not be among the new ones, such as an evaluation's
            `AlfworldEnv(split="valid_unseen")`. They are compared by content.

    Raises:
        ValueError: An option is out of its range, or there are not so many different games of these sizes.
    """
    if count < 0 or not kinds:
        raise ValueError(
            f"cannot generate {count} games of the kinds {kinds!r}: give a count >= 0 and at least one kind"
        )
    rng = random.Random(seed)
    known = {_content(apart_from.game(task.id)) for task in apart_from.tasks()} if apart_from else set()
    games: dict[str, dict[str, Any]] = {}
    num_fruitless = 0
    while len(games) < count:
        kind = kinds[len(games) % len(kinds)]
        game = generate_game(
            rng, kind=kind, num_receptacles=num_receptacles, num_objects=num_objects, sliced_share=sliced_share
        )
        is_new = game["id"] not in games and not (known and _content(Game(game)) in known)
        num_fruitless = 0 if is_new else num_fruitless + 1
        if is_new:
            games[game["id"]] = game
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
    sliced_share: float = 0.0,
) -> dict[str, Any]:
    """Return one solvable game; see `generate_games` for the sizes.

    The keys are:

    - `pddl_problem`, `kind` and `solvable`;
    - `task`: the sentence;
    - `parameters`: `pddl_params` of the released files;
    - `walkthrough`: the shortest way that the oracle knows;
    - `id`: equal for equal games.

    Args:
        rng: Source of all choices.
        kind: The task type; `None` draws one.
        num_receptacles: Least and greatest number of receptacles.
        num_objects: Least and greatest number of objects.
        sliced_share: Chance of the target to have to be sliced.

    Raises:
        ValueError: An option is out of its range.
    """
    kind = rng.choice(KINDS) if kind is None else kind
    if not 0 <= sliced_share <= 1:
        raise ValueError(f"sliced_share is {sliced_share!r}: it must be between 0 (as in ALFWorld) and 1")
    is_sliced = sliced_share > 0 and kind in SLICED_SENTENCES and rng.random() < sliced_share
    rooms = _suitable_rooms(kind, num_receptacles, is_sliced)
    _check_bounds("num_objects", num_objects, MIN_OBJECTS + (sliced_share > 0))
    while True:
        blueprint = draw_blueprint(rng, kind, rng.choice(rooms), num_receptacles, num_objects, is_sliced)
        game = _describe(blueprint, rng.choice((SLICED_SENTENCES if is_sliced else SENTENCES)[kind]))
        simulator = Game(game)
        # A drawn game is nearly always solvable; what is not is drawn again rather than repaired.
        if plan := oracle_plan(simulator, simulator.initial):
            return {**game, "walkthrough": plan}


def _check_bounds(name: str, bounds: Bounds, least: int) -> None:
    if bounds is not None and not least <= bounds[0] <= bounds[1]:
        raise ValueError(f"{name} is {bounds}: it must be (low, high) with {least} <= low <= high; use ({least}, 10)")


def _suitable_rooms(kind: str, num_receptacles: Bounds, is_sliced: bool) -> list[Room]:
    """Return the rooms the task can be done in and that hold so many receptacles."""
    if kind not in KINDS:
        raise ValueError(f"there is no task type {kind!r}: it must be one of {', '.join(KINDS)}")
    _check_bounds("num_receptacles", num_receptacles, MIN_RECEPTACLES)
    rooms = [
        room for room in ROOMS.values() if is_possible(kind, room) and (not is_sliced or sliceable_targets(kind, room))
    ]
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
        "id": f"{kind}-{target}{'Sliced' * blueprint.is_sliced}-None-{destination or lamp}-{_digest(blueprint)}",
        "kind": kind,
        "task": sentence.format(target=target.lower(), destination=destination.lower(), lamp=lamp.lower()),
        "parameters": {
            "object_target": target,
            "parent_target": destination,
            "mrecep_target": "",
            "toggle_target": lamp,
            "object_sliced": blueprint.is_sliced,
        },
        "pddl_problem": problem_text(blueprint),
        "solvable": True,
    }


def _content(game: Game) -> Hashable:
    """Return what makes two games equal: the task, and what lies where by types."""
    places = zip(game.receptacles, game.initial.contents, strict=True)
    outline = sorted((place.type, sorted(game.objects[thing].type for thing in things)) for place, things in places)
    return assignment_of(game), repr(outline)


def _digest(blueprint: Blueprint) -> str:
    """Return a name for what lies where, by types, in twelve hexadecimal digits."""
    contents: list[list[str]] = [[] for _ in blueprint.furnishings]
    for item in blueprint.items:
        for host in item.hosts:
            contents[host].append(item.type)
    places = zip(blueprint.furnishings, contents, strict=True)
    outline = sorted((furnishing.type, sorted(names)) for furnishing, names in places)
    return hashlib.sha256(repr(outline).encode()).hexdigest()[:12]
