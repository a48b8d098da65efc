"""Damaged games, folders that are not where they belong, and broken cache entries: named, left out, or found."""

import json
import random
import shutil
import warnings
import zlib
from pathlib import Path
from typing import Any

import pytest

from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.data.release import find_games
from trl_3spo.environments.alfworld.generation.generator import generate_games
from trl_3spo.environments.alfworld.simulator.definition import read_definition, to_json

GAMES = generate_games(3, seed=1, num_receptacles=(4, 8))
MUG = "pick_and_place_simple-Mug-None-Desk-308"
LAMP = "look_at_obj_in_light-CD-None-DeskLamp-302"
DEEP = "[" * 100_000


def write_game(folder: Path, game: Any) -> Path:
    folder.mkdir(parents=True)
    path = folder / "game.tw-pddl"
    path.write_text(game if isinstance(game, str) else json.dumps(game))
    return path


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def split(data: Path) -> Path:
    """The split valid_seen with one whole game."""
    write_game(data / "json_2.1.1" / "valid_seen" / MUG / "trial_1", GAMES[0])
    return data / "json_2.1.1" / "valid_seen"


def ids(name: str = "valid_seen") -> list[str]:
    return [source.id for source in find_games(name)]


# -- damaged games -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [DEEP, f'{{"solvable": {DEEP}', '{"a": ' * 50_000, "\x00" * 9000])
def test_what_is_no_json_does_not_end_the_listing(split: Path, content: str) -> None:
    path = write_game(split / LAMP / "trial_1", content)
    with pytest.warns(UserWarning, match=f"1 of 2 ALFWorld games are left out:\n  {path} is not JSON"):
        assert ids() == [f"valid_seen/{MUG}/trial_1"]


@pytest.mark.parametrize("trajectory", [DEEP, "[]", '{"pddl_params": [1]}', '{"task_type": null}', '{"task_type": 3}'])
def test_nor_does_a_broken_file_beside_a_game(split: Path, trajectory: str) -> None:
    write_game(split / "renamed" / "trial_1", GAMES[1]).with_name("traj_data.json").write_text(trajectory)
    with pytest.warns(UserWarning, match="1 of 2 ALFWorld games are left out"):
        assert len(ids()) == 1


def test_damage_that_shows_when_a_game_is_opened_is_warned_of_and_the_others_go_on(split: Path) -> None:
    whole = json.dumps(GAMES[1])
    path = write_game(split / LAMP / "trial_1", whole[:200] + "\x00" * 50 + whole[250:])
    env = AlfworldEnv(split="valid_seen")
    tasks = env.tasks()
    with (
        pytest.warns(UserWarning, match=f"1 of 2 ALFWorld games are left out:\n  {path} is not JSON"),
        pytest.raises(ValueError, match=f"{path} is not JSON"),
    ):
        env.reset(tasks[0])
    assert env.reset(tasks[1]).text
    assert env.tasks() == tasks


