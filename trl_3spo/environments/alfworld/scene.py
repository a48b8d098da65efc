"""From a PDDL problem to the numbered receptacles, objects and locations of a game, and its first state."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from trl_3spo.environments.alfworld.pddl import Atom, Problem
from trl_3spo.environments.alfworld.rules import Rules
from trl_3spo.environments.alfworld.state import GameState, Receptacle, Thing


class Numbering(NamedTuple):
    """The index of each PDDL name among those of its type, in alphabetical order: the order of the game's listings."""

    receptacles: Mapping[str, int]
    objects: Mapping[str, int]
    locations: Mapping[str, int]
    agents: Mapping[str, int]


class Scene(NamedTuple):
    """What a game's problem says, without its goal.

    Args:
        receptacles: By index.
        objects: By index.
        accepts: For each receptacle the indices of the objects that may be put into it.
        initial: The first state.
        numbering: Where each PDDL name went.
    """

    receptacles: tuple[Receptacle, ...]
    objects: tuple[Thing, ...]
    accepts: tuple[frozenset[int], ...]
    initial: GameState
    numbering: Numbering


def read_scene(problem: Problem, rules: Rules) -> Scene:
    """Number and describe everything in a problem.

    Raises:
        ValueError: A receptacle has no location, the agent is nowhere, or a fact is about something undeclared.
    """
    numbering = _number(problem)
    mentioned = {word for atoms in problem.facts.values() for atom in atoms for word in atom}
    names = display_names(mentioned | problem.types.keys())
    try:
        return Scene(
            receptacles=_read_receptacles(problem, rules, numbering, names),
            objects=_read_objects(problem, numbering, names),
            accepts=_read_accepts(problem, numbering),
            initial=_read_initial_state(problem, numbering),
            numbering=numbering,
        )
    except KeyError as error:
        raise ValueError(
            f"The PDDL problem says nothing of the type or place of {error}; each receptacle needs a location, and "
            "each name used in a fact must be declared under :objects."
        ) from error


def display_names(ids: Iterable[str]) -> dict[str, str]:
    """Return the name in the game of each PDDL name: `apple 1` for `apple_bar__plus_01_dot_59…`.

    The instances of a type are numbered in descending order of their PDDL names. Receptacles called basins carry it at
    the end of their PDDL names. Names without `_bar_` stay as they are.
    """
    display: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for name in sorted(ids, reverse=True):
        type_name, bar, _ = name.partition("_bar_")
        if bar and "basin" in name:
            type_name += "basin"
        counts[type_name] += 1
        display[name] = f"{type_name} {counts[type_name]}" if bar else name
    return display


def _number(problem: Problem) -> Numbering:
    def indices(type_name: str) -> dict[str, int]:
        return {name: i for i, name in enumerate(sorted(n for n, t in problem.types.items() if t == type_name))}

    return Numbering(indices("receptacle"), indices("object"), indices("location"), indices("agent"))


def _read_receptacles(
    problem: Problem, rules: Rules, numbering: Numbering, names: Mapping[str, str]
) -> tuple[Receptacle, ...]:
    types = _pairs(problem, "receptacletype")
    locations = _pairs(problem, "receptacleatlocation")
    openable = _singles(problem, "openable")
    return tuple(
        Receptacle(
            name=names[name],
            type=types.get(name, "").removesuffix("type"),
            location=numbering.locations[locations[name]],
            openable=name in openable,
            is_sink=types.get(name) in rules.cleaning_types,
            is_microwave=types.get(name) == "microwavetype",
            is_fridge=types.get(name) == "fridgetype",
        )
        for name in numbering.receptacles
    )


def _read_objects(problem: Problem, numbering: Numbering, names: Mapping[str, str]) -> tuple[Thing, ...]:
    types = _pairs(problem, "objecttype")
    properties = ("pickupable", "cleanable", "heatable", "coolable", "toggleable", "sliceable")
    holders = {prop: _singles(problem, prop) for prop in properties}
    holders["is_receptacle"] = _singles(problem, "isreceptacleobject")
    inner: dict[str, list[int]] = {name: [] for name in numbering.objects}
    for inside, outside in _atoms(problem, "inreceptacleobject", 2):
        inner[outside].append(numbering.objects[inside])
    return tuple(
        Thing(
            name=names[name],
            type=types.get(name, "").removesuffix("type"),
            is_knife=types.get(name) in ("knifetype", "butterknifetype"),
            inner=tuple(sorted(inner[name])),
            **{prop: name in having for prop, having in holders.items()},
        )
        for name in numbering.objects
    )


def _read_accepts(problem: Problem, numbering: Numbering) -> tuple[frozenset[int], ...]:
    receptacle_types = _pairs(problem, "receptacletype")
    object_types = _pairs(problem, "objecttype")
    allowed = {(atom[0], atom[1]) for atom in _atoms(problem, "cancontain", 2)}
    # One set per receptacle type: a game has dozens of cabinets and drawers.
    by_type = {
        kind: frozenset(i for name, i in numbering.objects.items() if (kind, object_types.get(name, "")) in allowed)
        for kind in {receptacle_types.get(name, "") for name in numbering.receptacles}
    }
    return tuple(by_type[receptacle_types.get(name, "")] for name in numbering.receptacles)


def _read_initial_state(problem: Problem, numbering: Numbering) -> GameState:
    contents: list[list[int]] = [[] for _ in numbering.receptacles]
    for thing, receptacle in _atoms(problem, "inreceptacle", 2):
        contents[numbering.receptacles[receptacle]].append(numbering.objects[thing])
    start = _pairs(problem, "atlocation")
    if len(start) != 1:
        raise ValueError(f"The PDDL problem places {len(start)} agents; one '(atLocation agent …)' is required.")
    return GameState(
        location=numbering.locations[next(iter(start.values()))],
        held=tuple(numbering.objects[thing] for thing in _pairs(problem, "holds").values()),
        contents=tuple(tuple(sorted(things)) for things in contents),
        opened=_mask(problem, "opened", numbering.receptacles),
        clean=_mask(problem, "isclean", numbering.objects),
        hot=_mask(problem, "ishot", numbering.objects),
        cool=_mask(problem, "iscool", numbering.objects),
        toggled=_mask(problem, "istoggled", numbering.objects),
        sliced=_mask(problem, "issliced", numbering.objects),
        object_locations=tuple(
            sorted(
                (numbering.objects[thing], numbering.locations[location])
                for thing, location in _atoms(problem, "objectatlocation", 2)
            )
        ),
        departed=(),
    )


def _mask(problem: Problem, predicate: str, indices: Mapping[str, int]) -> int:
    return sum(1 << indices[name] for name in _singles(problem, predicate))


def _singles(problem: Problem, predicate: str) -> frozenset[str]:
    return frozenset(atom[0] for atom in _atoms(problem, predicate, 1))


def _pairs(problem: Problem, predicate: str) -> dict[str, str]:
    return {atom[0]: atom[1] for atom in _atoms(problem, predicate, 2)}


def _atoms(problem: Problem, predicate: str, arity: int) -> list[Atom]:
    atoms = problem.facts.get(predicate, [])
    for atom in atoms:
        if len(atom) != arity:
            raise ValueError(f"The PDDL problem holds '({' '.join((predicate, *atom))})'; {predicate} takes {arity}.")
    return atoms
