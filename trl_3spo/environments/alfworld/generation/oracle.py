"""The oracle: it sees the whole state of a game and goes straight to the goal. It tells which games can be won.

It is no demonstrator, for no policy can know what it knows; see `expert` for one that searches.
"""

from collections.abc import Iterable

from trl_3spo.environments.alfworld.assignment import KINDS, LOOK, TWO, Assignment
from trl_3spo.environments.alfworld.simulator.game import Game, GameState

MAX_ACTIONS = 60
"""The longest plan has about 25 actions: two objects to slice behind doors, and something else in the hand."""


def oracle_plan(game: Game, state: GameState, assignment: Assignment | None = None) -> list[str] | None:
    """Return actions that win the game from any state, no detours among them; empty if it is won already.

    `None` means that the game cannot be won from here: what the task takes is missing, or the hand holds something
    that no receptacle accepts.

    Args:
        game: The game.
        state: State to start in.
        assignment: Task; by default read from the game's parameters, or else from its task sentence.

    Raises:
        ValueError: The task sentence is in none of the known forms, and no assignment is given.
    """
    guide = _Guide(game, assignment or assignment_of(game))
    actions: list[str] = []
    while not game.is_won(state):
        action = guide.next_action(state)
        if action not in game.admissible(state) or len(actions) == MAX_ACTIONS:
            return None
        actions.append(action)
        state, _ = game.step(state, action)
    return actions


def oracle_action(game: Game, state: GameState, assignment: Assignment | None = None) -> str | None:
    """Return the first action of `oracle_plan`; `None` if the game is won, or cannot be."""
    plan = oracle_plan(game, state, assignment)
    return plan[0] if plan else None


def assignment_of(game: Game) -> Assignment:
    """Return what a game asks for: by its parameters, or else by its task sentence.

    Raises:
        ValueError: It has no parameters, and the sentence is in none of the known forms.
    """
    if game.kind in KINDS and game.parameters.get("object_target"):
        return Assignment.from_parameters(game.kind, game.parameters)
    return Assignment.from_text(game.task)


