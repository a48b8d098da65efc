"""What a player knows of a game from its texts alone: what lies where, what the hand holds, what was done to it."""

import re
from collections.abc import Iterable

from trl_3spo.environments.alfworld.rooms import ROOMS
from trl_3spo.environments.alfworld.simulator.text import BANNER

_NAME = r"([a-z]+ \d+)"
_VIEW = re.compile(rf"(?:On the {_NAME}|The {_NAME} is open\. In it), you see ([^.]*)\.")
_ROOM = re.compile(r"Looking quickly around you, you see ([^.]*)\.|You are facing ([^.]*)\.")
_TAKEN = re.compile(rf"You pick up the {_NAME} from the {_NAME}\.")
_MOVED = re.compile(rf"You move the {_NAME} to the {_NAME}\.")
_TREATED = re.compile(rf"You (clean|heat|cool|sliced) the {_NAME} (?:using|with)")
_CARRIED = re.compile(rf"You are carrying: a {_NAME}\.")
_EMPTY_HANDED = (BANNER, "You are not carrying anything.")
_THING = re.compile(rf"\b(?:a|the|and) {_NAME}")

_RECEPTACLES = frozenset(name.lower() for room in ROOMS.values() for name in room.receptacles)
_EFFECTS = {"clean": ("clean", ""), "heat": ("hot", "cool"), "cool": ("cool", "hot"), "sliced": ("sliced", "")}
"""Verb -> what an object becomes, and what it ceases to be."""


class Memory:
    """What the texts of an episode have said so far.

    Attributes:
        contents: Objects last seen in each receptacle; `None` if nobody has looked.
        held: Held object, empty for none; `None` if unknown. A game begins with none.
    """

    def __init__(self) -> None:
        self.contents: dict[str, list[str] | None] = {}
        self.held: str | None = None
        self._conditions: dict[str, set[str]] = {}

    def conditions(self, thing: str) -> set[str]:
        """Return what has been made of an object: "clean", "hot", "cool", "sliced"."""
        return self._conditions.setdefault(thing, set())

    def read(self, text: str) -> None:
        """Take in an observation. Unknown sentences say nothing."""
        if text.startswith(_EMPTY_HANDED):
            self.held = ""
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
            if verb in ("go", "open", "close") or (verb == "examine" and rest.partition(" ")[0] in _RECEPTACLES):
                self.contents.setdefault(rest.removeprefix("to "), None)
            elif verb == "take":
                self.held = ""
            elif verb == "move":
                self.held = rest.partition(" to ")[0]

    def forget_contents(self, *, but: Iterable[str] = ()) -> None:
        """Treat every receptacle as not looked into, except for what some texts say."""
        kept = Memory()
        for text in but:
            kept.read(text)
        self.contents = dict.fromkeys(self.contents) | kept.contents

    def _listed(self, place: str, thing: str) -> list[str]:
        """Return the list of what is in a receptacle, the object among it."""
        things = self.contents.get(place) or []
        self.contents[place] = things
        if thing not in things:
            things.append(thing)
        return things
