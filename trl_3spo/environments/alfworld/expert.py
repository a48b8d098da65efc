"""A demonstrator that searches: it knows what it has read and where things usually lie, and nothing else.

It reads observations and chooses among admissible actions, as a policy does, so that a policy can imitate it. It goes
on from anywhere: what others do in between, by chance or by mistake, it reads in the observations.
"""

import random
import re
from collections import Counter
from collections.abc import Collection, Iterable

from trl_3spo.environments.alfworld.assignment import LOOK, TWO, Assignment
from trl_3spo.environments.alfworld.rooms import OBJECTS, OPENABLE, find_weights

_TYPES = {name.lower(): object_type for name, object_type in OBJECTS.items()}
_OPENABLE = frozenset(name.lower() for name in OPENABLE)

_UNLIKELY = 0.01
"""Weight of places an object is not known to lie in, against 1 for the likeliest."""

_NAME = r"([a-z]+ \d+)"
_VIEW = re.compile(rf"(?:On the {_NAME}|The {_NAME} is open\. In it), you see ([^.]*)\.")
_ROOM = re.compile(r"Looking quickly around you, you see ([^.]*)\.|You are facing ([^.]*)\.")
_TAKEN = re.compile(rf"You pick up the {_NAME} from the {_NAME}\.")
_MOVED = re.compile(rf"You move the {_NAME} to the {_NAME}\.")
_TREATED = re.compile(rf"You (clean|heat|cool) the {_NAME} using")
_CARRIED = re.compile(rf"You are carrying: a {_NAME}\.")
_THING = re.compile(rf"\b(?:a|the|and) {_NAME}")

_EFFECTS = {"clean": ("clean", ""), "heat": ("hot", "cool"), "cool": ("cool", "hot")}
"""Verb -> what an object becomes, and what it ceases to be."""


class SearchExpert:
    """Plays one episode by searching. Every text of the episode goes to `observe`, also those after actions of others.

    The target is looked for in the likeliest place first: likely by its type, few of the kind, no door to open. All
    else that is seen on the way is remembered.

    Args:
        assignment: What to achieve, or the text that says so: the task sentence or a game's introduction.
        seed: Decides between places that are equally likely.

    Raises:
        ValueError: The text says no task in a known form.
    """

    def __init__(self, assignment: Assignment | str, seed: int = 0) -> None:
        self._goal = Assignment.from_text(assignment) if isinstance(assignment, str) else assignment
        self._seed = seed
        self._memory = _Memory()
        self._preferences: dict[str, float] = {}
        self._refusals: set[tuple[str, str]] = set()
        self._commands: Collection[str] = ()

    def observe(self, text: str) -> None:
        """Read what the game answered, beginning with the introduction."""
        self._memory.read(text)

    def act(self, admissible_actions: Iterable[str]) -> str:
        """Return one of the admissible actions.

        Where nothing is left to do, as with something in the hand that no receptacle accepts, it looks around.

        Raises:
            ValueError: There are no admissible actions.
        """
        self._commands = dict.fromkeys(admissible_actions)
        if not self._commands:
            raise ValueError(
                "there are no admissible actions: at least one is required; the episode has probably ended"
            )
        self._memory.read_commands(self._commands)
        # Each attempt that fails strikes out a belief, so that the next one differs.
        for _ in range(len(self._commands)):
            action = self._decide()
            if action in self._commands:
                return action
            if not self._unlearn(action):
                break
        return "look" if "look" in self._commands else next(iter(self._commands))

    def _unlearn(self, action: str) -> bool:
        """Give up the belief that a command was possible; false if there was none to give up."""
        verb, _, rest = action.partition(" ")
        thing, _, place = rest.partition(" from " if verb == "take" else " to ")
        if verb == "take":
            self._memory.contents[place] = None
        elif verb == "move":
            self._refusals.add((_type(thing), _type(place)))
        return verb in ("take", "move")

    def _decide(self) -> str:
        held, goal = self._memory.held, self._goal
        if not held:
            return self._fetch()
        if _type(held) != goal.target:
            return self._deliver(held, self._memory.contents)
        if goal.kind == LOOK:
            return self._light_up()
        if goal.treatment and goal.treatment.adjective not in self._memory.conditions(held):
            appliances = self._of_type(goal.treatment.appliance.lower())
            return self._at(appliances, f"{goal.treatment.verb} {held} with {{place}}")
        destinations = self._of_type(goal.destination)
        return self._deliver(held, [self._meeting_place()] if goal.kind == TWO else destinations)

    def _fetch(self) -> str:
        """Take a target that was seen, or else search."""
        done = self._meeting_place() if self._goal.kind == TWO else ""
        hosts = {place: self._seen(place, self._goal.target) for place in self._memory.contents if place != done}
        places = [place for place, things in hosts.items() if things]
        if not places:
            return self._search(self._goal.target)
        place = min(places, key=self._effort)
        return self._approach(place) or f"take {hosts[place][0]} from {place}"

    def _light_up(self) -> str:
        """Switch on a lamp that was seen, or else search for one."""
        for place in sorted(self._memory.contents, key=self._effort):
            for lamp in self._seen(place, self._goal.lamp):
                return self._go_to(place) or f"use {lamp}"
        return self._search(self._goal.lamp)

    def _deliver(self, thing: str, places: Iterable[str]) -> str:
        """Put down what is held at the nearest of some places, as far as known one that accepts it."""
        kind = _type(thing)
        fitting = _fitting(kind)
        open_to = [place for place in places if (kind, _type(place)) not in self._refusals]
        likely = [place for place in open_to if _type(place) in fitting]
        place = min(likely or open_to, key=self._effort, default="")
        return place and (self._approach(place) or f"move {thing} to {place}")

    def _meeting_place(self) -> str:
        """Return where two targets are to be brought together: where one is already, or else the nearest place."""
        goal = self._goal
        places = self._of_type(goal.destination)
        return min(places, key=lambda place: (-len(self._seen(place, goal.target)), self._effort(place)), default="")

    def _search(self, kind: str) -> str:
        """Look into the most promising place that has not been seen."""
        unseen = [place for place, things in self._memory.contents.items() if things is None]
        if not unseen:
            # Something seen must have been misread or moved unseen: start over.
            self._memory.forget_contents()
            unseen = list(self._memory.contents)
        weights, counts = _weights(kind), Counter(_type(place) for place in self._memory.contents)

        def promise(place: str) -> tuple[float, float]:
            chance = weights.get(_type(place), _UNLIKELY) / counts[_type(place)]
            return chance / (1 + self._effort(place)[0]), self._preference(place)

        place = max(unseen, key=promise, default="")
        return place and (self._approach(place) or f"examine {place}")

    def _at(self, places: Iterable[str], command: str) -> str:
        place = min(places, key=self._effort, default="")
        return place and (self._go_to(place) or command.format(place=place))

    def _approach(self, place: str) -> str:
        """Return what has to be done before a receptacle can be reached into; empty if nothing."""
        return self._go_to(place) or (f"open {place}" if f"open {place}" in self._commands else "")

    def _go_to(self, place: str) -> str:
        return f"go to {place}" if f"go to {place}" in self._commands else ""

    def _effort(self, place: str) -> tuple[int, float]:
        """Return the number of actions it takes to reach into a receptacle, and a seeded number to break ties."""
        is_far = f"go to {place}" in self._commands
        is_closed = _type(place) in _OPENABLE and self._memory.contents[place] is None
        return is_far + (is_closed or f"open {place}" in self._commands), self._preference(place)

    def _preference(self, place: str) -> float:
        if place not in self._preferences:
            self._preferences[place] = random.Random(f"{self._seed} {place}").random()
        return self._preferences[place]

    def _of_type(self, kind: str) -> list[str]:
        return [place for place in self._memory.contents if _type(place) == kind]

    def _seen(self, place: str, kind: str) -> list[str]:
        return [thing for thing in self._memory.contents[place] or () if _type(thing) == kind]


