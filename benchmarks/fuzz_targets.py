"""What is fuzzed: every reader of completions, and `step` of every kind of environment, with any text.

A check raises where a promise is broken. Readers are total and give short text. A step takes any text; going back and
taking it again gives the same result.
"""

from collections.abc import Callable
from typing import Any

from trl_3spo.environments.adapters.tool_calls import Call, calls_in
from trl_3spo.environments.adapters.tool_environment import ToolEnvironment
from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld import prompting as alfworld
from trl_3spo.environments.answers import action_in, one_line
from trl_3spo.environments.base import Environment
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.environments.plain_text import encodable, printable
from trl_3spo.environments.prompting import MAX_ACTION_CHARACTERS
from trl_3spo.environments.webshop import WebShopEnv, World
from trl_3spo.environments.webshop import prompting as webshop

FORMATS = ("think", "action")


class Notebook:
    """A tool that keeps whatever it is told."""

    def reset(self, **row: Any) -> str:
        self.notes: list[Any] = []
        return "Empty."

    def write(self, note: Any, place: Any = None) -> str:
        """Keep a note."""
        self.notes.append((place, note))
        return f"{note!r} is note {len(self.notes)}."

    def read(self, number: int = -1) -> Any:
        """Show a note."""
        return self.notes[number]

    def get_reward(self) -> float:
        return float(len(self.notes) > 2)


def read(text: str) -> int:
    """Read a completion in every way, and return how many there are."""
    actions = [action_in(text), one_line(text), printable(text), encodable(text)]
    for form in FORMATS:
        actions += [alfworld.parse_action(text, form), webshop.parse_action(text, form)]
    assert all(isinstance(action, str) for action in actions)
    # A lower-case letter may take up to three characters.
    assert all(len(action) <= 3 * MAX_ACTION_CHARACTERS for action in actions[4:])
    calls = calls_in(text)
    assert all(type(x) is Call and type(x.name) is str and type(x.arguments) is dict for x in calls)
    return len(actions) + 1


class Player:
    """Takes texts as actions in one environment, episode after episode.

    Args:
        env: To play in.
    """

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.tasks = list(env.tasks())
        self.num_episodes = 0
        self.moment: Any = None

    def take(self, text: str) -> None:
        """Take one step with a text as its action, twice from the same moment."""
        env = self.env
        if self.moment is None:
            env.reset(self.tasks[self.num_episodes % len(self.tasks)])
            self.num_episodes += 1
            self.moment = env.snapshot()
        env.restore(self.moment)
        result = env.step(text)
        after = None if result.is_final else env.snapshot()
        observation = result.observation
        assert type(observation.text) is str
        hash(observation.state_key)
        assert repr(observation.state_key)
        encodable(observation.text).encode()
        env.restore(self.moment)
        assert env.step(text) == result
        self.moment = after


def make_players() -> dict[str, Player]:
    """Return a player of each kind of environment."""
    world = World.bundled()
    makers: dict[str, Callable[[], Environment]] = {
        "corridor": lambda: CorridorEnv(length=4, max_steps=8),
        "alfworld": lambda: AlfworldEnv(generated=4, num_receptacles=(4, 8), num_objects=(4, 10), max_steps=20),
        "webshop sane": lambda: WebShopEnv(world, max_steps=12),
        "webshop compat": lambda: WebShopEnv(world, mode="compat", observation="text_rich", max_steps=12),
        "tools": lambda: ToolEnvironment(Notebook, {"train": [{"prompt": "Take notes."}]}, max_steps=8),
    }
    return {name: Player(make()) for name, make in makers.items()}


def play(players: dict[str, Player], text: str) -> int:
    """Take a text, as it is and as it is read, as an action in every environment, and return the number of steps."""
    for player in players.values():
        player.take(text)
        player.take(player.env.parse_action(text))
    return 2 * len(players)
