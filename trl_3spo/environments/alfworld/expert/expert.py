"""A demonstrator that searches: it knows what it has read and where things usually lie, and nothing else.

It reads observations and chooses among admissible actions, as a policy does, so that a policy can imitate it. It goes
on from anywhere: what others do in between, by chance or by mistake, it reads in the observations.
"""

import random
from collections import Counter, deque
from collections.abc import Collection, Iterable

from trl_3spo.environments.alfworld.assignment import KNIVES, LOOK, TWO, Assignment
from trl_3spo.environments.alfworld.expert.memory import Memory
from trl_3spo.environments.alfworld.rooms import OBJECTS, OPENABLE, find_weights

_TYPES = {name.lower(): object_type for name, object_type in OBJECTS.items()}
_OPENABLE = frozenset(name.lower() for name in OPENABLE)
_KNIVES = tuple(name.lower() for name in KNIVES)

_UNLIKELY = 0.01
"""Weight of places an object is not known to lie in, against 1 for the likeliest."""


class SearchExpert:
    """Plays one episode by searching. Every text of the episode goes to `observe`, also those after actions of others.

    It may take over in the middle of an episode. It then first asks what it holds, unless a text says so.

    It searches the most likely places first. A place is likely by its type, if there are few of its kind, and if it has
    no door. The expert remembers everything that it sees on the way.

    Args:
        assignment: Task, or its text: the task sentence or a game's introduction.
        seed: Seed for the choice between equally likely places.
        history_length: Number of past turns in a prompt. The expert then uses only what such a prompt shows, so a
            policy can learn every choice. It searches places in the order of their names, beginning after the current
            one. `None` remembers everything and begins at the most likely place.

    Attributes:
        thought: Reason for the latest action, in a sentence or two.

    Raises:
        ValueError: The text says no task in a known form.
    """

    def __init__(self, assignment: Assignment | str, seed: int = 0, *, history_length: int | None = None) -> None:
        self.thought = ""
        self._goal = Assignment.from_text(assignment) if isinstance(assignment, str) else assignment
        self._seed = seed
        self._memory = Memory()
        self._latest = None if history_length is None else deque[str](maxlen=history_length + 1)
        self._preferences: dict[str, float] = {}
        self._refusals: set[tuple[str, str]] = set()
        self._commands: Collection[str] = ()

    def observe(self, text: str) -> None:
        """Read what the game answered, beginning with the introduction or wherever the expert joins in."""
        self._memory.read(text)
        if self._latest is not None:
            self._latest.append(text)

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
        if self._latest is not None:
            self._memory.forget_contents(but=self._latest)
        if self._memory.held is None and "inventory" in self._commands:
            self.thought = "I do not know what I am carrying."
            return "inventory"
        # Each attempt that fails strikes out a belief, so that the next one differs.
        for _ in range(len(self._commands)):
            action = self._decide()
            if action in self._commands:
                return action
            if not self._unlearn(action):
                break
        self.thought = "I do not know how to go on, so I look around."
        return "look" if "look" in self._commands else next(iter(self._commands))

    def _unlearn(self, action: str) -> bool:
        """Give up the belief that a command was possible; false if there was none to give up."""
        verb, _, rest = action.partition(" ")
        thing, _, place = rest.partition({"take": " from ", "slice": " with "}.get(verb, " to "))
        if verb == "take":
            self._memory.contents[place] = None
        elif verb == "move":
            self._refusals.add((_type(thing), _type(place)))
        elif verb == "slice":
            self._refusals.add(("slice", thing))
        return verb in ("take", "move", "slice")

    def _decide(self) -> str:
        held, goal = self._memory.held, self._goal
        if goal.is_sliced and self._num_sliced() < goal.num_targets:
            return self._prepare(held)
        if not held:
            return self._fetch()
        if not self._will_do(held):
            self.thought = f"I have no use for the {held} and put it away."
            return self._deliver(held, self._memory.contents)
        if goal.kind == LOOK:
            return self._light_up(held)
        if goal.treatment and goal.treatment.adjective not in self._memory.conditions(held):
            self.thought = f"I carry the {held}, which I have to {goal.treatment.verb} first."
            appliances = self._of_type(goal.treatment.appliance.lower())
            return self._at(appliances, f"{goal.treatment.verb} {held} with {{place}}")
        self.thought = f"I carry the {held}, which belongs in a {goal.destination}."
        destinations = self._of_type(goal.destination)
        return self._deliver(held, [self._meeting_place()] if goal.kind == TWO else destinations)

    def _prepare(self, held: str | None) -> str:
        """Slice a target with a knife, whatever of the two is still to be found."""
        if not held:
            return self._take(_KNIVES, [])
        if _type(held) not in _KNIVES:
            self.thought = f"I need my hand for a knife, so I put the {held} away."
            return self._deliver(held, self._memory.contents)
        hosts = {place: self._whole_targets(place) for place in self._memory.contents}
        place = min((place for place, things in hosts.items() if things), key=self._effort, default="")
        if not place:
            return self._search(self._goal.target)
        self.thought = f"The {hosts[place][0]} is at {place}, and I carry the {held} to slice it with."
        return self._go_to(place) or f"slice {hosts[place][0]} with {held}"

    def _fetch(self) -> str:
        """Take a target that was seen, or else search. Of two, what is where it has to be stays there."""
        done = self._meeting_place() if self._goal.kind == TWO else ""
        return self._take([self._goal.target], [done, *(self._memory.contents.get(done) or ())])

    def _take(self, kinds: Collection[str], taboo: Collection[str]) -> str:
        """Take the nearest object of some types, or else search for one of the first; not in or of what is taboo."""
        hosts = {
            place: [thing for thing in things or () if _type(thing) in kinds and self._is_wanted(thing, taboo)]
            for place, things in self._memory.contents.items()
            if place not in taboo
        }
        places = [place for place, things in hosts.items() if things]
        if not places:
            return self._search(next(iter(kinds)))
        place = min(places, key=self._effort)
        self.thought = f"The {hosts[place][0]} is at {place}, and I need it."
        return self._approach(place) or f"take {hosts[place][0]} from {place}"

    def _is_wanted(self, thing: str, taboo: Collection[str]) -> bool:
        return thing not in taboo and (_type(thing) in _KNIVES or self._will_do(thing))

    def _will_do(self, thing: str) -> bool:
        """Return whether an object can be what the task asks for, once it is treated."""
        is_ready = not self._goal.is_sliced or "sliced" in self._memory.conditions(thing)
        return _type(thing) == self._goal.target and is_ready

    def _num_sliced(self) -> int:
        seen = {thing for place in self._memory.contents for thing in self._memory.contents[place] or ()}
        return sum(self._will_do(thing) for thing in seen | {self._memory.held or ""})

    def _whole_targets(self, place: str) -> list[str]:
        things = self._seen(place, self._goal.target)
        return [thing for thing in things if not self._will_do(thing) and ("slice", thing) not in self._refusals]

    def _light_up(self, held: str) -> str:
        """Switch on a lamp that was seen, or else search for one."""
        for place in sorted(self._memory.contents, key=self._effort):
            for lamp in self._seen(place, self._goal.lamp):
                self.thought = f"I carry the {held}, and the {lamp} is at {place}."
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
        """Return where two targets are to be brought together: where one is already, or else the nearest place.

        A prompt may not show any more where one is, so whoever plays by it always takes the same place.
        """
        places = self._of_type(self._goal.destination)
        if self._latest is not None:
            return min(places, key=self._preference, default="")
        return min(places, key=lambda place: (-self._num_placed(place), self._effort(place)), default="")

    def _num_placed(self, place: str) -> int:
        return sum(self._will_do(thing) for thing in self._memory.contents[place] or ())

    def _search(self, kind: str) -> str:
        """Look into the most promising place that has not been seen."""
        unseen = [place for place, things in self._memory.contents.items() if things is None]
        if not unseen:
            # Something seen must have been misread or moved unseen: start over.
            self._memory.forget_contents()
            unseen = list(self._memory.contents)
        place = self._likeliest(kind, unseen) if self._latest is None else self._next(kind, unseen)
        self.thought = f"I need a {kind} and know of none. I have not looked at {place} yet."
        return place and (self._approach(place) or f"examine {place}")

    def _likeliest(self, kind: str, places: list[str]) -> str:
        weights, counts = _weights(kind), Counter(_type(place) for place in self._memory.contents)

        def promise(place: str) -> tuple[float, float]:
            chance = weights.get(_type(place), _UNLIKELY) / counts[_type(place)]
            return chance / (1 + self._effort(place)[0]), self._preference(place)

        return max(places, key=promise, default="")

    def _next(self, kind: str, places: list[str]) -> str:
        """Return the next place of a tour that begins where an object is likeliest and ends in a circle.

        The earliest place that the prompt still shows gives the position in the tour, because places of a detour are
        mostly later. After something was put down, the tour begins again. A closed door is opened first.
        """
        here = min((place for place in self._memory.contents if f"go to {place}" not in self._commands), default="")
        if f"open {here}" in self._commands and here in places:
            return here
        tour = self._tour(kind)
        shown = [i for i, place in enumerate(tour) if place not in places]
        has_put_down = self._latest is not None and self._latest[-1].startswith("You move ")
        start = 0 if has_put_down or not shown else shown[0]
        return next((place for place in tour[start:] + tour[:start] if place in places), "")

    def _tour(self, kind: str) -> list[str]:
        """Return all receptacles, likely ones first: likely by type, few of the kind, no door to open."""
        weights, counts = _weights(kind), Counter(_type(place) for place in self._memory.contents)

        def promise(place: str) -> float:
            chance = weights.get(_type(place), _UNLIKELY) / counts[_type(place)]
            return chance / (2 if _type(place) in _OPENABLE else 1)

        return sorted(self._memory.contents, key=lambda place: (-promise(place), place))

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
        if self._latest is not None:
            return sorted(self._memory.contents).index(place)
        if place not in self._preferences:
            self._preferences[place] = random.Random(f"{self._seed} {place}").random()
        return self._preferences[place]

    def _of_type(self, kind: str) -> list[str]:
        return [place for place in self._memory.contents if _type(place) == kind]

    def _seen(self, place: str, kind: str) -> list[str]:
        return [thing for thing in self._memory.contents[place] or () if _type(thing) == kind]


def _type(name: str) -> str:
    return name.partition(" ")[0]


def _weights(kind: str) -> dict[str, float]:
    """Return how likely an object lies in each receptacle type."""
    found_in = _TYPES[kind].found_in if kind in _TYPES else ()
    return {place.lower(): weight for place, weight in find_weights(found_in).items()}


def _fitting(kind: str) -> set[str]:
    """Return the receptacle types known to accept an object; none of an unknown type."""
    return {name.lower() for name in _TYPES[kind].fits} if kind in _TYPES else set()
