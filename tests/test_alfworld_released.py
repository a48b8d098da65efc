"""The simulator against the released games and the engine they were made for.

The released games are not part of the repository. They are taken from $ALFWORLD_TEST_GAMES (a folder that holds
json_2.1.1), or from an archive beside the checkout. $ALFWORLD_LOCKSTEP_STATES sets how many states of each of them are
compared with textworld, at 40 to 200 ms each; generated games are compared in more. The defaults make 3,040 in all.
"""

import importlib.util
import json
import os
import random
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trl_3spo.environments.alfworld import AlfworldEnv, Game, GameState
from trl_3spo.environments.alfworld.assignment import KINDS, SLICED_SENTENCES
from trl_3spo.environments.alfworld.data.export import write_games
from trl_3spo.environments.alfworld.data.files import TRAJECTORY_FILE, describe_task, source_from_path
from trl_3spo.environments.alfworld.generation.generator import generate_games

ARCHIVE = Path(__file__).resolve().parents[2] / "shared" / "data" / "alfworld" / "games.tar.xz"
NUM_RELEASED = 24
NUM_STATES = int(os.environ.get("ALFWORLD_LOCKSTEP_STATES", "40"))
Reference = subprocess.Popen[str]
NONSENSE = ("go to the moon", "take", "", "open open", "GO TO FRIDGE 1", "put it down")


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = os.environ.get("ALFWORLD_TEST_GAMES")
    if folder is None and not ARCHIVE.is_file():
        pytest.skip(f"no released games: neither $ALFWORLD_TEST_GAMES nor {ARCHIVE}")
    root = Path(folder) if folder else tmp_path_factory.mktemp("alfworld")
    if folder is None:
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(root, filter="data")
    paths = sorted(root.glob("json_2.1.1/*/*/*/game.tw-pddl"))
    if len(paths) < NUM_RELEASED:
        pytest.skip(f"only {len(paths)} of {NUM_RELEASED} released games below {root}")
    return paths[:NUM_RELEASED]


def test_every_walkthrough_wins_with_its_last_action_only(released: list[Path]) -> None:
    for path in released:
        game = source_from_path(path).load()
        state = game.initial
        for action in game.walkthrough or ():
            assert not game.is_won(state), path
            assert action in game.admissible(state), (path, action)
            state, _ = game.step(state, action)
        assert game.is_won(state), path


def test_folder_name_and_trajectory_file_say_the_same(released: list[Path]) -> None:
    for path in released:
        trajectory = json.loads(path.with_name(TRAJECTORY_FILE).read_text())
        assert describe_task(path) == (trajectory["task_type"], trajectory["pddl_params"])


def test_environment_plays_the_released_split(released: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(released[0].parents[4]))
    env = AlfworldEnv(split="valid_unseen")
    tasks = env.tasks()
    assert {task.kind for task in tasks} == set(KINDS)
    assert all(task.id.split("/")[0] == "valid_unseen" for task in tasks)
    assert not {task.id for task in env.tasks("valid_seen")} & {task.id for task in tasks}
    for task in (*tasks, *env.tasks("valid_seen")):
        env.reset(task)
        *most, last = [env.step(action) for action in env.game(task.id).walkthrough or ()]
        assert not any(result.is_final or result.reward for result in most)
        assert (last.terminated, last.truncated, last.success, last.reward) == (True, False, True, 1.0)


def test_loaded_games_are_small(released: list[Path]) -> None:
    sources = [source_from_path(path) for path in released]
    sources[0].load()
    tracemalloc.start()
    games = [source.load() for source in sources]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / len(games) < 200_000


@pytest.fixture(scope="session")
def reference() -> Iterator[Reference]:
    if not all(importlib.util.find_spec(name) for name in ("alfworld", "textworld")):
        pytest.skip("the alfworld extra is not installed")
    script = [sys.executable, str(Path(__file__).with_name("alfworld_reference.py"))]
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.textworld
@pytest.mark.slow
@pytest.mark.parametrize("index", range(NUM_RELEASED))
def test_released_game_equals_textworld(reference: Reference, released: list[Path], index: int) -> None:
    compare(reference, released[index], NUM_STATES, seed=index)


