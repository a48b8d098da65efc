"""From a PDDL problem to the numbered receptacles, objects and locations of a game, and its first state."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from trl_3spo.environments.alfworld.simulator.pddl import Atom, Problem
from trl_3spo.environments.alfworld.simulator.rules import Rules
from trl_3spo.environments.alfworld.simulator.state import GameState, Receptacle, Thing

Facts = Mapping[str, Sequence[Atom]]
"""Arguments of what holds in a state, by predicate."""


class Numbering(NamedTuple):
    """The alphabetical index of each PDDL name within its type. It gives the order of the game's listings."""

    receptacles: Mapping[str, int]
    objects: Mapping[str, int]
    locations: Mapping[str, int]
    agents: Mapping[str, int]


class Scene(NamedTuple):
    """What a game's problem says, without its goal.

    Args:
        receptacles: Receptacles by index.
        objects: Objects by index.
        accepts: Indices of the objects that may be put into each receptacle.
        initial: First state.
        numbering: Index of each PDDL name.
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
    numbering = number(problem)
    mentioned = {word for atoms in problem.facts.values() for atom in atoms for word in atom}
    names = display_names(mentioned | problem.types.keys())
    try:
        return Scene(
            receptacles=_read_receptacles(problem, rules, numbering, names),
            objects=_read_objects(problem, numbering, names),
            accepts=_read_accepts(problem, numbering),
            initial=read_state(problem.facts, numbering),
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


def number(problem: Problem) -> Numbering:
    """Number everything that is declared in a problem."""

    def indices(type_name: str) -> dict[str, int]:
        return {name: i for i, name in enumerate(sorted(n for n, t in problem.types.items() if t == type_name))}

    return Numbering(indices("receptacle"), indices("object"), indices("location"), indices("agent"))


def _read_receptacles(
    problem: Problem, rules: Rules, numbering: Numbering, names: Mapping[str, str]
) -> tuple[Receptacle, ...]:
    types = _pairs(problem.facts, "receptacletype")
    locations = _pairs(problem.facts, "receptacleatlocation")
    openable = _singles(problem.facts, "openable")
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
    types = _pairs(problem.facts, "objecttype")
    properties = ("pickupable", "cleanable", "heatable", "coolable", "toggleable", "sliceable")
    holders = {prop: _singles(problem.facts, prop) for prop in properties}
    holders["is_receptacle"] = _singles(problem.facts, "isreceptacleobject")
    inner: dict[str, list[int]] = {name: [] for name in numbering.objects}
    for inside, outside in _atoms(problem.facts, "inreceptacleobject", 2):
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
    receptacle_types = _pairs(problem.facts, "receptacletype")
    object_types = _pairs(problem.facts, "objecttype")
    allowed = {(atom[0], atom[1]) for atom in _atoms(problem.facts, "cancontain", 2)}
    # One set per receptacle type: a game has dozens of cabinets and drawers.
    by_type = {
        kind: frozenset(i for name, i in numbering.objects.items() if (kind, object_types.get(name, "")) in allowed)
        for kind in {receptacle_types.get(name, "") for name in numbering.receptacles}
    }
    return tuple(by_type[receptacle_types.get(name, "")] for name in numbering.receptacles)


def read_state(facts: Facts, numbering: Numbering) -> GameState:
    """Return the state in which the given facts hold, and from which nothing has departed.

    Raises:
        KeyError: A fact is about something undeclared.
        ValueError: There is not one agent, or a fact has too few or too many arguments.
    """
    contents: list[list[int]] = [[] for _ in numbering.receptacles]
    for thing, receptacle in _atoms(facts, "inreceptacle", 2):
        contents[numbering.receptacles[receptacle]].append(numbering.objects[thing])
    start = _pairs(facts, "atlocation")
    if len(start) != 1:
        raise ValueError(f"The PDDL problem places {len(start)} agents; one '(atLocation agent …)' is required.")
    return GameState(
        location=numbering.locations[next(iter(start.values()))],
        held=tuple(numbering.objects[thing] for thing in _pairs(facts, "holds").values()),
        contents=tuple(tuple(sorted(things)) for things in contents),
        opened=_mask(facts, "opened", numbering.receptacles),
        clean=_mask(facts, "isclean", numbering.objects),
        hot=_mask(facts, "ishot", numbering.objects),
        cool=_mask(facts, "iscool", numbering.objects),
        toggled=_mask(facts, "istoggled", numbering.objects),
        sliced=_mask(facts, "issliced", numbering.objects),
        object_locations=tuple(
            sorted(
                (numbering.objects[thing], numbering.locations[location])
                for thing, location in _atoms(facts, "objectatlocation", 2)
            )
        ),
        departed=(),
    )


def _mask(facts: Facts, predicate: str, indices: Mapping[str, int]) -> int:
    return sum(1 << indices[name] for name in _singles(facts, predicate))


def _singles(facts: Facts, predicate: str) -> frozenset[str]:
    return frozenset(atom[0] for atom in _atoms(facts, predicate, 1))


def _pairs(facts: Facts, predicate: str) -> dict[str, str]:
    return {atom[0]: atom[1] for atom in _atoms(facts, predicate, 2)}


def _atoms(facts: Facts, predicate: str, arity: int) -> Sequence[Atom]:
    atoms = facts.get(predicate, ())
    for atom in atoms:
        if len(atom) != arity:
            raise ValueError(f"The PDDL problem holds '({' '.join((predicate, *atom))})'; {predicate} takes {arity}.")
    return atoms
