"""textworld, which ALFWorld's games were made for, as the engine of `AlfworldEnv`: the reference, and a slow one.

It plays in processes of its own; see `textworld_process`.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from trl_3spo.environments.adapters.replay import ReplayDriftError
from trl_3spo.environments.alfworld.data.export import write_games
from trl_3spo.environments.alfworld.data.files import GAME_FILE, GameSource, read_json
from trl_3spo.environments.alfworld.simulator.engine import Moment
from trl_3spo.environments.alfworld.simulator.game import Game
from trl_3spo.environments.alfworld.simulator.pddl import read_problem
from trl_3spo.environments.alfworld.simulator.scene import Numbering, number, read_state
from trl_3spo.environments.alfworld.simulator.state import GameState

Way = tuple[str, ...]

_NO_DESCRIPTION = {"id": "game", "kind": "", "parameters": {}, "solvable": True, "walkthrough": []}
_SCRIPT = Path(__file__).with_name("process.py")


class Textworld:
    """Plays any number of games in one or more processes; each game belongs to one of them.

    Args:
        num_processes: Number of processes, at least 1. They are started when they are first needed.

    Raises:
        ImportError: textworld or alfworld is not installed.
    """

    def __init__(self, num_processes: int = 1) -> None:
        missing = [name for name in ("alfworld", "textworld") if importlib.util.find_spec(name) is None]
        if missing:
            raise ImportError(
                f"engine='textworld' needs {' and '.join(missing)}, not installed here: install trl_3spo[alfworld], or "
                "leave the engine out, since the native one plays the same."
            )
        self._processes = [_Process() for _ in range(num_processes)]
        self._engines: dict[str, TextworldEngine] = {}
        self._num_opened = 0
        self._scratch = tempfile.TemporaryDirectory(prefix="trl_3spo_")

    def open(self, source: GameSource) -> "tuple[Game, TextworldEngine]":
        """Return what a game consists of, and the engine that plays it.

        Raises:
            FileNotFoundError: The game's file is gone.
            ValueError: It is no ALFWorld game.
        """
        path = source.path or self._write(source.data or {})
        content = read_json(path)
        game = source.load() if source.path else replace(source, data={**(source.data or {}), **content}).load()
        process = self._processes[self._num_opened % len(self._processes)]
        self._num_opened += 1
        numbering = number(read_problem(content["pddl_problem"]))
        engine = self._engines[source.id] = TextworldEngine(process, path, game, numbering)
        return game, engine

    def prepare(self, ways: Sequence[tuple[str, Way]]) -> None:
        """Have all processes go ways in games at the same time: what they are asked next they then know.

        Args:
            ways: Pairs of an opened game's id and a way.
        """
        shares: dict[_Process, list[tuple[TextworldEngine, Way]]] = defaultdict(list)
        for game_id, way in ways:
            engine = self._engines[game_id]
            shares[engine.process].append((engine, way))
        if len(shares) > 1:
            # The threads only wait for their processes.
            with ThreadPoolExecutor(len(shares)) as threads:
                list(threads.map(_go_all, shares.values()))

    def _write(self, data: Mapping[str, Any]) -> Path:
        """Write a game that was given by its content; a generated one gets the texts every game of ALFWorld has."""
        folder = Path(self._scratch.name, str(self._num_opened))
        if "grammar" not in data:
            return write_games([{**_NO_DESCRIPTION, **data}], folder)[0]
        folder.mkdir()
        path = folder / GAME_FILE
        path.write_text(json.dumps(data), encoding="utf-8")
        return path

    def close(self) -> None:
        """Let go of all games and end the processes, which are started again when they are needed."""
        self._engines.clear()
        for process in self._processes:
            process.end()


class TextworldEngine:
    """One game in textworld.

    Args:
        process: Plays it.
        path: File of the game.
        game: Parsed game.
        numbering: Index in `game` of each PDDL name.
    """

    def __init__(self, process: "_Process", path: Path, game: Game, numbering: Numbering) -> None:
        self.process = process
        self._path = path
        self._game = game
        self._numbering = numbering

    def go(self, way: Way) -> dict[str, Any]:
        """Return what textworld says of the state that a way leads to; see `textworld_process`."""
        return self.process.ask(self._path, way)

    def start(self) -> Moment:
        """Return the first moment."""
        return self._moment(())

    def step(self, state: GameState, way: Way, action: str) -> Moment:
        """Return the moment after an action.

        Raises:
            ReplayDriftError: The way leads elsewhere than it did before.
            RuntimeError: textworld's process has ended.
        """
        if self._moment(way).state != state:
            raise ReplayDriftError(
                f"textworld went the way {list(way)} in {self._path} a second time and came to another state; a game "
                "must repeat itself. Has the file changed?"
            )
        return self._moment((*way, action))

    def _moment(self, way: Way) -> Moment:
        answer = self.go(way)
        facts = {name: [tuple(words) for words in atoms] for name, atoms in answer["facts"].items()}
        things, receptacles = self._numbering.objects, self._numbering.receptacles
        departed = sorted((things[thing], receptacles[place]) for thing, place in facts.get("not_inreceptacle", ()))
        state = read_state(facts, self._numbering)._replace(departed=tuple(departed))
        order = {command: place for place, command in enumerate(self._game.admissible(state))}
        actions = sorted(set(answer["commands"]), key=lambda command: (order.get(command, len(order)), command))
        return Moment(state, answer["text"], tuple(actions), answer["won"], way)


def _go_all(ways: Iterable[tuple[TextworldEngine, Way]]) -> None:
    for engine, way in ways:
        engine.go(way)


class _Process:
    """A process that is started by the first question."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, path: Path, way: Way) -> dict[str, Any]:
        """Put a question and return the answer."""
        process = self._process or self._start()
        try:
            line = self._exchange(process, json.dumps([str(path), way]))
        except BaseException:
            # An answer that nobody has taken would be taken for that of the next question.
            self.end()
            raise
        if not line:
            self.end()
            raise RuntimeError(
                f"textworld's process ended with exit code {process.returncode} as it played {path} (what it said of "
                "it went to standard error). Step again, and another one is started and goes the same way."
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ValueError(f"textworld cannot play {path}: {answer['error']}. Leave this game out.")
        return answer

    def _start(self) -> subprocess.Popen[str]:
        # -P: the script's folder has modules whose names others may import from elsewhere. The new session keeps an
        # interrupt from the keyboard away from the process, which ends with its input instead.
        command = [sys.executable, "-P", str(_SCRIPT)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
        )
        return self._process

    def _exchange(self, process: subprocess.Popen[str], question: str) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            print(question, file=process.stdin, flush=True)
        except BrokenPipeError:
            return ""
        return process.stdout.readline()

    def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