class _Memory:
    """What the texts of an episode have said so far.

    Attributes:
        contents: What was last seen in each receptacle; `None` where nobody has looked.
        held: What the hand holds, or nothing.
    """

    def __init__(self) -> None:
        self.contents: dict[str, list[str] | None] = {}
        self.held = ""
        self._conditions: dict[str, set[str]] = {}

    def conditions(self, thing: str) -> set[str]:
        """Return what has been made of an object: "clean", "hot", "cool"."""
        return self._conditions.setdefault(thing, set())

    def read(self, text: str) -> None:
        """Take in an observation. Unknown sentences say nothing."""
        for around, ahead in _ROOM.findall(text):
            for place in _THING.findall(around or ahead):
                self.contents.setdefault(place, None)
        for surface, container, things in _VIEW.findall(text):
            self.contents[surface or container] = _THING.findall(things)
        for thing, place in _TAKEN.findall(text):
            self.held = thing
            self._listed(place, thing).remove(thing)
        for thing, place in _MOVED.findall(text):
            self.held = ""
            self._listed(place, thing)
        for verb, thing in _TREATED.findall(text):
            gained, lost = _EFFECTS[verb]
            self.conditions(thing).add(gained)
            self.conditions(thing).discard(lost)
        for thing in _CARRIED.findall(text):
            self.held = thing

    def read_commands(self, commands: Iterable[str]) -> None:
        """Learn the receptacles there are and what the hand holds, as far as the admissible actions tell."""
        for command in commands:
            verb, _, rest = command.partition(" ")
            if verb in ("go", "open", "close"):
                self.contents.setdefault(rest.removeprefix("to "), None)
            elif verb == "take":
                self.held = ""
            elif verb == "move":
                self.held = rest.partition(" to ")[0]

    def forget_contents(self) -> None:
        """Treat every receptacle as not looked into."""
        self.contents = dict.fromkeys(self.contents)

    def _listed(self, place: str, thing: str) -> list[str]:
        """Return the list of what is in a receptacle, the object among it."""
        things = self.contents.get(place) or []
        self.contents[place] = things
        if thing not in things:
            things.append(thing)
        return things


def _type(name: str) -> str:
    return name.partition(" ")[0]


def _weights(kind: str) -> dict[str, float]:
    """Return how likely an object lies in each receptacle type."""
    found_in = _TYPES[kind].found_in if kind in _TYPES else ()
    return {place.lower(): weight for place, weight in find_weights(found_in).items()}


def _fitting(kind: str) -> set[str]:
    """Return the receptacle types known to accept an object; none of an unknown type."""
    return {name.lower() for name in _TYPES[kind].fits} if kind in _TYPES else set()
