"""Plays games in textworld for the tests: reads lines `[path, actions]`, answers each with what textworld said.

A process of its own because coverage's tracing makes textworld three times slower, and because it leaks memory.
"""

import json
import sys
from typing import Any

import textworld
from alfworld.agents.environment.alfred_tw_env import AlfredDemangler


def play(path: str, actions: list[str]) -> list[tuple[str, list[str], bool]]:
    """Return text, sorted admissible commands and whether the game is won: at the start, then after each action."""
    infos = textworld.EnvInfos(admissible_commands=True, won=True)
    env = textworld.start(path, infos, wrappers=[AlfredDemangler])
    moments = [_tell(env.reset())]
    for action in actions:
        state, _, _ = env.step(action)
        moments.append(_tell(state))
    env.close()
    return moments


def _tell(state: Any) -> tuple[str, list[str], bool]:
    return state["feedback"], sorted(state["admissible_commands"]), state["won"]


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr  # what textworld prints must not get among the answers
    for line in sys.stdin:
        print(json.dumps(play(*json.loads(line))), file=answers, flush=True)
