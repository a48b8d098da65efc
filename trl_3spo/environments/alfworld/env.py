"""ALFWorld as an environment that can be rewound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from trl_3spo.environments.alfworld import prompting
from trl_3spo.environments.alfworld.data import release
from trl_3spo.environments.alfworld.data.files import GameSource, warn_of
from trl_3spo.environments.alfworld.score_keys import ScoreKeys
from trl_3spo.environments.alfworld.simulator.engine import Engine, Moment, NativeEngine
from trl_3spo.environments.alfworld.simulator.game import Game
from trl_3spo.environments.alfworld.simulator.state import GameState
from trl_3spo.environments.alfworld.sources import GivenGames, check_source, find_sources
from trl_3spo.environments.base import Message, Observation, PromptStyle, StepResult, Task, Turn
from trl_3spo.environments.limited import LimitedEnvironment, Snapshot
from trl_3spo.environments.prompting import ask, check_prompt_options, converse, told

if TYPE_CHECKING:
    from trl_3spo.environments.alfworld.textworld.engine import Textworld

ENGINES = ("native", "textworld")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an episode is.

    Args:
        state: The game's state.
        way: Actions since the reset, by which textworld comes back; no part of the place itself.
    """

    state: GameState
    way: tuple[str, ...] = field(default=(), compare=False)


class _Opened(NamedTuple):
    game: Game
    engine: Engine
    names: ScoreKeys