class _Guide:
    """Names the next action in any state of one game. An action that is not admissible means that there is none."""

    def __init__(self, game: Game, assignment: Assignment) -> None:
        self._game = game
        self._kind = assignment.kind
        self._num_targets = assignment.num_targets
        self._is_sliced = assignment.is_sliced
        self._treatment = assignment.treatment
        places, things = list(enumerate(game.receptacles)), list(enumerate(game.objects))
        self._destinations = [i for i, place in places if place.type == assignment.destination]
        self._appliances = [
            i for i, place in places if self._treatment and place.type == self._treatment.appliance.lower()
        ]
        self._lamps = {i for i, thing in things if thing.type == assignment.lamp and thing.toggleable}
        self._knives = {i for i, thing in things if thing.is_knife}
        self._useful = {i for i, thing in things if thing.type == assignment.target and self._is_useful(i)}

    def _is_useful(self, thing: int) -> bool:
        is_treatable = not self._treatment or getattr(self._game.objects[thing], self._treatment.trait)
        is_placeable = self._kind == LOOK or any(thing in self._game.accepts[i] for i in self._destinations)
        return self._game.objects[thing].pickupable and is_treatable and is_placeable

    def _targets(self, state: GameState) -> set[int]:
        """Return the objects that will do, once they are treated."""
        return {i for i in self._useful if state.sliced >> i & 1} if self._is_sliced else self._useful

    def next_action(self, state: GameState) -> str:
        must_slice = len(self._targets(state)) < self._num_targets and self._is_sliced
        if not state.held:
            return self._take_from_nearest(state, self._knives) if must_slice else self._fetch(state)
        (thing,) = state.held
        if must_slice and thing in self._knives:
            return self._slice(state, thing)
        if thing not in self._targets(state):
            return self._deliver(state, thing, range(len(self._game.receptacles)))
        if self._kind == LOOK:
            return self._light_up(state)
        if self._treatment and not getattr(state, self._treatment.adjective) >> thing & 1:
            return self._treat(state, thing, self._treatment.verb)
        return self._deliver(state, thing, self._destinations)

    def _fetch(self, state: GameState) -> str:
        """Take the target that is quickest to reach. Of two, those that are together already stay."""
        done = set(state.contents[self._meeting_place(state)]) if self._kind == TWO else set()
        return self._take_from_nearest(state, self._targets(state) - done)

    def _take_from_nearest(self, state: GameState, wanted: set[int]) -> str:
        hosts = {place: wanted.intersection(things) for place, things in enumerate(state.contents)}
        place = self._nearest(state, (place for place, things in hosts.items() if things))
        return "" if place is None else self._take(state, min(hosts[place]), place)

    def _slice(self, state: GameState, knife: int) -> str:
        """Slice the nearest target that is whole. It is within reach where it is recorded, be it behind a door."""
        whole = self._useful - self._targets(state)
        within_reach = {
            place: thing
            for thing, location in state.object_locations
            if thing in whole
            for place in self._game.receptacles_at(location)
        }
        place = self._nearest(state, within_reach)
        if place is None:
            return ""
        names = self._game.objects[within_reach[place]].name, self._game.objects[knife].name
        return self._go_to(state, place) or "slice {} with {}".format(*names)

    def _take(self, state: GameState, thing: int, place: int) -> str:
        names = self._game.objects[thing].name, self._game.receptacles[place].name
        return self._approach(state, place) or "take {} from {}".format(*names)

    def _meeting_place(self, state: GameState) -> int:
        """Return where the two objects are to be brought together: where most are, or else the nearest place."""
        targets = self._targets(state)
        counts = {place: len(targets.intersection(state.contents[place])) for place in self._destinations}
        return min(counts, key=lambda place: (-counts[place], *self._distance(state, place)), default=0)

    def _deliver(self, state: GameState, thing: int, places: Iterable[int]) -> str:
        if self._kind == TWO and thing in self._targets(state):
            places = [self._meeting_place(state)]
        place = self._nearest(state, (place for place in places if thing in self._game.accepts[place]))
        if place is None:
            return ""
        names = self._game.objects[thing].name, self._game.receptacles[place].name
        return self._approach(state, place) or "move {} to {}".format(*names)

    def _treat(self, state: GameState, thing: int, verb: str) -> str:
        place = self._nearest(state, self._appliances)
        if place is None:
            return ""
        # The appliances work while they are closed.
        names = self._game.objects[thing].name, self._game.receptacles[place].name
        return self._go_to(state, place) or "{} {} with {}".format(verb, *names)

    def _light_up(self, state: GameState) -> str:
        hosts = (place for place, things in enumerate(state.contents) if self._lamps.intersection(things))
        place = self._nearest(state, hosts)
        if place is None:
            return ""
        lamp = min(self._lamps.intersection(state.contents[place]))
        return self._go_to(state, place) or f"use {self._game.objects[lamp].name}"

    def _nearest(self, state: GameState, places: Iterable[int]) -> int | None:
        return min(places, key=lambda place: self._distance(state, place), default=None)

    def _distance(self, state: GameState, place: int) -> tuple[bool, bool, int]:
        is_far = self._game.receptacles[place].location != state.location
        return is_far, not self._game.is_accessible(state, place), place

    def _approach(self, state: GameState, place: int) -> str:
        """Return what has to be done before a receptacle can be reached into; empty if nothing."""
        is_accessible = self._game.is_accessible(state, place)
        return self._go_to(state, place) or ("" if is_accessible else f"open {self._game.receptacles[place].name}")

    def _go_to(self, state: GameState, place: int) -> str:
        receptacle = self._game.receptacles[place]
        return "" if receptacle.location == state.location else f"go to {receptacle.name}"