def damaged(rng: random.Random) -> bytes:
    """Return a game of which something has been deleted, replaced or nested."""
    game = dict(rng.choice(GAMES))
    words = game["pddl_problem"].replace("(", " ( ").replace(")", " ) ").split()
    for _ in range(rng.randint(1, 4)):
        position = rng.randrange(len(words))
        words[position] = rng.choice(["", "(", ")", rng.choice(words), "(" * 5000 + "x" + ")" * 5000])
    game["pddl_problem"] = " ".join(words)
    if rng.random() < 0.3:
        game[rng.choice(list(game))] = rng.choice([None, 1, [], {}, [[]], "x", True])
    content = bytearray(json.dumps(game).encode())
    for _ in range(rng.choice([0, 0, 1, 20])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def why_not_played(env: AlfworldEnv) -> str | None:
    try:
        observation = env.reset(env.tasks()[0])
    except ValueError as error:
        return str(error)
    env.step(observation.admissible_actions[0])
    return None


@pytest.mark.filterwarnings("ignore:1 of 1 ALFWorld games")
def test_whatever_is_wrong_with_a_game_one_error_names_its_file(tmp_path: Path) -> None:
    rng, path = random.Random(0), write_game(tmp_path / "game", "")
    num_refused = 0
    for _ in range(300):
        path.write_bytes(damaged(rng))
        env = AlfworldEnv([path], max_steps=5)
        error = why_not_played(env)
        num_refused += error is not None
        assert error is None or str(path) in error
    assert 100 < num_refused < 300


# -- games that are left out -------------------------------------------------------------------------------------------


def test_a_game_whose_type_cannot_be_told_is_warned_of(split: Path) -> None:
    path = write_game(split / "renamed" / "trial_1", GAMES[1])
    with pytest.warns(UserWarning, match=rf"{path} does not tell its task type: its folder renamed .*traj_data.json"):
        assert len(ids()) == 1
    shutil.rmtree(split / MUG)
    with pytest.raises(ValueError, match=r"None of the 1 games .* does not tell its task type"):
        find_games("valid_seen")


def test_a_type_that_alfworld_has_not_is_warned_of_and_one_it_leaves_out_is_not(split: Path) -> None:
    path = write_game(split / "renamed" / "trial_1", GAMES[1])
    path.with_name("traj_data.json").write_text('{"task_type": "juggling"}')
    with pytest.warns(UserWarning, match="task type 'juggling'; required is one of pick_and_place_simple"):
        assert len(ids()) == 1
    path.with_name("traj_data.json").write_text('{"task_type": "pick_and_place_with_movable_recep"}')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(ids()) == 1


def test_a_split_without_a_solvable_game_says_so(split: Path) -> None:
    for trial in ("trial_1", "trial_2"):
        shutil.rmtree(split / MUG / trial, ignore_errors=True)
        write_game(split / MUG / trial, {**GAMES[0], "solvable": False, "z": trial})
    write_game(split / "pick_heat_then_place_in_recep-AppleSliced-None-Fridge-3" / "trial_1", GAMES[1])
    unsolvable = r"2 are known to be unsolvable \('solvable': false\)"
    with pytest.raises(ValueError, match=rf"plays none of the 3 games in {split}: .*{unsolvable}.*another split"):
        find_games("valid_seen")
    write_game(split / MUG / "trial_3", "")
    with pytest.raises(ValueError, match=rf"None of the 1 games .*is not JSON.*{unsolvable[2:]}"):
        find_games("valid_seen")


# -- folders -----------------------------------------------------------------------------------------------------------


def test_the_folder_of_the_splits_itself_is_found(split: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ids()
    monkeypatch.setenv("ALFWORLD_DATA", str(split.parent))
    assert ids() == expected
    with pytest.raises(FileNotFoundError, match=rf"in {split.parent / 'train'};"):
        find_games("train")


def test_so_are_splits_in_a_folder_of_another_name(split: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split.parent.rename(split.parent.with_name("my_games"))
    monkeypatch.setenv("ALFWORLD_DATA", str(split.parent.with_name("my_games")))
    assert len(ids()) == 1


def test_so_is_an_archive_in_a_folder_of_its_name(split: Path, data: Path) -> None:
    split.parent.rename(data / "inner")
    (data / "json_2.1.1").mkdir()
    (data / "inner").rename(data / "json_2.1.1" / "json_2.1.1")
    assert len(ids()) == 1


@pytest.mark.parametrize("way", ["", MUG, "json_2.1.1", f"json_2.1.1/{MUG}"])
def test_games_that_are_in_no_split_are_named_as_such(data: Path, way: str) -> None:
    write_game(data / way / MUG, GAMES[0])
    with pytest.raises(ValueError, match=r"games are in no split: .*/SPLIT/TASK/TRIAL/game.tw-pddl is required"):
        find_games("valid_seen")


@pytest.mark.parametrize("way", [MUG, f"valid_seen/{MUG}/trial_1"])
def test_a_split_whose_games_are_too_high_or_too_low_says_where_they_are(data: Path, way: str) -> None:
    path = write_game(data / "json_2.1.1" / "valid_seen" / way, GAMES[0])
    with pytest.raises(FileNotFoundError, match=rf"valid_seen/TASK/TRIAL/game.tw-pddl; the first one is {path}"):
        find_games("valid_seen")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("eval_out_of_distribution", "valid_unseen"),
        ("eval_in_distribution", "valid_seen"),
        ("Unseen", "valid_unseen"),
        ("seen", "valid_seen"),
        ("training", "train"),
        ("valid-seen", "valid_seen"),
        ("valid_unsen", "valid_unseen"),
        ("TRAIN", "train"),
    ],
)
def test_other_names_of_a_split_say_which_is_meant(split: Path, given: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"no split '{given}'; the name of what was probably meant is '{meant}'"):
        AlfworldEnv(split=given)


def test_a_folder_named_as_a_game_is_told_from_one(split: Path, tmp_path: Path) -> None:
    path = split / LAMP / "trial_1" / "game.tw-pddl"
    path.mkdir(parents=True)
    with pytest.warns(UserWarning, match=f"{path} is a folder; a file of that name is required"):
        assert len(ids()) == 1
    with pytest.raises(FileNotFoundError, match="There is no game file"):
        AlfworldEnv([path])
    env = AlfworldEnv(split="valid_seen")
    game = split / MUG / "trial_1" / "game.tw-pddl"
    game.unlink()
    game.mkdir()
    with pytest.raises(ValueError, match=f"{game} is a folder"), pytest.warns(UserWarning, match="left out"):
        env.reset(env.tasks()[0])


# -- cache entries -----------------------------------------------------------------------------------------------------


def entry_of(folder: Path) -> Path:
    (entry,) = (path for path in folder.rglob("*") if path.is_file())
    return entry


WHOLE = json.loads(to_json(read_definition(GAMES[0])))
SHAPES = [
    [],
    {},
    1,
    WHOLE[:-1],
    [*WHOLE, 1],
    [None] * 8,
    *([*WHOLE[:i], x, *WHOLE[i + 1 :]] for i in range(8) for x in ([[]], 7)),
]


@pytest.mark.parametrize("content", [DEEP, *map(json.dumps, SHAPES), to_json(read_definition(GAMES[1]))])
def test_an_entry_of_another_shape_or_game_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv("TRL_3SPO_CACHE", str(tmp_path / "cache"))
    path = write_game(tmp_path / "game", GAMES[0])

    def observe() -> Any:
        env = AlfworldEnv([path])
        first = env.reset(env.tasks()[0])
        return first, [env.step(action) for action in first.admissible_actions[:3]]

    expected = observe()
    entry = entry_of(tmp_path / "cache")
    whole = entry.read_bytes()
    for broken in (zlib.compress(content.encode()), zlib.compress(content.encode()) + whole[-16:]):
        entry.write_bytes(broken)
        assert observe() == expected
        assert entry.read_bytes() == whole
