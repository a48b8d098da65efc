"""The rules of ALFWorld's text games: what can be done in a state, what it leads to, and what is answered.

A game is read from the released `game.tw-pddl` format and plays it to the letter. States are immutable values and a
step is a function of state and action, so that going back to a state costs nothing. Some rules surprise:

* Only the held object can be examined; a comma in the released domain disables the other case.
* Heating and cooling do not need the appliance open, nor does switching a lamp on need its drawer open.
* A knife slices what is recorded at the agent's location, even inside a closed receptacle.
* What is switched on stays on, and switching it on again is answered as the first time.
"""

from collections.abc import Mapping
from typing import Any

from trl_3spo.environments.alfworld.simulator import text
from trl_3spo.environments.alfworld.simulator.definition import Definition, read_definition
from trl_3spo.environments.alfworld.simulator.effects import EFFECTS
from trl_3spo.environments.alfworld.simulator.state import Command, GameState, Receptacle, Thing

__all__ = ["Command", "Game", "GameState", "Receptacle", "Thing"]

_PHRASES = {
    "go to": "go to {receptacle}",
    "open": "open {receptacle}",
    "close": "close {receptacle}",
    "take": "take {thing} from {receptacle}",
    "move": "move {thing} to {receptacle}",
    "use": "use {thing}",
    "clean": "clean {thing} with {receptacle}",
    "heat": "heat {thing} with {receptacle}",
    "cool": "cool {thing} with {receptacle}",
    "examine receptacle": "examine {receptacle}",
    "examine object": "examine {thing}",
}
"""How commands are written; slicing has two objects and is written apart."""

_NO_ARGUMENTS = {kind: Command(kind) for kind in ("look", "inventory", "help")}


