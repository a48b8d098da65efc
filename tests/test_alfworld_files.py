import json
from pathlib import Path
from typing import Any

import pytest

from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.files import describe_task, find_games, read_folder_name, source_from_path
from trl_3spo.environments.alfworld.generator import generate_games

FOLDERS = (
    "pick_and_place_simple-Mug-None-Desk-308",
    "look_at_obj_in_light-CD-None-DeskLamp-302",
    "pick_and_place_with_movable_recep-Spoon-Mug-Desk-3",
    "pick_heat_then_place_in_recep-AppleSliced-None-Fridge-3",
)


def write_game(folder: Path, game: Any, trajectory: Any = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "game.tw-pddl").write_text(game if isinstance(game, str) else json.dumps(game))
    if trajectory is not None:
        (folder / "traj_data.json").write_text(json.dumps(trajectory))
    return folder / "game.tw-pddl"


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release whose split valid_seen has two games for us and two that ALFWorld leaves out."""
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    for name, game in zip(FOLDERS, generate_games(4, seed=1, num_receptacles=(4, 8)), strict=True):
        write_game(tmp_path / "json_2.1.1" / "valid_seen" / name / "trial_1", game)
    (tmp_path / "json_2.1.1" / "my_split").mkdir()
    return tmp_path / "json_2.1.1"


def test_split_has_the_six_task_types_in_alphabetical_order(release: Path) -> None:
    env = AlfworldEnv(split="valid_seen")
    names = (FOLDERS[1], FOLDERS[0])
    assert [task.id for task in env.tasks()] == [f"valid_seen/{name}/trial_1" for name in names]
    assert [task.kind for task in env.tasks("valid_seen")] == [name.split("-")[0] for name in names]
    assert env.reset(env.tasks()[0]).text.startswith("-=")


def test_unknown_split_names_the_known_ones(release: Path) -> None:
    with pytest.raises(ValueError, match=r"'valid'.*my_split, train, valid_seen, valid_unseen"):
        find_games("valid")
    with pytest.raises(ValueError, match="no split"):
        AlfworldEnv(split="valid_seen").tasks("../valid_seen")


@pytest.mark.parametrize("split", ["train", "my_split"])
def test_missing_games_name_the_folder_and_the_remedy(release: Path, split: str) -> None:
    with pytest.raises(FileNotFoundError, match=rf"{release / split}.*alfworld-download"):
        AlfworldEnv(split=split)


def test_data_are_looked_for_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=str(tmp_path / ".cache" / "alfworld")):
        find_games("train")


def test_single_games_by_file_or_folder(release: Path, tmp_path: Path) -> None:
    plain = write_game(tmp_path / "mine", generate_games(1, seed=2)[0])
    inside = release / "valid_seen" / FOLDERS[0] / "trial_1"
    env = AlfworldEnv([plain, str(inside)])
    assert [task.id for task in env.tasks()] == [str(plain), f"valid_seen/{FOLDERS[0]}/trial_1"]
    assert [task.kind for task in env.tasks()] == ["", "pick_and_place_simple"]
    for task in env.tasks():
        assert env.reset(task).text.endswith(env.game(task.id).task)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere/game.tw-pddl"):
        AlfworldEnv([tmp_path / "nowhere" / "game.tw-pddl"])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"pddl_problem": "(def', "not JSON"),
        ("", "not JSON"),
        ("[1, 2]", "no text 'pddl_problem' but is of type list"),
        ('{"a": 1}', "but the keys a"),
        ('{"pddl_problem": "(define (", "task": "x."}', "cut off"),
    ],
)
def test_broken_file_is_named_when_it_is_opened(tmp_path: Path, content: str, problem: str) -> None:
    path = write_game(tmp_path / "broken", content)
    env = AlfworldEnv([path])
    with pytest.raises(ValueError, match=problem) as error:
        env.reset(env.tasks()[0])
    assert str(path) in str(error.value)


def test_binary_file_is_no_game(tmp_path: Path) -> None:
    path = tmp_path / "game.tw-pddl"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match="not JSON"):
        source_from_path(path).load()


def test_file_that_has_gone_is_named(tmp_path: Path) -> None:
    path = write_game(tmp_path / "gone", generate_games(1, seed=2)[0])
    env = AlfworldEnv([path])
    path.unlink()
    with pytest.raises(FileNotFoundError, match=str(path)):
        env.reset(env.tasks()[0])


def test_task_is_described_by_the_folder_or_the_file_beside(tmp_path: Path) -> None:
    trajectory = {"task_type": "pick_two_obj_and_place", "pddl_params": {"object_target": "CD"}}
    path = write_game(tmp_path / "x" / "y", {}, trajectory)
    assert describe_task(path) == ("pick_two_obj_and_place", {"object_target": "CD"})
    named = write_game(tmp_path / FOLDERS[1] / "trial", {}, trajectory)
    assert describe_task(named)[0] == "look_at_obj_in_light"
    assert describe_task(tmp_path / "x" / "z" / "game.tw-pddl") == ("", {})
    with pytest.raises(ValueError, match="holds a list"):
        describe_task(write_game(tmp_path / "x" / "w", {}, [1]))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        (FOLDERS[0], ("Mug", "Desk", "", "", False)),
        (FOLDERS[1], ("CD", "", "", "DeskLamp", False)),
        (FOLDERS[3], ("Apple", "Fridge", "", "", True)),
    ],
)
def test_folder_names(name: str, parameters: tuple[object, ...]) -> None:
    keys = ("object_target", "parent_target", "mrecep_target", "toggle_target", "object_sliced")
    assert read_folder_name(name) == (name.split("-")[0], dict(zip(keys, parameters, strict=True)))


@pytest.mark.parametrize("name", [FOLDERS[2], "pick_and_place_simple-Mug-None-Desk", "trial_1", ""])
def test_folder_names_of_other_forms(name: str) -> None:
    assert read_folder_name(name) is None
