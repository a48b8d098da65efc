"""ALFWorld as an environment that can be rewound."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from trl_3spo.environments.alfworld import prompting
from trl_3spo.environments.alfworld.data import files, release
from trl_3spo.environments.alfworld.data.files import GameSource
from trl_3spo.environments.alfworld.score_keys import ScoreKeys
from trl_3spo.environments.alfworld.simulator.engine import Engine, Moment, NativeEngine
from trl_3spo.environments.alfworld.simulator.game import Game
from trl_3spo.environments.alfworld.simulator.state import GameState
from trl_3spo.environments.base import Environment, Message, Observation, StepResult, Task, Turn

if TYPE_CHECKING:
    from trl_3spo.environments.alfworld.textworld.engine import Textworld

TIMES_PER_EPISODE = 10
"""Into how many spans of time score keys divide an episode."""


ENGINES = ("native", "textworld")


class Snapshot(NamedTuple):
    """A moment of an episode. The observation is in it because its text tells of the action before.

    `way` holds the actions since the reset where the engine is textworld.
    """

    task_id: str
    state: GameState
    num_steps: int
    is_final: bool
    observation: Observation
    way: tuple[str, ...] = ()


class _Opened(NamedTuple):
    game: Game
    engine: Engine
    names: ScoreKeys


class AlfworldEnv(Environment):
    """The text games of ALFWorld, played by a simulator of our own that answers as the original does.

    Give exactly one of `games`, `split` and `generated`. Games are opened when they are first reset to and then kept,
    0.1 to 0.2 MB each. A step that wins terminates with reward 1; there is no other reward. Dead ends do not terminate:
    an object no receptacle accepts can be taken, and then nothing else can be.

    Args:
        games: Paths of game files or of their folders, or contents of game files.
        split: A split of the released games, such as `valid_unseen`, below `$ALFWORLD_DATA` or `~/.cache/alfworld`. The
            other splits are then at hand through `tasks`.
        generated: Number of games to generate; nothing needs to be downloaded for it.
        seed: Of the generated games.
        engine: `native` is the simulator here; `textworld` is the engine the games were made for, which needs
            `trl_3spo[alfworld]`, plays the same and takes a thousand times longer.
        num_processes: Processes textworld plays in, at least 1.
        max_steps: Steps after which an episode is truncated, at least 1.
        prompt_format: `think` asks for `<think>…</think><action>…</action>` in full sentences; `action` asks for an
            action alone in few tokens.
        history_length: Number of past turns in the prompt, at least 0.
        shows_admissible_actions: Whether the prompt lists what can be done, all but `help`.
        generator_options: Further arguments of `generate_games`, such as `num_receptacles=(4, 8)` for small games.

    Raises:
        FileNotFoundError: A file or split is missing.
        ImportError: textworld is not installed.
        TypeError: There is no such option.
        ValueError: An option is out of its range, or not exactly one source of games is given.
    """

    def __init__(
        self,
        games: Sequence[str | Path | Mapping[str, Any]] | None = None,
        *,
        split: str | None = None,
        generated: int | None = None,
        seed: int = 0,
        engine: str = "native",
        num_processes: int = 1,
        max_steps: int = 50,
        prompt_format: str = "think",
        history_length: int = 2,
        shows_admissible_actions: bool = True,
        **generator_options: Any,
    ) -> None:
        _check_source(games=games, split=split, generated=generated)
        _check_engine(engine, num_processes)
        _check_options(max_steps, prompt_format, history_length)
        if generator_options and generated is None:
            raise TypeError(f"AlfworldEnv knows {', '.join(generator_options)} only together with generated=….")
        self.max_steps = max_steps
        self.prompt_format = prompt_format
        self.history_length = history_length
        self.shows_admissible_actions = shows_admissible_actions
        self._split = split
        self._sources: dict[str, GameSource] = {}
        self._opened: dict[str, _Opened] = {}
        self._tasks_by_split: dict[str | None, tuple[Task, ...]] = {}
        self._now: Snapshot | None = None
        self._textworld = _start_textworld(num_processes) if engine == "textworld" else None
        if split is not None:
            sources = release.find_games(split)
        elif generated is not None:
            sources = _generate(generated, seed, generator_options)
        else:
            sources = _sources_given(games or ())
        self._tasks_by_split[split] = self._add(sources)

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

    def game(self, task_id: str) -> Game:
        """Return the game of a task, opening it if need be.

        Raises:
            FileNotFoundError: Its file is gone.
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
            game, engine = self._textworld.open(source) if self._textworld else _open_natively(source)
            opened = self._opened[task_id] = _Opened(game, engine, ScoreKeys(task_id, game))
        return opened

    def reset(self, task: Task) -> Observation:
        """Start a task and return its first observation, which ends with the task sentence.

        Raises:
            FileNotFoundError: The game's file is gone.
            ValueError: The task is not one of this environment's, or its file is no ALFWorld game.
        """
        moment = self._open(task.id).engine.start()
        return self._arrive(task.id, moment, num_steps=0).observation

    def step(self, action: str) -> StepResult:
        """Take one action; one that is not admissible counts as a step and is answered `Nothing happens.` alone.

        Raises:
            RuntimeError: The episode has ended or never began.
        """
        now = self._present()
        if now.is_final:
            raise RuntimeError("The episode has ended; reset to a task or restore a snapshot before the next step.")
        moment = self._opened[now.task_id].engine.step(now.state, now.way, action)
        after = self._arrive(now.task_id, moment, now.num_steps + 1)
        if moment.is_won:
            return StepResult.ended(after.observation, success=True)
        return (StepResult.cut_off if after.is_final else StepResult.going_on)(after.observation)

    def step_each(self, moves: Sequence[tuple[Snapshot, str]]) -> list[tuple[StepResult, Snapshot | None]]:
        """Take one action from each of many snapshots; textworld's processes do so at the same time."""
        if self._textworld:
            for origin, _ in moves:
                self._open(origin.task_id)
            self._textworld.prepare([(origin.task_id, (*origin.way, action)) for origin, action in moves])
        return super().step_each(moves)

    def snapshot(self) -> Snapshot:
        """Return the present moment: an immutable value that can be pickled and outlives the episode.

        Raises:
            RuntimeError: There was no reset yet.
        """
        return self._present()

    def restore(self, snapshot: Snapshot) -> Observation:
        """Go back to a snapshot, of this or any other of the tasks, and return its observation.

        Raises:
            ValueError: The snapshot's task is not one of this environment's.
        """
        self._open(snapshot.task_id)
        self._now = snapshot
        return snapshot.observation

    def close(self) -> None:
        """Let go of all opened games and end textworld's processes. Both come back when they are needed."""
        self._opened.clear()
        if self._textworld:
            self._textworld.close()
        self._now = None

    def prompt(self, task: Task, observation: Observation, turns: Sequence[Turn]) -> list[Message]:
        """Return one user message: task, number of actions taken, the last turns, the observation, what can be done.

        Raises:
            ValueError: The task is not one of this environment's.
        """
        actions = None
        if self.shows_admissible_actions:
            actions = [action for action in observation.admissible_actions if action != "help"]
        write = prompting.think_prompt if self.prompt_format == "think" else prompting.action_prompt
        recent = turns[max(0, len(turns) - self.history_length) :]
        content = write(self.game(task.id).task, len(turns), recent, observation.text, actions)
        return [{"role": "user", "content": content}]

    def parse_action(self, completion: str) -> str:
        """Return the action a completion names; see `prompting.parse_action`."""
        return prompting.parse_action(completion, self.prompt_format)

    def _present(self) -> Snapshot:
        if self._now is None:
            raise RuntimeError("No episode has begun; reset to a task first.")
        return self._now

    def _arrive(self, task_id: str, moment: Moment, num_steps: int) -> Snapshot:
        names = self._opened[task_id].names
        keys = names.keys(moment.state, num_steps * TIMES_PER_EPISODE // self.max_steps)
        observation = Observation(moment.text, names.exact(moment.state), moment.actions, keys)
        is_final = num_steps > 0 and (moment.is_won or num_steps >= self.max_steps)
        self._now = Snapshot(task_id, moment.state, num_steps, is_final, observation, moment.way)
        return self._now


def _check_source(**sources: object) -> None:
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        raise ValueError(
            f"AlfworldEnv was given {' and '.join(given) or 'no games'}; exactly one of games=[paths or contents], "
            "split='valid_unseen' (downloaded) and generated=500 (nothing to download) is required."
        )


def _check_engine(engine: str, num_processes: int) -> None:
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; required is {' or '.join(ENGINES)}.")
    if num_processes < 1 or (num_processes > 1 and engine == "native"):
        raise ValueError(
            f"num_processes is {num_processes}; at least 1 is required, and the native engine takes no more than that: "
            "it plays hundreds of games in this process faster than others could be told."
        )


def _check_options(max_steps: int, prompt_format: str, history_length: int) -> None:
    if max_steps < 1:
        raise ValueError(f"max_steps is {max_steps}; it must be at least 1, ALFWorld's papers use 50.")
    if prompt_format not in prompting.PROMPT_FORMATS:
        raise ValueError(f"prompt_format is {prompt_format!r}; required is {' or '.join(prompting.PROMPT_FORMATS)}.")
    if history_length < 0:
        raise ValueError(f"history_length is {history_length}; it must be at least 0 turns.")


def _open_natively(source: GameSource) -> tuple[Game, Engine]:
    game = source.load()
    return game, NativeEngine(game)


def _start_textworld(num_processes: int) -> "Textworld":
    # Imported here: the native engine does without.
    from trl_3spo.environments.alfworld.textworld.engine import Textworld

    return Textworld(num_processes)


def _generate(count: int, seed: int, options: Mapping[str, Any]) -> list[GameSource]:
    # Imported here: playing released games needs no generator.
    from trl_3spo.environments.alfworld.generation.generator import generate_games

    games = generate_games(count, seed, **options)
    # Named by content: equal games of other calls have equal names, and a panel's hash tells what was played.
    return [files.source_from_data(game, f"generated/{game['id']}") for game in games]


def _sources_given(games: Sequence[str | Path | Mapping[str, Any]]) -> list[GameSource]:
    if isinstance(games, (str, Path, Mapping)) or not games:
        raise ValueError(f"games is {str(games)[:80]!r}; a list of paths or contents of game files is required.")
    sources, problems = files.leave_out_duplicates([_source(game, i) for i, game in enumerate(games)])
    files.warn_of(problems, len(games))
    return sources


def _source(game: str | Path | Mapping[str, Any], index: int) -> GameSource:
    if isinstance(game, (str, Path)):
        return files.source_from_path(game)
    return files.source_from_data(game, f"game/{index}")
