"""Plans of new games, and the PDDL problems made of them in the form of ALFWorld's released files."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from trl_3spo.environments.alfworld.assignment import KNIVES, LOOK, TREATMENTS, TWO
from trl_3spo.environments.alfworld.rooms import OBJECTS

Position = tuple[float, float, float]


class Furnishing(NamedTuple):
    """One receptacle of a game: its type, its id, the location it is reached from and whether it is closed at first."""

    type: str
    id: str
    location: str
    is_openable: bool


class Item(NamedTuple):
    """One object of a game: its type, its id and the indices of the receptacle it lies in, or of the two."""

    type: str
    id: str
    hosts: tuple[int, ...]


class Blueprint(NamedTuple):
    """A new game as it stands at the start.

    Args:
        kind: The task type.
        target: Object type the task is about.
        destination: Receptacle type it has to be put in; empty for "look at".
        lamp: Lamp type to look at it under; empty otherwise.
        furnishings: All receptacles.
        items: All objects.
        start: Location of the agent.
        is_sliced: Whether the target has to be sliced.
    """

    kind: str
    target: str
    destination: str
    lamp: str
    furnishings: tuple[Furnishing, ...]
    items: tuple[Item, ...]
    start: str
    is_sliced: bool = False


def entity_id(name: str, position: Position) -> str:
    """Return the id of a thing at a position in metres, such as `Mug_bar__plus_01_dot_59_bar__minus_00_dot_30_bar_…`.

    A basin is a part of its sink or bathtub: `Sink_bar_…_bar_SinkBasin`.
    """
    owner = name.removesuffix("Basin")
    parts = [owner, *(_coordinate(value) for value in position)]
    return "_bar_".join(parts if owner == name else [*parts, name])


def location_id(numbers: Sequence[int]) -> str:
    """Return the id of a location: two coordinates on the grid, a heading and a camera angle."""
    return "_bar_".join(["loc", *(f"_minus_{-number}" if number < 0 else str(number) for number in numbers)])


def problem_text(blueprint: Blueprint) -> str:
    """Write the problem of a blueprint."""
    sections = [_objects_section(blueprint), "(:init", *_facts(blueprint), ")", f"(:goal {_goal(blueprint)})"]
    return "\n".join(["(define (problem plan_trial)", "(:domain alfred)", *sections, ")"])


def _coordinate(value: float) -> str:
    sign = "_minus_" if value < 0 else "_plus_"
    return sign + f"{abs(value):05.2f}".replace(".", "_dot_")


def _objects_section(blueprint: Blueprint) -> str:
    # The domain names these types, so a problem without them is refused.
    object_types = {*KNIVES} | {item.type for item in blueprint.items}
    receptacle_types = {"Sink", "SinkBasin", "Microwave", "Fridge"} | {place.type for place in blueprint.furnishings}
    locations = dict.fromkeys([*(place.location for place in blueprint.furnishings), blueprint.start])
    lines = ["(:objects", "agent1 - agent"]
    lines += [f"{name}Type - otype" for name in sorted(object_types)]
    lines += [f"{name}Type - rtype" for name in sorted(receptacle_types)]
    lines += [f"{item.id} - object" for item in blueprint.items]
    lines += [f"{place.id} - receptacle" for place in blueprint.furnishings]
    lines += [f"{location} - location" for location in locations]
    return "\n".join([*lines, ")"])


def _facts(blueprint: Blueprint) -> Iterator[str]:
    for place in blueprint.furnishings:
        yield f"(receptacleType {place.id} {place.type}Type)"
        yield f"(receptacleAtLocation {place.id} {place.location})"
        if place.is_openable:
            yield f"(openable {place.id})"
    object_types = sorted({item.type for item in blueprint.items})
    for receptacle in sorted({place.type for place in blueprint.furnishings}):
        accepted = (name for name in object_types if receptacle in OBJECTS[name].fits)
        yield from (f"(canContain {receptacle}Type {name}Type)" for name in accepted)
    for item in blueprint.items:
        yield from _item_facts(item, [blueprint.furnishings[host] for host in item.hosts])
    yield f"(atLocation agent1 {blueprint.start})"


def _item_facts(item: Item, hosts: Sequence[Furnishing]) -> Iterator[str]:
    yield f"(objectType {item.id} {item.type}Type)"
    yield from (f"(inReceptacle {item.id} {host.id})" for host in hosts)
    yield f"(objectAtLocation {item.id} {hosts[0].location})"
    yield from (f"({trait} {item.id})" for trait in OBJECTS[item.type].traits)


def _goal(blueprint: Blueprint) -> str:
    if blueprint.kind == LOOK:
        return f"(and {_lit_by(blueprint.lamp)} {_held(blueprint.target)})"
    if blueprint.kind == TWO:
        first, second = (_placed(name, blueprint) for name in ("?o1", "?o2"))
        pair = f"(exists (?o2 - object) (and (not (= ?o1 ?o2)) {second}))"
        return f"(and (exists (?r - receptacle) (exists (?o1 - object) (and {first} {pair}))))"
    placed = _placed("?o", blueprint)
    if treatment := TREATMENTS.get(blueprint.kind):
        placed = f"({treatment.trait} ?o) {placed} (is{treatment.adjective.capitalize()} ?o)"
    return f"(and (exists (?r - receptacle) (exists (?o - object) (and {placed}))))"


def _placed(variable: str, blueprint: Blueprint) -> str:
    types = f"(objectType {variable} {blueprint.target}Type) (receptacleType ?r {blueprint.destination}Type)"
    sliced = f"(sliceable {variable}) (isSliced {variable}) " if blueprint.is_sliced else ""
    return f"{sliced}{types} (inReceptacle {variable} ?r)"


def _lit_by(lamp: str) -> str:
    variables = "(?lamp - object ?r - receptacle ?a - agent ?l - location)"
    is_on = f"(objectType ?lamp {lamp}Type) (toggleable ?lamp) (isToggled ?lamp)"
    is_here = "(receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?lamp ?r)"
    return f"(exists {variables} (and {is_on} {is_here}))"


def _held(target: str) -> str:
    return f"(exists (?o - object ?a - agent) (and (objectType ?o {target}Type) (holds ?a ?o)))"
