import json
from pathlib import Path
from typing import Any

import pytest

from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.data.files import describe_task, read_folder_name, source_from_path
from trl_3spo.environments.alfworld.generation.generator import generate_games

FOLDERS = (
    "pick_and_place_simple-Mug-None-Desk-308",
    "look_at_obj_in_light-CD-None-DeskLamp-302",
    "pick_and_place_with_movable_recep-Spoon-Mug-Desk-3",
    "pick_heat_then_place_in_recep-AppleSliced-None-Fridge-3",
)

GAME = {key: text for key, text in generate_games(1, seed=2)[0].items() if key != "task"}
INIT = GAME["pddl_problem"]


def write_game(folder: Path, game: Any, trajectory: Any = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "game.tw-pddl").write_text(game if isinstance(game, str) else json.dumps(game))
    if trajectory is not None:
        (folder / "traj_data.json").write_text(json.dumps(trajectory))
    return folder / "game.tw-pddl"


def test_single_games_by_file_or_folder(tmp_path: Path) -> None:
    first, second = generate_games(2, seed=2, num_receptacles=(4, 8))
    plain = write_game(tmp_path / "mine", first)
    inside = write_game(tmp_path / "valid_seen" / FOLDERS[0] / "trial_1", second).parent
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
        (json.dumps({**GAME, "grammar": 'action PutObject { template :: "put {o} in/on {r}"; }'}), "older ALFWorld"),
        (
            json.dumps({**GAME, "pddl_problem": INIT.replace("(:init", "(:init (locked x) (cursed x)")}),
            "cursed, locked",
        ),
        (
            json.dumps({**GAME, "task": "x.", "pddl_domain": "(define (:predicates (openable ?r) (wet ?o)))"}),
            "uses wet",
        ),
    ],
)
def test_broken_file_is_named_when_it_is_opened(tmp_path: Path, content: str, problem: str) -> None:
    path = write_game(tmp_path / "broken", content)
    env = AlfworldEnv([path, write_game(tmp_path / "whole", {**GAME, "task": "x."})])
    broken, whole = env.tasks()
    for _ in range(2):
        with pytest.raises(ValueError, match=problem) as error:
            env.reset(broken)
        assert str(path) in str(error.value)
        assert env.reset(whole).text.endswith("x.")


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
