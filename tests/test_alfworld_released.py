"""The simulator against the released games and the engine they were made for.

The released games are not part of the repository. They are taken from $ALFWORLD_TEST_GAMES (a folder that holds
json_2.1.1), or from an archive beside the checkout. $ALFWORLD_LOCKSTEP_STATES sets how many states of each of them are
compared with textworld, at 40 to 200 ms each; generated games are compared in more. The defaults make 3,040 in all.
"""

import json
import os
import random
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from trl_3spo.environments.alfworld import AlfworldEnv, Game, GameState
from trl_3spo.environments.alfworld.assignment import KINDS
from trl_3spo.environments.alfworld.files import TRAJECTORY_FILE, describe_task, source_from_path
from trl_3spo.environments.alfworld.generator import generate_games, to_textworld

ARCHIVE = Path(__file__).resolve().parents[2] / "shared" / "data" / "alfworld" / "games.tar.xz"
NUM_RELEASED = 24
NUM_STATES = int(os.environ.get("ALFWORLD_LOCKSTEP_STATES", "40"))
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


# Without coverage: tracing slows textworld down by far more than it slows the few lines under test.
@pytest.mark.no_cover
@pytest.mark.textworld
@pytest.mark.slow
@pytest.mark.parametrize("index", range(NUM_RELEASED))
def test_released_game_equals_textworld(released: list[Path], index: int) -> None:
    compare_with_textworld(released[index], NUM_STATES, seed=index)


@pytest.mark.no_cover
@pytest.mark.textworld
@pytest.mark.slow
@pytest.mark.parametrize("index", range(6))
def test_generated_game_equals_textworld(tmp_path: Path, index: int) -> None:
    path = write_generated_game(generate_games(6, seed=7)[index], tmp_path)
    compare_with_textworld(path, 2 * NUM_STATES, seed=index)


@pytest.mark.no_cover
@pytest.mark.textworld
@pytest.mark.slow
@pytest.mark.parametrize("index", range(16))
def test_small_generated_game_equals_textworld(tmp_path: Path, index: int) -> None:
    games = generate_games(16, seed=7, num_receptacles=(5, 9), num_objects=(6, 16))
    path = write_generated_game(games[index], tmp_path)
    compare_with_textworld(path, 5 * NUM_STATES // 2, seed=index)


def write_generated_game(game: dict[str, Any], folder: Path) -> Path:
    info = pytest.importorskip("alfworld.info", reason="the alfworld extra is not installed")
    domain, grammar = Path(info.ALFRED_PDDL_PATH).read_text(), Path(info.ALFRED_TWL2_PATH).read_text()
    path = folder / "game.tw-pddl"
    path.write_text(json.dumps(to_textworld(game, domain, grammar)))
    return path


def compare_with_textworld(path: Path, num_states: int, seed: int) -> None:
    """Play the walkthrough, then wander on, in both engines side by side."""
    textworld = pytest.importorskip("textworld", reason="the alfworld extra is not installed")
    wrappers = pytest.importorskip("alfworld.agents.environment.alfred_tw_env")
    infos = textworld.EnvInfos(admissible_commands=True, won=True)
    reference = textworld.start(str(path), infos, wrappers=[wrappers.AlfredDemangler])
    game, rng = Game(json.loads(path.read_text())), random.Random(seed)
    expected, state, text = reference.reset(), game.initial, game.introduction()
    for i in range(num_states):
        where = f"{path} after {i} actions"
        assert text == expected["feedback"], where
        assert sorted(game.admissible(state)) == sorted(expected["admissible_commands"]), where
        assert game.is_won(state) == expected["won"], where
        action = (game.walkthrough or ())[i] if i < len(game.walkthrough or ()) else wander(game, state, rng)
        state, text = game.step(state, action)
        expected, _, _ = reference.step(action)
    reference.close()


def wander(game: Game, state: GameState, rng: random.Random) -> str:
    """Choose an action: more often one that handles things here than one that leads away, now and then nonsense."""
    actions = list(game.admissible(state))
    local = [action for action in actions if not action.startswith(("go to", "help", "inventory"))]
    draw = rng.random()
    return rng.choice(NONSENSE) if draw < 0.05 else rng.choice(local if draw < 0.7 else actions)
