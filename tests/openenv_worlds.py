"""OpenEnv environments as one writes them, and a server for them: `python openenv_worlds.py PORT`."""

import random
import sys

from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State
from pydantic import Field


class GuessAction(Action):
    number: int


class GuessObservation(Observation):
    hint: str = Field(default="")


class GuessState(State):
    secret: int = 0


class Guess(Environment):
    """A number from 0 to 7 that a seed chooses. A close guess pays a half, and the episode goes on."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed=None, episode_id=None, secret=None, **kwargs):
        secret = random.Random(seed).randrange(8) if secret is None else secret
        self._state = GuessState(episode_id=episode_id, secret=secret)
        return GuessObservation(hint="Guess a number from 0 to 7.")

    def step(self, action, timeout_s=None, **kwargs):
        self._state.step_count += 1
        distance = abs(action.number - self._state.secret)
        hints = {0: "right", 1: "close"}
        reward = {0: 1.0, 1: 0.25}.get(distance, 0.0)
        return GuessObservation(hint=hints.get(distance, "far"), done=distance == 0, reward=reward)

    @property
    def state(self):
        return self._state


class NoteAction(Action):
    verb: str
    text: str = ""


class NoteObservation(Observation):
    answer: str = ""
    length: int = 0


class Notes(Environment):
    """Write a word on a list and read the list. The state says nothing of it, as with most environments."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed=None, episode_id=None, **kwargs):
        self._notes = []
        return NoteObservation(answer="An empty list.")

    def step(self, action, timeout_s=None, **kwargs):
        if action.verb == "write":
            self._notes.append(action.text)
        is_done = len(self._notes) == 3
        answer = ", ".join(self._notes) if action.verb == "read" else "Done."
        return NoteObservation(answer=answer, length=len(self._notes), done=is_done, reward=float(is_done))

    @property
    def state(self):
        return State()


if __name__ == "__main__":
    import uvicorn
    from openenv.core.env_server.http_server import create_fastapi_app

    app = create_fastapi_app(Guess, GuessAction, GuessObservation, max_concurrent_envs=4)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
