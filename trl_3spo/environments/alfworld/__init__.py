"""ALFWorld's text games, played without a game engine: exact, fast, and in states that can be kept and gone back to."""

from trl_3spo.environments.alfworld.env import AlfworldEnv
from trl_3spo.environments.alfworld.simulator.game import Command, Game, GameState, Receptacle, Thing

__all__ = ["AlfworldEnv", "Command", "Game", "GameState", "Receptacle", "Thing"]
