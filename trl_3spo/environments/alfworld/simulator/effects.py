"""What commands do to a state. Whether a command is admissible is not asked here."""

import bisect
from collections.abc import Callable

from trl_3spo.environments.alfworld.simulator.state import Command, GameState

_Pairs = tuple[tuple[int, int], ...]


def _open(state: GameState, command: Command) -> GameState:
    return state._replace(opened=state.opened | 1 << command.receptacle)


def _close(state: GameState, command: Command) -> GameState:
    return state._replace(opened=state.opened & ~(1 << command.receptacle))


def _take(state: GameState, command: Command) -> GameState:
    remaining = tuple(thing for thing in state.contents[command.receptacle] if thing != command.thing)
    return state._replace(
        held=(command.thing,),
        contents=_with_contents(state, command.receptacle, remaining),
        object_locations=_without(state.object_locations, (command.thing, state.location)),
        departed=_with(state.departed, (command.thing, command.receptacle)),
    )


def _move(state: GameState, command: Command) -> GameState:
    present = tuple(sorted({*state.contents[command.receptacle], command.thing}))
    return state._replace(
        held=(),
        contents=_with_contents(state, command.receptacle, present),
        object_locations=_with(state.object_locations, (command.thing, state.location)),
        departed=_without(state.departed, (command.thing, command.receptacle)),
    )


def _use(state: GameState, command: Command) -> GameState:
    return state._replace(toggled=state.toggled | 1 << command.thing)


def _clean(state: GameState, command: Command) -> GameState:
    return state._replace(clean=state.clean | 1 << command.thing)


def _heat(state: GameState, command: Command) -> GameState:
    bit = 1 << command.thing
    return state._replace(hot=state.hot | bit, cool=state.cool & ~bit)


def _cool(state: GameState, command: Command) -> GameState:
    bit = 1 << command.thing
    return state._replace(cool=state.cool | bit, hot=state.hot & ~bit)


def _slice(state: GameState, command: Command) -> GameState:
    return state._replace(sliced=state.sliced | 1 << command.thing)


EFFECTS: dict[str, Callable[[GameState, Command], GameState]] = {
    "open": _open,
    "close": _close,
    "take": _take,
    "move": _move,
    "use": _use,
    "clean": _clean,
    "heat": _heat,
    "cool": _cool,
    "slice": _slice,
}
"""Effects by kind of command; those that only look have none, and going somewhere needs the receptacle's location."""


def _with_contents(state: GameState, receptacle: int, things: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return (*state.contents[:receptacle], things, *state.contents[receptacle + 1 :])


def _with(pairs: _Pairs, pair: tuple[int, int]) -> _Pairs:
    place = bisect.bisect_left(pairs, pair)
    return pairs if pairs[place : place + 1] == (pair,) else (*pairs[:place], pair, *pairs[place:])


def _without(pairs: _Pairs, pair: tuple[int, int]) -> _Pairs:
    place = bisect.bisect_left(pairs, pair)
    return (*pairs[:place], *pairs[place + 1 :]) if pairs[place : place + 1] == (pair,) else pairs
