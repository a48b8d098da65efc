"""`AlfworldEnv(engine="textworld")`: the same games, states and texts as with the native engine."""

import importlib.util
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trl_3spo.environments.adapters.replay import ReplayDriftError
from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.data.export import write_games
from trl_3spo.environments.alfworld.generation.generator import generate_games
from trl_3spo.environments.alfworld.textworld import engine as textworld_engine
from trl_3spo.environments.alfworld.textworld.engine import Textworld
from trl_3spo.testing import check_environment

HAS_TEXTWORLD = all(importlib.util.find_spec(name) for name in ("alfworld", "textworld"))
pytestmark = pytest.mark.textworld
needs_textworld = pytest.mark.skipif(not HAS_TEXTWORLD, reason="the alfworld extra is not installed")
GAMES = generate_games(4, seed=5, num_receptacles=(4, 6), num_objects=(3, 6))


@pytest.fixture(scope="module")
def env() -> Iterator[AlfworldEnv]:
    env = AlfworldEnv(GAMES[:2], engine="textworld")
    yield env
    env.close()


@needs_textworld
def test_contract(env: AlfworldEnv) -> None:
    report = check_environment(env, tasks=2, steps=8)
    assert report.num_steps == 16
    assert report.num_revisits > 0


@needs_textworld
def test_both_engines_show_the_same_and_win(env: AlfworldEnv) -> None:
    native = AlfworldEnv(GAMES[:2])
    for task in native.tasks():
        assert env.reset(task) == native.reset(task)
        results = [(env.step(action), native.step(action)) for action in native.game(task.id).walkthrough or ()]
        assert all(result == expected for result, expected in results)
        assert [result.success for result, _ in results] == [False] * (len(results) - 1) + [True]
        assert env.snapshot() == native.snapshot()


@needs_textworld
def test_jumps_lead_back_to_the_same_states(env: AlfworldEnv) -> None:
    native, rng = AlfworldEnv(GAMES[:2]), random.Random(0)
    places = []
    for task in native.tasks():
        env.reset(task), native.reset(task)
        places.append((env.snapshot(), native.snapshot()))
    for _ in range(40):
        reference, simulated = rng.choice(places)
        assert env.restore(reference) == native.restore(simulated)
        action = rng.choice([*simulated.observation.admissible_actions, "\ud800\n"])
        result = env.step(action)
        assert result == native.step(action)
        assert env.snapshot().state == native.snapshot().state
        if not result.is_final:
            places.append((env.snapshot(), native.snapshot()))


@needs_textworld
def test_processes_share_the_games_and_go_the_way_again_when_they_were_ended() -> None:
    native = AlfworldEnv(GAMES)
    env = AlfworldEnv(GAMES, engine="textworld", num_processes=2)
    moves: list[list[Any]] = [[], []]
    for task in native.tasks():
        for each, own in zip((env, native), moves, strict=True):
            action = each.reset(task).admissible_actions[0]
            each.step(action)
            own += [(each.snapshot(), action) for action in each.snapshot().observation.admissible_actions[:2]]
    expected = [result for result, _ in native.step_each(moves[1])]
    assert [result for result, _ in env.step_each(moves[0])] == expected
    env.close()
    assert [result for result, _ in env.step_each(moves[0])] == expected
    env.close()


@needs_textworld
def test_a_game_textworld_cannot_play_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    (path,) = write_games(GAMES[2:3], tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "grammar": '"Your task is to: sing."'}))
    env = AlfworldEnv([path, GAMES[3]], engine="textworld")
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"textworld cannot play {path}: \w+"):
            env.reset(env.tasks()[0])
    assert env.reset(env.tasks()[1]) == AlfworldEnv([path, GAMES[3]]).reset(env.tasks()[1])
    env.close()


@needs_textworld
def test_a_game_that_changed_meanwhile_is_noticed(tmp_path: Path) -> None:
    (path,) = write_games(GAMES[2:3], tmp_path)
    env = AlfworldEnv([path], engine="textworld")
    env.reset(env.tasks()[0])
    snapshot = env.snapshot()
    env.close()
    content = json.loads(path.read_text())
    opened = next(line for line in content["pddl_problem"].splitlines() if line.startswith("(openable"))
    problem = content["pddl_problem"].replace("(:init", "(:init " + opened.replace("openable", "opened"))
    path.write_text(json.dumps({**content, "pddl_problem": problem}))
    env.restore(snapshot)
    with pytest.raises(ReplayDriftError, match=str(path)):
        env.step("look")
    env.close()


DROPPING = """
import random, sys
from trl_3spo.environments.alfworld.textworld import process as textworld_process

def tell(way):
    told = game.tell(way)
    return {**told, "facts": {name: sorted(atoms) for name, atoms in told["facts"].items() if atoms}}

path = sys.argv[1]
game, rng = textworld_process.ReferenceGame(), random.Random(0)
game.load(path)
ways = [()]
for _ in range(12):
    way = rng.choice(ways)
    ways.append((*way, rng.choice(tell(way)["commands"])))
expected = {way: tell(way) for way in ways}
textworld_process.MAX_MOMENTS = 3
game.load(path)
for way in rng.choices(ways, k=20):
    assert tell(way) == expected[way], way
    assert len(game._moments) <= 3
"""


@needs_textworld
def test_moments_that_were_dropped_are_reached_again(tmp_path: Path) -> None:
    (path,) = write_games(GAMES[:1], tmp_path)
    subprocess.run([sys.executable, "-c", DROPPING, str(path)], check=True)


@needs_textworld
def test_a_process_that_ends_is_reported_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: AlfworldEnv
) -> None:
    env.close()
    script = tmp_path / "ends.py"
    script.write_text("raise SystemExit(3)")
    with monkeypatch.context() as patch:
        patch.setattr(textworld_engine, "_SCRIPT", script)
        with pytest.raises(RuntimeError, match="ended with exit code 3"):
            env.reset(env.tasks()[0])
    assert env.reset(env.tasks()[0]) == AlfworldEnv(GAMES[:2]).reset(env.tasks()[0])


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"alfworld and textworld.*trl_3spo\[alfworld\]"):
        Textworld(1)
