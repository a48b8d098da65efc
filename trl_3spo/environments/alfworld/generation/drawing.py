"""Drawing of new games: a task, furniture, and where everything lies, so that the target has to be searched for."""

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence

from trl_3spo.environments.alfworld.assignment import KNIVES, LOOK, TREATMENTS, TWO
from trl_3spo.environments.alfworld.generation.blueprint import Blueprint, Furnishing, Item, entity_id, location_id
from trl_3spo.environments.alfworld.rooms import (
    FIXED_SHARE,
    OBJECTS,
    OPENABLE,
    OVERLAPS,
    Amount,
    Room,
    find_weights,
)

Bounds = tuple[int, int] | None
"""Least and greatest number; `None` leaves the numbers to the room."""

NUM_HIDING_PLACES = 3
"""The target may lie in at least so many places, where the size of the game allows it."""

FEWEST_RELEASED = 7
"""No released game has fewer receptacles."""

SHARING_RATE = 0.1
"""Chance of a receptacle to stand at the location of an earlier one, which puts 17 % of them at shared locations."""


def is_possible(kind: str, room: Room) -> bool:
    """Return whether a task of this type can be done in a room."""
    treatment = TREATMENTS.get(kind)
    return bool(room.lamp) if kind == LOOK else treatment is None or treatment.appliance in room.receptacles


def capacity(room: Room) -> int:
    """Return the greatest number of receptacles a room holds."""
    return sum(amount.high for amount in room.receptacles.values())


def draw_blueprint(
    rng: random.Random, kind: str, room: Room, num_receptacles: Bounds, num_objects: Bounds, is_sliced: bool = False
) -> Blueprint:
    """Draw a game that is not won at the start and has everything that the task needs.

    Args:
        rng: Source of all choices.
        kind: A task type that is possible in the room.
        room: Room of the game.
        num_receptacles: Least and greatest number, at least (4, 4). The least is at most the room's capacity. `None`
            draws the released games' numbers and their quirks: cabinets that do not open, and objects in two
            receptacles at once.
        num_objects: Least and greatest number, at least (2, 2), or (3, 3) if the target has to be sliced.
        is_sliced: Whether the target has to be sliced, which must be possible in the room.
    """
    target, destination = _draw_task(rng, kind, room, is_sliced)
    hiding_types = _hiding_types(kind, target, destination, room)
    required = _required_furniture(rng, kind, room, destination)
    furniture = _draw_furniture(rng, room, required, hiding_types, num_receptacles)
    lamp = room.lamp if kind == LOOK else ""
    needed = [target] * (2 if kind == TWO else 1) + [lamp] * bool(lamp)
    if is_sliced:
        needed.append(rng.choice(KNIVES))
    names = needed + _draw_others(rng, room, needed, furniture, num_objects)
    has_quirks = num_receptacles is None
    hosts = [
        _draw_hosts(rng, furniture, hiding_types if name == target else OBJECTS[name].found_in, has_quirks)
        for name in names
    ]
    surveyor = _Surveyor(rng)
    items = tuple(
        Item(name, surveyor.new_entity(name), found) for name, found in zip(names, hosts, strict=True) if found
    )
    furnishings = surveyor.arrange(furniture, FIXED_SHARE if has_quirks else {})
    return Blueprint(kind, target, destination, lamp, furnishings, items, surveyor.new_location(), is_sliced)


def sliceable_targets(kind: str, room: Room) -> list[str]:
    """Return the object types a task of this type can ask for in a room sliced."""
    return [name for name in room.objects if "sliceable" in OBJECTS[name].traits and _destinations(kind, name, room)]


def _draw_task(rng: random.Random, kind: str, room: Room, is_sliced: bool) -> tuple[str, str]:
    """Draw the target, and a destination that leaves enough places to hide the target in."""
    names = sliceable_targets(kind, room) if is_sliced else room.objects
    options = {target: _destinations(kind, target, room) for target in names}
    target = rng.choice([target for target, destinations in options.items() if destinations])
    return target, rng.choice(options[target])


def _destinations(kind: str, target: str, room: Room) -> list[str]:
    """Return the receptacle types a target can be asked to be put in; the empty one stands for "look at"."""
    object_type, treatment = OBJECTS[target], TREATMENTS.get(kind)
    if not object_type.fits or (treatment and treatment.trait not in object_type.traits):
        return []
    candidates = [""] if kind == LOOK else [name for name in room.receptacles if name in object_type.fits]
    if treatment and treatment.appliance in candidates:
        candidates.remove(treatment.appliance)
    return [name for name in candidates if _is_search(kind, target, name, room)]


def _is_search(kind: str, target: str, destination: str, room: Room) -> bool:
    hiding_types = _hiding_types(kind, target, destination, room)
    return sum(room.receptacles[name].high for name in hiding_types) >= NUM_HIDING_PLACES


def _hiding_types(kind: str, target: str, destination: str, room: Room) -> list[str]:
    """Return the receptacle types the target may lie in without being where it has to go."""
    taboo = "" if kind in TREATMENTS else destination
    return [name for name in OBJECTS[target].found_in if name in room.receptacles and name != taboo]