@pytest.mark.textworld
@pytest.mark.slow
@pytest.mark.parametrize("index", range(6))
def test_generated_game_equals_textworld(reference: Reference, tmp_path: Path, index: int) -> None:
    (path,) = write_games(generate_games(6, seed=7)[index : index + 1], tmp_path)
    compare(reference, path, 2 * NUM_STATES, seed=index)


@pytest.mark.textworld
@pytest.mark.slow
@pytest.mark.parametrize("index", range(16))
def test_small_generated_game_equals_textworld(reference: Reference, tmp_path: Path, index: int) -> None:
    games = generate_games(16, seed=7, num_receptacles=(5, 9), num_objects=(6, 16))
    (path,) = write_games(games[index : index + 1], tmp_path)
    compare(reference, path, 5 * NUM_STATES // 2, seed=index)


@pytest.mark.textworld
@pytest.mark.slow
@pytest.mark.parametrize("index", range(5))
def test_generated_game_with_slices_equals_textworld(reference: Reference, tmp_path: Path, index: int) -> None:
    sizes = {"num_receptacles": (5, 9), "num_objects": (6, 16)}
    games = generate_games(5, seed=7, kinds=list(SLICED_SENTENCES), sliced_share=1.0, **sizes)
    (path,) = write_games(games[index : index + 1], tmp_path)
    compare(reference, path, NUM_STATES, seed=index)


@pytest.mark.textworld
@pytest.mark.slow
def test_written_games_are_loaded_by_alfworld_and_won_in_textworld(reference: Reference, tmp_path: Path) -> None:
    from alfworld.agents.environment.alfred_tw_env import TASK_TYPES, AlfredTWEnv

    games = generate_games(12, seed=8, num_receptacles=(5, 9), num_objects=(6, 16), sliced_share=0.5)
    whole = {game["id"] for game in games if not game["parameters"]["object_sliced"]}
    paths = write_games(games, tmp_path)
    config = {
        "env": {"goal_desc_human_anns_prob": 0, "task_types": list(TASK_TYPES)},
        "dataset": {"data_path": str(tmp_path), "num_train_games": -1},
    }
    loaded = [Path(file) for file in AlfredTWEnv(config, train_eval="train").game_files]
    assert {path.parent.parent.name for path in loaded} == whole
    for path, game in zip(paths, games, strict=True):
        *before, after = [is_won for _, _, is_won in ask(reference, path, game["walkthrough"])]
        assert after
        assert not any(before)


def compare(reference: Reference, path: Path, num_states: int, seed: int) -> None:
    """Play the walkthrough and wander on, then have textworld take the same actions."""
    game, rng = Game(json.loads(path.read_text())), random.Random(seed)
    state, said, actions = game.initial, [tell(game, game.initial, game.introduction())], []
    plan = game.walkthrough or ()
    for i in range(num_states - 1):
        actions.append(plan[i] if i < len(plan) else wander(game, state, rng))
        state, text = game.step(state, actions[-1])
        said.append(tell(game, state, text))
    expected = ask(reference, path, actions)
    assert len(expected) == num_states
    for i in range(num_states):
        assert said[i] == expected[i], f"{path} after {actions[:i]}"


def ask(reference: Reference, path: Path, actions: list[str]) -> list[Any]:
    """Return what textworld tells at the start of a game and after each of the actions."""
    assert reference.stdin is not None
    assert reference.stdout is not None
    print(json.dumps([str(path), actions]), file=reference.stdin, flush=True)
    answer: list[Any] = json.loads(reference.stdout.readline())
    return answer


def tell(game: Game, state: GameState, text: str) -> list[Any]:
    return [text, sorted(game.admissible(state)), game.is_won(state)]


def wander(game: Game, state: GameState, rng: random.Random) -> str:
    """Choose an action: more often one that handles things here than one that leads away, now and then nonsense."""
    actions = list(game.admissible(state))
    local = [action for action in actions if not action.startswith(("go to", "help", "inventory"))]
    draw = rng.random()
    return rng.choice(NONSENSE) if draw < 0.05 else rng.choice(local if draw < 0.7 else actions)
