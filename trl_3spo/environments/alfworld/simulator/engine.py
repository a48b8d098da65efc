"""What plays a game for `AlfworldEnv`: the simulator here, or textworld in `textworld_engine`."""

from typing import NamedTuple, Protocol

from trl_3spo.environments.alfworld.simulator.game import Game
from trl_3spo.environments.alfworld.simulator.state import GameState


class Moment(NamedTuple):
    """Where a game is, and what is said on arrival.

    Args:
        state: The state.
        text: Answer to the last action, or the introduction.
        actions: Admissible actions, in the order of `Game.admissible`.
        is_won: Whether the goal holds.
        way: All actions since the start, if the engine needs them to come back.
    """

    state: GameState
    text: str
    actions: tuple[str, ...]
    is_won: bool
    way: tuple[str, ...] = ()


class Engine(Protocol):
    """Plays one game from any of its moments."""

    def start(self) -> Moment:
        """Return the first moment."""

    def step(self, state: GameState, way: tuple[str, ...], action: str) -> Moment:
        """Return the moment after an action, from the moment with this state and way; nonsense leads nowhere."""


class NativeEngine:
    """The simulator.

    Args:
        game: The game.
    """

    def __init__(self, game: Game) -> None:
        self._game = game

    def start(self) -> Moment:
        """Return the first moment."""
        return self._moment(self._game.initial, self._game.introduction())

    def step(self, state: GameState, way: tuple[str, ...], action: str) -> Moment:
        """Return the moment after an action; it depends on the state alone."""
        return self._moment(*self._game.step(state, action))

    def _moment(self, state: GameState, text: str) -> Moment:
        return Moment(state, text, tuple(self._game.admissible(state)), self._game.is_won(state))
