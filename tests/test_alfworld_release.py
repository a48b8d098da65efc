import json
from pathlib import Path
from typing import Any

import pytest

from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.data.release import find_games
from trl_3spo.environments.alfworld.generation.generator import generate_games

FOLDERS = (
    "pick_and_place_simple-Mug-None-Desk-308",
    "look_at_obj_in_light-CD-None-DeskLamp-302",
    "pick_and_place_with_movable_recep-Spoon-Mug-Desk-3",
    "pick_heat_then_place_in_recep-AppleSliced-None-Fridge-3",
)
GAMES = generate_games(4, seed=1, num_receptacles=(4, 8))
OLD_GRAMMAR = 'action PutObject { template :: "put {o} in/on {r}"; } "Your task is to: put a mug in desk."'


def write_game(folder: Path, game: Any) -> Path:
    folder.mkdir(parents=True)
    path = folder / "game.tw-pddl"
    path.write_text(game if isinstance(game, str) else json.dumps(game))
    return path


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release whose split valid_seen has two games for us and two that ALFWorld leaves out."""
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    for name, game in zip(FOLDERS, GAMES, strict=True):
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


def ids(split: str) -> list[str]:
    return [source.id.split("/", 1)[1] for source in find_games(split)]


def test_type_is_read_beside_the_game_where_the_folder_does_not_tell(release: Path) -> None:
    for name, kind in (("mine", "look_at_obj_in_light"), ("theirs", "juggling")):
        path = write_game(release / "my_split" / name / "trial", GAMES[0])
        path.with_name("traj_data.json").write_text(json.dumps({"task_type": kind, "pddl_params": {}}))
    write_game(release / "my_split" / "nothing" / "trial", GAMES[0])
    assert [(source.id, source.kind) for source in find_games("my_split")] == [
        ("my_split/mine/trial", "look_at_obj_in_light")
    ]


def test_games_known_to_be_unsolvable_are_left_out_as_in_alfworld(release: Path) -> None:
    # The second says so far from the end of its file.
    write_game(release / "my_split" / FOLDERS[0] / "trial_1", {**GAMES[0], "solvable": False})
    write_game(release / "my_split" / FOLDERS[0] / "trial_2", {"solvable": False, **GAMES[0], "z": "z" * 5000})
    write_game(release / "my_split" / FOLDERS[0] / "trial_3", {"solvable": True, **GAMES[1], "z": "z" * 5000})
    assert ids("my_split") == [f"{FOLDERS[0]}/trial_2", f"{FOLDERS[0]}/trial_3"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (json.dumps(GAMES[1])[:-400], "is not JSON.*perhaps cut off"),
        (json.dumps(GAMES[1])[:-1], "is not JSON"),
        ("", "is not JSON"),
        ("[1, 2]", "'solvable'"),
        ('{"a": "}"}', "'solvable'"),
        (json.dumps({**GAMES[1], "walkthrough": ["put mug 1 in/on desk 1"]}), "older ALFWorld release.*--force"),
        (json.dumps({"grammar": OLD_GRAMMAR, **GAMES[1], "walkthrough": ["use desklamp 1"]}), "older ALFWorld release"),
    ],
)
def test_games_that_cannot_be_played_are_named_and_the_others_go_on(release: Path, content: str, problem: str) -> None:
    path = write_game(release / "valid_seen" / FOLDERS[0] / "trial_0", content)
    with pytest.warns(UserWarning, match=rf"(?s)1 of 3 ALFWorld games.*{path}.*{problem}"):
        env = AlfworldEnv(split="valid_seen")
    assert [task.id.split("/")[1] for task in env.tasks()] == [FOLDERS[1], FOLDERS[0]]
    write_game(release / "train" / FOLDERS[0] / "trial_0", content)
    with pytest.raises(ValueError, match=rf"(?s)None of the 1 games in {release / 'train'}.*{problem}"):
        find_games("train")


def test_broken_trajectory_is_named(release: Path) -> None:
    path = write_game(release / "valid_seen" / "strange" / "trial", GAMES[2]).with_name("traj_data.json")
    path.write_text("{")
    with pytest.warns(UserWarning, match=rf"{path} is not JSON"):
        assert len(find_games("valid_seen")) == 2


def test_of_equal_games_one_is_played(release: Path) -> None:
    path = write_game(release / "valid_seen" / FOLDERS[0] / "trial_2", GAMES[0])
    with pytest.warns(UserWarning, match=rf"{path} holds the same game as .*{FOLDERS[0]}/trial_1"):
        assert ids("valid_seen") == [f"{FOLDERS[1]}/trial_1", f"{FOLDERS[0]}/trial_1"]


def test_a_warning_names_a_few_games_and_counts_the_others(release: Path) -> None:
    for i in range(8):
        write_game(release / "valid_seen" / FOLDERS[0] / f"broken_{i}", "")
    with pytest.warns(UserWarning, match=r"(?s)8 of 10.*broken_4.*… and 3 more") as warnings:
        find_games("valid_seen")
    assert "broken_5" not in str(warnings[0].message)