class AlfworldEnv(LimitedEnvironment[Place]):
    """The text games of ALFWorld, played by a simulator of our own that answers as the original does.

    Give exactly one of `games`, `split` and `generated`. A game is opened at its first reset and then kept, with 0.1 to
    0.2 MB. A winning step terminates with reward 1; there is no other reward. Dead ends do not terminate. For example,
    an object that no receptacle accepts can be taken, and then nothing else can be. The first observation ends with the
    task sentence. An inadmissible action counts as a step and only gives `Nothing happens.`

    Args:
        games: Paths of game files or of their folders, or contents of game files.
        split: Split of the released games, such as `valid_unseen`, below `$ALFWORLD_DATA` or `~/.cache/alfworld`. The
            other splits are then available through `tasks`.
        generated: Number of games to generate; nothing needs to be downloaded for it.
        seed: Seed for the generated games.
        engine: `native` is this package's simulator. `textworld` is the engine that the games were made for. It needs
            `trl_3spo[alfworld]`, plays the same games and takes a thousand times longer.
        num_processes: Number of processes for textworld, at least 1.
        max_steps: Steps after which an episode is truncated, at least 1.
        prompt_format: `think` asks for `<think>…</think><action>…</action>` in full sentences; `action` asks for an
            action alone in few tokens.
        prompt_style: `window` asks in one message with the last turns. `conversation` keeps every turn as messages of
            its own, and each prompt begins with the one before, which is not computed again.
        history_length: Number of past turns in a window, at least 0.
        shows_admissible_actions: Whether the prompt lists the admissible actions, all but `help`.
        generator_options: Further arguments of `generate_games`, such as `num_receptacles=(4, 8)` for small games.

    Raises:
        FileNotFoundError: A file or split is missing.
        ImportError: textworld is not installed.
        TypeError: There is no such option.
        ValueError: An option is out of its range, or not exactly one source of games is given.
    """

    expert = "trl_3spo.environments.alfworld.expert.demonstrations:demonstrate"

    def __init__(
        self,
        games: GivenGames | None = None,
        *,
        split: str | None = None,
        generated: int | None = None,
        seed: int = 0,
        engine: str = "native",
        num_processes: int = 1,
        max_steps: int = 50,
        prompt_format: str = "think",
        prompt_style: PromptStyle = "window",
        history_length: int = 2,
        shows_admissible_actions: bool = True,
        **generator_options: Any,
    ) -> None:
        check_source(generator_options, games=games, split=split, generated=generated)
        _check_engine(engine, num_processes)
        check_prompt_options(prompt_format, history_length, prompt_style)
        super().__init__(max_steps)
        self.prompt_format = prompt_format
        self.prompt_style = prompt_style
        self.history_length = history_length
        self.shows_admissible_actions = shows_admissible_actions
        self._split = split
        self._sources: dict[str, GameSource] = {}
        self._opened: dict[str, _Opened] = {}
        self._tasks_by_split: dict[str | None, tuple[Task, ...]] = {}
        self._textworld = _start_textworld(num_processes) if engine == "textworld" else None
        self._tasks_by_split[split] = self._add(find_sources(games, split, generated, seed, generator_options))

    def _add(self, sources: Sequence[GameSource]) -> tuple[Task, ...]:
        for source in sources:
            if source.id in self._sources:
                raise ValueError(f"The game {source.id} is given twice; each game must be given once.")
            self._sources[source.id] = source
        return tuple(Task(source.id, source.kind) for source in sources)

    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the tasks of a split, or those the environment was made with.

        Raises:
            FileNotFoundError: The split has not been downloaded.
            ValueError: There is no such split.
        """
        name = self._split if split is None else split
        if name not in self._tasks_by_split:
            if self._split is None:
                raise ValueError(f"There is no split {split!r}: generated and single games have none; ask for None.")
            self._tasks_by_split[name] = self._add(release.find_games(str(name)))
        return self._tasks_by_split[name]

    def describe(self) -> Mapping[str, Any]:
        """Return the number of games by split, of those in use; `games` are games that belong to no split."""
        return {"games": {split or "games": len(tasks) for split, tasks in self._tasks_by_split.items()}}

    def game(self, task_id: str) -> Game:
        """Return the game of a task, opening it if need be.

        Raises:
            FileNotFoundError: The game's file is gone.
            ValueError: There is no such task, or its file is no ALFWorld game.
        """
        return self._open(task_id).game

    def _open(self, task_id: str) -> _Opened:
        opened = self._opened.get(task_id)
        if opened is None:
            if task_id not in self._sources:
                raise ValueError(
                    f"There is no task {task_id!r} among the {len(self._sources)} of this environment; take one from "
                    "its tasks(), and from tasks(split) where it is in another split."
                )
            source = self._sources[task_id]
            try:
                game, engine = self._textworld.open(source) if self._textworld else _open_natively(source)
            except (OSError, ValueError) as error:
                warn_of([str(error)], len(self._sources))
                raise
            opened = self._opened[task_id] = _Opened(game, engine, ScoreKeys(task_id, game))
        return opened

    def _begin(self, task: Task) -> tuple[Place, Observation]:
        moment = self._open(task.id).engine.start()
        return Place(moment.state, moment.way), self._observe(task.id, moment, 0)

    def _act(self, now: Snapshot[Place], action: str) -> tuple[Place, StepResult]:
        moment = self._opened[now.task.id].engine.step(now.state.state, now.state.way, action)
        observation = self._observe(now.task.id, moment, now.num_steps + 1)
        is_won = moment.is_won
        result = StepResult.ended(observation, success=True) if is_won else StepResult.going_on(observation)
        return Place(moment.state, moment.way), result

    def _observe(self, task_id: str, moment: Moment, num_steps: int) -> Observation:
        names = self._opened[task_id].names
        keys = names.keys(moment.state, self._span(num_steps))
        messages = self._tell(moment) if self.prompt_style == "conversation" else ()
        return Observation(moment.text, names.exact(moment.state), moment.actions, keys, messages)

    def _tell(self, moment: Moment) -> tuple[Message, ...]:
        return told(prompting.turn(moment.text, self._listed(moment.actions), self.prompt_format))

    def _listed(self, actions: Sequence[str]) -> list[str] | None:
        return [action for action in actions if action != "help"] if self.shows_admissible_actions else None

    def step_each(
        self, moves: Sequence[tuple[Snapshot[Place], str]]
    ) -> list[tuple[StepResult, Snapshot[Place] | None]]:
        """Take one action from each of many snapshots; textworld's processes do so at the same time."""
        if self._textworld:
            for origin, _ in moves:
                self._open(origin.task.id)
            self._textworld.prepare([(origin.task.id, (*origin.state.way, action)) for origin, action in moves])
        return super().step_each(moves)

    def restore(self, snapshot: Snapshot[Place]) -> Observation:
        """Go back to a snapshot, of this or any other of the tasks, and return its observation.

        Raises:
            ValueError: The snapshot's task is not one of this environment's.
        """
        self._open(snapshot.task.id)
        return super().restore(snapshot)

    def close(self) -> None:
        """Let go of all opened games and end textworld's processes. Both come back when they are needed."""
        self._opened.clear()
        if self._textworld:
            self._textworld.close()
        self._now = None

    def prompt(self, task: Task, observation: Observation, turns: Sequence[Turn]) -> list[Message]:
        """Return one user message: task, number of actions taken, the last turns, the observation, what can be done.

        A conversation has the task in a message of the system, and every turn after it.

        Raises:
            ValueError: The task is not one of this environment's.
        """
        sentence = self.game(task.id).task
        if self.prompt_style == "conversation":
            return converse(prompting.opening(sentence, self.prompt_format), observation, turns)
        write, actions = prompting.WRITERS[self.prompt_format], self._listed(observation.admissible_actions)
        return ask(write, sentence, turns, self.history_length, observation.text, actions)

    def parse_action(self, completion: str) -> str:
        """Return the action a completion names; see `prompting.parse_action`."""
        return prompting.parse_action(completion, self.prompt_format)


def _check_engine(engine: str, num_processes: int) -> None:
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; required is {' or '.join(ENGINES)}.")
    if num_processes < 1 or (num_processes > 1 and engine == "native"):
        raise ValueError(
            f"num_processes is {num_processes}; at least 1 is required, and the native engine takes no more than that: "
            "it plays hundreds of games in this process faster than others could be told."
        )


def _open_natively(source: GameSource) -> tuple[Game, Engine]:
    game = source.load()
    return game, NativeEngine(game)


def _start_textworld(num_processes: int) -> "Textworld":
    # Imported here: the native engine does without.
    from trl_3spo.environments.alfworld.textworld.engine import Textworld

    return Textworld(num_processes)
