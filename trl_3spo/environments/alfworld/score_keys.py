"""The names an ALFWorld state is known by, from fine to coarse: what successes are counted under."""

from trl_3spo.environments.alfworld.assignment import LOOK, Assignment
from trl_3spo.environments.alfworld.generation.oracle import assignment_of
from trl_3spo.environments.alfworld.simulator.game import Game
from trl_3spo.environments.alfworld.simulator.state import GameState, Receptacle
from trl_3spo.environments.base import Key


class ScoreKeys:
    """Names the states of one game.

    Args:
        task_id: Part of the finest key, since other games number their things alike.
        game: The game.
    """

    def __init__(self, task_id: str, game: Game) -> None:
        self._task_id = task_id
        self._game = game
        self._object_types = tuple(thing.type for thing in game.objects)
        self._room = tuple(sorted(receptacle.type for receptacle in game.receptacles))
        assignment = _read_assignment(game)
        self._features = Features(game, assignment) if assignment else None

    def exact(self, state: GameState) -> Key:
        """Return the exact identity of a state."""
        return (self._task_id, state.key)

    def keys(self, state: GameState, time: int) -> tuple[Key, ...]:
        """Return the keys of a state, from fine to coarse.

        Each holds the time, because the value of a state falls with every step of a limited episode. Without the time,
        an early state would get too high a value later, and staying there would pay.

        1. The exact state.
        2. Task sentence, type of the held object, and visible things without instance numbers. All games with this
           sentence share it. The observation's text is not used, because it depends on the last action.
        3. Progress of the task (`Features`). All games of this type share it. If the game's task is unknown, the task
           sentence takes its place.
        4. The first four of the features: task type, held object, treatment, placed targets.
        5. The same without the task type. All games share it.
        6. The time alone, for keys with few visits.

        Args:
            state: State of the game.
            time: Time in the episode, in a unit of the caller's choice.
        """
        described = (self._game.task, self._types(state.held), self._view(state))
        chain = [(self.exact(state), time), (*described, time)]
        if self._features is None:
            return (*chain, (self._game.task, time), (time,))
        features = self._features.of(state)
        progress = features[:4]
        return (*chain, (*features, time), (*progress, time), (*progress[1:], time), (time,))

    def _view(self, state: GameState) -> Key:
        """Return type, openness and visible contents of each receptacle here; in mid-room the types in the room."""
        here = self._game.receptacles_at(state.location)
        return tuple(self._look_at(state, receptacle) for receptacle in here) if here else self._room

    def _look_at(self, state: GameState, receptacle: int) -> Key:
        is_accessible = self._game.is_accessible(state, receptacle)
        contents = self._types(state.contents[receptacle]) if is_accessible else ()
        return (self._game.receptacles[receptacle].type, is_accessible, contents)

    def _types(self, things: tuple[int, ...]) -> tuple[str, ...]:
        return tuple([self._object_types[thing] for thing in things])


def _read_assignment(game: Game) -> Assignment | None:
    try:
        return assignment_of(game)
    except (AttributeError, ValueError):
        return None


class Features:
    """How far a task has come, in words that fit every game of its type.

    Args:
        game: The game.
        assignment: Task of the game.
    """

    def __init__(self, game: Game, assignment: Assignment) -> None:
        self._game = game
        self._kind = assignment.kind
        self._num_targets = assignment.num_targets
        self._is_sliced = assignment.is_sliced
        self._targets = _objects_of_type(game, assignment.target)
        self._lamps = _objects_of_type(game, assignment.lamp)
        self._treated_part = assignment.treatment.adjective if assignment.treatment else ""
        self._destinations = frozenset(i for i, r in enumerate(game.receptacles) if r.type == assignment.destination)
        self._appliances = frozenset(i for i, r in enumerate(game.receptacles) if self._can_treat(r))
        self._openable = frozenset(i for i, r in enumerate(game.receptacles) if r.openable)
        self._counted_contents: tuple[tuple[int, ...], ...] | None = None
        self._num_placed = 0

    def of(self, state: GameState) -> tuple[Key, ...]:
        """Return the features of a state.

        These are:

        - the task type;
        - the held object (`nothing`, `target` or `other`);
        - whether a target has been cleaned, heated, cooled or lit as required, and sliced if required;
        - the number of targets in one destination;
        - whether a target is in view;
        - whether a destination and whether the needed appliance is here;
        - whether the receptacle here is `open` or `closed`, if there is one.
        """
        here = self._game.receptacles_at(state.location)
        return (
            self._kind,
            self._holding(state),
            (self._is_treated(state), self._has_slice(state)) if self._is_sliced else self._is_treated(state),
            self._count_placed(state),
            self._shows_target(state, here),
            not self._destinations.isdisjoint(here),
            not self._appliances.isdisjoint(here),
            self._openness(state, here),
        )

    def _can_treat(self, receptacle: Receptacle) -> bool:
        can_treat = {"clean": receptacle.is_sink, "hot": receptacle.is_microwave, "cool": receptacle.is_fridge}
        return can_treat.get(self._treated_part, False)

    def _holding(self, state: GameState) -> str:
        if not state.held:
            return "nothing"
        return "target" if state.held[0] in self._targets else "other"

    def _is_treated(self, state: GameState) -> bool:
        if self._kind == LOOK:
            return _has_any(state.toggled, self._lamps)
        if not self._treated_part:
            return False
        # The target in the hand is the one that counts; what was done to another is of no use to it.
        held_targets = self._targets.intersection(state.held)
        return _has_any(getattr(state, self._treated_part), held_targets or self._targets)

    def _has_slice(self, state: GameState) -> bool:
        return _has_any(state.sliced, self._targets)

    def _count_placed(self, state: GameState) -> int:
        # States share their contents until something is taken or moved.
        if state.contents is not self._counted_contents:
            counts = [len(self._targets.intersection(state.contents[receptacle])) for receptacle in self._destinations]
            self._num_placed = min(max(counts, default=0), self._num_targets)
            self._counted_contents = state.contents
        return self._num_placed

    def _shows_target(self, state: GameState, here: tuple[int, ...]) -> bool:
        for receptacle in here:
            if not self._targets.isdisjoint(state.contents[receptacle]) and self._game.is_accessible(state, receptacle):
                return True
        return False

    def _openness(self, state: GameState, here: tuple[int, ...]) -> str:
        openness = "none"
        for receptacle in here:
            if receptacle in self._openable:
                if not state.opened >> receptacle & 1:
                    return "closed"
                openness = "open"
        return openness


def _objects_of_type(game: Game, type_name: str) -> frozenset[int]:
    return frozenset(i for i, thing in enumerate(game.objects) if type_name and thing.type == type_name)


def _has_any(mask: int, things: frozenset[int]) -> bool:
    return any(mask >> thing & 1 for thing in things)