def _required_furniture(rng: random.Random, kind: str, room: Room, destination: str) -> list[str]:
    if kind == LOOK:
        return [rng.choice([name for name in OBJECTS[room.lamp].found_in if name in room.receptacles])]
    treatment = TREATMENTS.get(kind)
    return [destination, treatment.appliance] if treatment else [destination]


def _draw_furniture(
    rng: random.Random, room: Room, required: Sequence[str], hiding_types: Sequence[str], bounds: Bounds
) -> list[str]:
    """Draw the types of the receptacles: the required ones, then places to hide in, then others."""
    counts = Counter(required)
    if bounds is None:
        counts |= Counter({name: _draw_number(rng, amount) for name, amount in room.receptacles.items()})
    num_missing = max(0, NUM_HIDING_PLACES - sum(counts[name] for name in hiding_types))
    if bounds is None:
        size = max(counts.total() + num_missing, FEWEST_RELEASED)
    else:
        size = rng.randint(bounds[0], min(bounds[1], capacity(room)))
    _add_receptacles(rng, room, counts, hiding_types, min(num_missing, size - counts.total()))
    _add_receptacles(rng, room, counts, list(room.receptacles), size - counts.total())
    return list(counts.elements())


def _draw_number(rng: random.Random, amount: Amount) -> int:
    """Draw a number of the amount's mean: as widely spread as its limits allow, or often the lowest for a low mean."""
    size = amount.high - amount.low
    if size == 0:
        return amount.low
    share = (amount.mean - amount.low) / size
    # Rounding at random keeps the mean.
    return int(amount.low + size * rng.betavariate(2 * share, 2 * (1 - share)) + rng.random())


def _add_receptacles(rng: random.Random, room: Room, counts: Counter[str], names: Sequence[str], number: int) -> None:
    for _ in range(number):
        # Square roots, or else small rooms would be all cabinets.
        space = [math.sqrt(room.receptacles[name].high - counts[name]) for name in names]
        counts[rng.choices(names, space)[0]] += 1


def _draw_others(
    rng: random.Random, room: Room, needed: Sequence[str], furniture: Sequence[str], bounds: Bounds
) -> list[str]:
    """Draw the types of the objects beyond the needed ones; there may be more of the target."""
    if bounds is None:
        counts = Counter({name: rng.randint(*limits) for name, limits in room.objects.items()})
        return list((counts - Counter(needed)).elements())
    present = set(furniture)
    names = [name for name in room.objects if present.intersection(OBJECTS[name].found_in)]
    frequencies = [room.objects[name][1] for name in names]
    return rng.choices(names, frequencies, k=max(0, rng.randint(*bounds) - len(needed)))


def _draw_hosts(
    rng: random.Random, furniture: Sequence[str], found_in: Sequence[str], has_quirks: bool
) -> tuple[int, ...]:
    """Draw the receptacle an object lies in, first its type and then which; nothing if there is none of the types."""
    present = set(furniture)
    weights = {name: weight for name, weight in find_weights(found_in).items() if name in present}
    if not weights:
        return ()
    (chosen,) = rng.choices(list(weights), list(weights.values()))
    host = rng.choice([i for i, name in enumerate(furniture) if name == chosen])
    return (host, *_draw_second_host(rng, furniture, found_in, host)) if has_quirks else (host,)


def _draw_second_host(
    rng: random.Random, furniture: Sequence[str], found_in: Sequence[str], host: int
) -> tuple[int, ...]:
    """Draw the receptacle an object is recorded in besides its own: mostly none."""
    for (own, other), chance in OVERLAPS.items():
        others = [i for i, name in enumerate(furniture) if name == other and i != host]
        if own == furniture[host] and other in found_in and others and rng.random() < chance:
            return (rng.choice(others),)
    return ()


class _Surveyor:
    """Gives everything its place, no two things the same."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._used: set[str] = set()

    def arrange(self, furniture: Sequence[str], fixed_share: Mapping[str, float]) -> tuple[Furnishing, ...]:
        furnishings: list[Furnishing] = []
        for name in furniture:
            is_shared = bool(furnishings) and self._rng.random() < SHARING_RATE
            location = self._rng.choice(furnishings).location if is_shared else self.new_location()
            is_fixed = name not in OPENABLE or (name in fixed_share and self._rng.random() < fixed_share[name])
            furnishings.append(Furnishing(name, self.new_entity(name), location, not is_fixed))
        return tuple(furnishings)

    def new_entity(self, name: str) -> str:
        rng = self._rng
        position = (rng.uniform(-4, 4), rng.uniform(0, 2.2), rng.uniform(-4, 4))
        return self._claim(entity_id(name, position)) or self.new_entity(name)

    def new_location(self) -> str:
        rng = self._rng
        numbers = (rng.randint(-12, 12), rng.randint(-12, 12), rng.randint(0, 3), rng.choice((-30, 0, 15, 30, 45, 60)))
        return self._claim(location_id(numbers)) or self.new_location()

    def _claim(self, name: str) -> str:
        """Return the name, or nothing if it is taken."""
        if name in self._used:
            return ""
        self._used.add(name)
        return name
