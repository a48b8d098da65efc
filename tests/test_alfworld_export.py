"""Generated games as files: what is written is what was generated, in ALFWorld's layout."""

import importlib.util
import json

import pytest

from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.data.export import to_textworld, write_game, write_games
from trl_3spo.environments.alfworld.generation.generator import generate_games
from trl_3spo.environments.alfworld.generation.oracle import oracle_plan
from trl_3spo.environments.alfworld.simulator.game import Game

GRAMMAR = 'grammar :: """\n{"task": [{"rhs": "Your task is to: UNKNOWN GOAL."}]}\n"""'
DOMAIN = """(define (domain alfred)
    (:action CleanObject :precondition (receptacleType ?r SinkBasinType))
    (:action ExamineObject :precondition (exists (?l - location, ?r - receptacle) (inReceptacle ?o ?r))))"""


@pytest.fixture(scope="module")
def games():
    return generate_games(12, seed=0, num_receptacles=(4, 8), num_objects=(4, 10), sliced_share=0.3)


def test_textworld_data_has_the_task_in_the_grammar(games):
    data = to_textworld(games[0], DOMAIN, GRAMMAR)
    assert set(data) == {"pddl_domain", "grammar", "pddl_problem", "solvable", "walkthrough"}
    assert f'"Your task is to: {games[0]["task"]}"' in data["grammar"]
    assert "UNKNOWN GOAL" not in data["grammar"]


def test_a_grammar_without_a_place_for_the_task_is_refused(games):
    with pytest.raises(ValueError, match=r"0 times.*alfred\.twl2"):
        to_textworld(games[0], "", "grammar")


def test_a_written_game_is_read_back(tmp_path, games):
    path = write_game(games[3], tmp_path / "outer" / "inner", DOMAIN, GRAMMAR)
    assert path.name == "game.tw-pddl"
    game = Game(json.loads(path.read_text()))
    assert game.task == games[3]["task"]
    assert oracle_plan(game, game.initial) == games[3]["walkthrough"]
    trajectory = json.loads((path.parent / "traj_data.json").read_text())
    assert trajectory["task_type"] == games[3]["kind"]
    assert trajectory["pddl_params"] == games[3]["parameters"]


def test_written_games_are_a_split(tmp_path, monkeypatch, games):
    paths = write_games(games, tmp_path / "json_2.1.1" / "valid_unseen", domain=DOMAIN, grammar=GRAMMAR)
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    env = AlfworldEnv(split="valid_unseen")
    whole = {game["id"]: game for game in games if not game["parameters"]["object_sliced"]}
    assert {path.parent.parent.name for path in paths} == {game["id"] for game in games}
    assert {task.id.split("/")[1]: task.kind for task in env.tasks()} == {x: whole[x]["kind"] for x in whole}
    for task in env.tasks():
        generated = whole[task.id.split("/")[1]]
        assert env.game(task.id).parameters == generated["parameters"]
        env.reset(task)
        assert [env.step(action).success for action in generated["walkthrough"]][-1]


def test_without_alfworld_the_error_says_what_to_do(tmp_path, monkeypatch, games):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"alfred\.pddl.*pip install trl_3spo\[alfworld\].*domain="):
        write_games(games, tmp_path)