class Game:
    """One game. It stores no state, so any number of states may be played at once.

    Args:
        data: Content of a `game.tw-pddl` file, or its parsed form. `pddl_problem` is required, and the task sentence as
            `task` or inside `grammar`. Without `pddl_domain`, the released games' rules hold. `walkthrough` may be
            missing.
        kind: One of the six task types; empty if unknown.
        parameters: ALFRED's `pddl_params` (`object_target`, `parent_target`, `toggle_target`, …), as far as known.

    Attributes:
        task: The task sentence, such as `put a clean mug in coffeemachine.`.
        initial: First state.
        receptacles: All receptacles; elsewhere they are named by their index here.
        objects: All objects; elsewhere they are named by their index here.
        accepts: Indices of the objects that may be put into each receptacle.
        walkthrough: Actions that win the game, if the data has them.

    Raises:
        ValueError: The data is no ALFWorld game, or one of an older release.
    """

    def __init__(
        self, data: Mapping[str, Any] | Definition, *, kind: str = "", parameters: Mapping[str, Any] | None = None
    ) -> None:
        definition = data if isinstance(data, Definition) else read_definition(data)
        self.kind = kind
        self.parameters = dict(parameters or {})
        self.task = definition.task
        self.walkthrough = definition.walkthrough
        self.receptacles = definition.receptacles
        self.objects = definition.objects
        self.accepts = definition.accepts
        self.initial = definition.initial
        self._goal = definition.goal
        self._examines_contents = definition.examines_contents
        self._receptacles_at: dict[int, tuple[int, ...]] = {}
        for i, receptacle in enumerate(self.receptacles):
            self._receptacles_at[receptacle.location] = (*self.receptacles_at(receptacle.location), i)
        names = [receptacle.name for receptacle in self.receptacles]
        self._natural_order = sorted(range(len(names)), key=lambda i: _natural_order(names[i]))
        self._journeys: dict[int, dict[str, Command]] = {}
        self._phrases: dict[tuple[str, int, int], tuple[str, Command]] = {}
        self._last_state: GameState | None = None
        self._last_commands: Mapping[str, Command] = {}

    def introduction(self) -> str:
        """Return the first observation, which ends with the task."""
        names = [receptacle.name for receptacle in self.receptacles]
        is_mid_room = not self.receptacles_at(self.initial.location)
        surroundings = text.room_text(names) if is_mid_room else self._look(self.initial)
        return text.introduction_text(surroundings, self.task)

    def receptacles_at(self, location: int) -> tuple[int, ...]:
        """Return the indices of the receptacles that are reached from a location."""
        return self._receptacles_at.get(location, ())

    def is_accessible(self, state: GameState, receptacle: int) -> bool:
        """Return whether a receptacle is open or needs no opening."""
        return not self.receptacles[receptacle].openable or bool(state.opened >> receptacle & 1)

    def is_won(self, state: GameState) -> bool:
        """Return whether the goal holds in a state."""
        return self._goal.is_met(state)

    def step(self, state: GameState, action: str) -> tuple[GameState, str]:
        """Return the state an action leads to, and the answer; an inadmissible one leads nowhere."""
        command = self.admissible(state).get(action.strip())
        if command is None:
            return state, text.NOTHING_HAPPENS
        if command.kind == "go to":
            after = state._replace(location=self.receptacles[command.receptacle].location)
        else:
            effect = EFFECTS.get(command.kind)
            after = effect(state, command) if effect else state
        return after, self._answer(after, command)

    def admissible(self, state: GameState) -> Mapping[str, Command]:
        """Return the commands of a state by their texts.

        The order is fixed: journeys by type and number of the receptacle, then what can be done here, then examining,
        `look`, `inventory`, `help`.
        """
        if state is not self._last_state:
            self._last_commands = self._find_commands(state)
            self._last_state = state
        return self._last_commands

    def _find_commands(self, state: GameState) -> dict[str, Command]:
        commands = dict(self._journeys_from(state.location))
        here = self.receptacles_at(state.location)
        for receptacle in here:
            self._add_handling(commands, state, receptacle)
            self._add_appliance_use(commands, state, receptacle)
        self._add_slicing(commands, state)
        for receptacle in here:
            self._add(commands, "examine receptacle", -1, receptacle)
        for thing in self._examinable(state, here):
            self._add(commands, "examine object", thing, -1)
        commands.update(_NO_ARGUMENTS)
        return commands

    def _journeys_from(self, location: int) -> dict[str, Command]:
        if location not in self._journeys:
            targets = (i for i in self._natural_order if self.receptacles[i].location != location)
            self._journeys[location] = dict(self._phrase("go to", -1, i) for i in targets)
        return self._journeys[location]

    def _add_handling(self, commands: dict[str, Command], state: GameState, receptacle: int) -> None:
        """Add what hands do: open, close, take, move, use."""
        is_accessible = self.is_accessible(state, receptacle)
        if self.receptacles[receptacle].openable:
            self._add(commands, "close" if is_accessible else "open", -1, receptacle)
        for thing in state.contents[receptacle]:
            if is_accessible and not state.held and self.objects[thing].pickupable:
                self._add(commands, "take", thing, receptacle)
            if self.objects[thing].toggleable:
                self._add(commands, "use", thing, -1)
        for thing in state.held:
            if is_accessible and thing in self.accepts[receptacle]:
                self._add(commands, "move", thing, receptacle)

    def _add_appliance_use(self, commands: dict[str, Command], state: GameState, receptacle: int) -> None:
        appliance = self.receptacles[receptacle]
        for thing in state.held:
            if appliance.is_sink and self.objects[thing].cleanable:
                self._add(commands, "clean", thing, receptacle)
            if appliance.is_microwave and self.objects[thing].heatable:
                self._add(commands, "heat", thing, receptacle)
            if appliance.is_fridge and self.objects[thing].coolable:
                self._add(commands, "cool", thing, receptacle)

    def _add_slicing(self, commands: dict[str, Command], state: GameState) -> None:
        for knife in state.held:
            if not self.objects[knife].is_knife:
                continue
            for thing, location in state.object_locations:
                if location == state.location and self.objects[thing].sliceable:
                    phrase = f"slice {self.objects[thing].name} with {self.objects[knife].name}"
                    commands[phrase] = Command("slice", thing)

    def _examinable(self, state: GameState, here: tuple[int, ...]) -> tuple[int, ...]:
        if not self._examines_contents:
            return state.held
        accessible = [receptacle for receptacle in here if self.is_accessible(state, receptacle)]
        return (*(thing for receptacle in accessible for thing in state.contents[receptacle]), *state.held)

    def _add(self, commands: dict[str, Command], kind: str, thing: int, receptacle: int) -> None:
        phrase, command = self._phrase(kind, thing, receptacle)
        commands[phrase] = command

    def _phrase(self, kind: str, thing: int, receptacle: int) -> tuple[str, Command]:
        # The same few hundred phrases are needed all the time, and sharing them keeps stored observations small.
        key = (kind, thing, receptacle)
        if key not in self._phrases:
            command = Command(*key)
            self._phrases[key] = self._fill_in(_PHRASES[kind], command), command
        return self._phrases[key]

    def _fill_in(self, form: str, command: Command) -> str:
        thing = self.objects[command.thing].name if command.thing >= 0 else ""
        receptacle = self.receptacles[command.receptacle].name if command.receptacle >= 0 else ""
        return form.format(thing=thing, receptacle=receptacle)

    def _answer(self, state: GameState, command: Command) -> str:
        """Return what is answered to a command that has led to a state."""
        match command.kind:
            case "look":
                return self._look(state)
            case "inventory":
                return text.inventory_text(self._object_names(state.held))
            case "help":
                return text.HELP
            case "examine receptacle":
                return self._describe(state, command.receptacle)
            case "examine object":
                return self._describe_object(state, command.thing)
            case "slice":
                return f"You sliced the {self.objects[command.thing].name} with the {self.objects[state.held[0]].name}."
        answer = self._fill_in(text.ANSWERS[command.kind], command)
        return f"{answer} {self._describe(state, command.receptacle)}" if command.kind in ("go to", "open") else answer

    def _look(self, state: GameState) -> str:
        here = self.receptacles_at(state.location)
        if not here:
            return text.room_text(())
        # An object lies beside a receptacle once for each receptacle here it was taken from.
        beside = [
            self.objects[thing].name
            for thing, location in state.object_locations
            if location == state.location
            for receptacle in here
            if (thing, receptacle) in state.departed
        ]
        return text.facing_text([self.receptacles[i].name for i in here], beside)

    def _describe_object(self, state: GameState, thing: int) -> str:
        return text.object_text(
            self.objects[thing],
            self._object_names(self.objects[thing].inner),
            clean=bool(state.clean >> thing & 1),
            hot=bool(state.hot >> thing & 1),
            cool=bool(state.cool >> thing & 1),
            toggled=bool(state.toggled >> thing & 1),
            sliced=bool(state.sliced >> thing & 1),
        )

    def _object_names(self, things: tuple[int, ...]) -> list[str]:
        return [self.objects[thing].name for thing in things]

    def _describe(self, state: GameState, receptacle: int) -> str:
        return text.receptacle_text(
            self.receptacles[receptacle].name,
            self._object_names(state.contents[receptacle]),
            openable=self.receptacles[receptacle].openable,
            is_open=bool(state.opened >> receptacle & 1),
        )


def _natural_order(name: str) -> tuple[str, int]:
    kind, _, number = name.rpartition(" ")
    return (kind, int(number)) if number.isdigit() else (name, 0)
