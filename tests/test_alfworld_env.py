import ast
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trl_3spo.environments.alfworld import AlfworldEnv, Game
from trl_3spo.environments.alfworld.generation.generator import generate_games
from trl_3spo.environments.alfworld.score_keys import ScoreKeys
from trl_3spo.environments.base import Observation, StepResult, Task
from trl_3spo.testing import check_environment


@pytest.fixture(scope="module")
def env() -> AlfworldEnv:
    return AlfworldEnv(generated=6, seed=5, num_receptacles=(5, 12))


def walkthrough(env: AlfworldEnv, task: Task) -> tuple[str, ...]:
    return env.game(task.id).walkthrough or ()


def wander(env: AlfworldEnv, task: Task, num_steps: int, rng: random.Random) -> Iterator[tuple[str, StepResult]]:
    observation = env.reset(task)
    for _ in range(num_steps):
        action = rng.choice((*observation.admissible_actions, "sing"))
        result = env.step(action)
        yield action, result
        if result.is_final:
            return
        observation = result.observation


def test_contract() -> None:
    report = check_environment(AlfworldEnv(generated=6, seed=1, num_receptacles=(4, 8)), tasks=6, steps=50)
    assert report.num_steps > 200
    assert report.num_revisits > 0
    assert report.remarks == ()


def test_walkthroughs_win_with_the_last_step(env: AlfworldEnv) -> None:
    for task in env.tasks():
        env.reset(task)
        *most, last = [env.step(action) for action in walkthrough(env, task)]
        assert not any(result.is_final or result.success or result.reward for result in most)
        assert (last.reward, last.terminated, last.truncated, last.success) == (1.0, True, False, True)


def test_a_thousand_jumps_equal_replays_from_reset(env: AlfworldEnv) -> None:
    rng = random.Random(0)
    visits = []
    for task in env.tasks():
        actions: list[str] = []
        for _ in range(4):
            for action, result in wander(env, task, 30, rng):
                actions = [*actions, action]
                visits.append((task, actions, env.snapshot(), result))
            actions = []
    for task, actions, snapshot, result in rng.choices(visits, k=1000):
        assert env.restore(snapshot) == result.observation
        onward = None if result.is_final else env.step("look")
        env.reset(task)
        replayed = [env.step(action) for action in actions][-1]
        assert replayed == result
        assert env.snapshot() == snapshot
        assert onward is None or env.step("look") == onward


def test_snapshots_are_small_values_that_survive_pickling(env: AlfworldEnv) -> None:
    for task in env.tasks():
        env.reset(task)
        result = env.step("look")
        snapshot = env.snapshot()
        data = pickle.dumps(snapshot)
        assert len(data) < 5000
        assert len({snapshot, pickle.loads(data)}) == 1
        env.reset(env.tasks()[0])
        assert env.restore(pickle.loads(data)) == result.observation


def test_restoring_does_not_need_the_game_to_be_open(env: AlfworldEnv) -> None:
    observation = env.reset(env.tasks()[1])
    snapshot = env.snapshot()
    expected = env.step("look")
    env.close()
    assert env.restore(snapshot) == observation
    assert env.step("look") == expected


def test_episode_is_truncated_at_the_limit_and_winning_takes_precedence() -> None:
    games = generate_games(1, seed=3, num_receptacles=(4, 6))
    num_needed = len(games[0]["walkthrough"])
    for max_steps in (num_needed, num_needed - 1):
        env = AlfworldEnv(games, max_steps=max_steps)
        env.reset(env.tasks()[0])
        *_, last = [env.step(action) for action in games[0]["walkthrough"][:max_steps]]
        is_won = max_steps == num_needed
        assert (last.terminated, last.truncated, last.success) == (is_won, not is_won, is_won)


def test_nothing_is_stepped_after_the_end_or_before_the_start(env: AlfworldEnv) -> None:
    fresh = AlfworldEnv(generated=1)
    for act in (fresh.snapshot, lambda: fresh.step("look")):
        with pytest.raises(RuntimeError, match="reset"):
            act()
    task = env.tasks()[0]
    env.reset(task)
    for action in walkthrough(env, task):
        env.step(action)
    end = env.snapshot()
    with pytest.raises(RuntimeError, match="ended"):
        env.step("look")
    env.reset(task)
    env.restore(end)
    with pytest.raises(RuntimeError, match="ended"):
        env.step("look")


@pytest.mark.parametrize("action", ["x" * 10_000, "\x00\x07\x1b[2J", "", "go to nowhere 9", "\ud800"])
def test_meaningless_actions_cost_a_step_and_do_nothing(env: AlfworldEnv, action: str) -> None:
    before = env.reset(env.tasks()[0])
    result = env.step(action)
    assert result.observation.text == "Nothing happens."
    assert result.observation.state_key == before.state_key
    assert result.observation.admissible_actions == before.admissible_actions
    assert env.snapshot().num_steps == 1


def test_generated_tasks_are_named_by_their_content(env: AlfworldEnv) -> None:
    assert len({task.id for task in env.tasks()}) == 6
    assert len({task.kind for task in env.tasks()}) == 6
    more = AlfworldEnv(generated=8, seed=5, num_receptacles=(5, 12))
    assert [task.id for task in more.tasks()][:6] == [task.id for task in env.tasks()]
    others = AlfworldEnv(generated=6, seed=5, num_receptacles=(6, 12))
    assert {task.id for task in others.tasks()}.isdisjoint({task.id for task in env.tasks()})
    again = AlfworldEnv(generated=6, seed=5, num_receptacles=(5, 12))
    assert [again.reset(task) for task in env.tasks()] == [env.reset(task) for task in env.tasks()]


@pytest.mark.parametrize(
    ("arguments", "error", "problem"),
    [
        ({}, ValueError, "no games"),
        ({"split": "train", "generated": 5}, ValueError, "split and generated"),
        ({"games": []}, ValueError, "list of paths"),
        ({"games": "game.tw-pddl"}, ValueError, "'game.tw-pddl'"),
        ({"games": [3]}, TypeError, "int"),
        ({"games": [{"task": "x."}], "num_receptacles": (4, 8)}, TypeError, "num_receptacles"),
        ({"generated": 1, "engine": "inform"}, ValueError, "'inform'; required is native or textworld"),
        ({"generated": 1, "num_processes": 2}, ValueError, "num_processes is 2"),
        ({"generated": 1, "max_steps": 0}, ValueError, "max_steps=0: at least 1"),
        ({"generated": 1, "history_length": -1}, ValueError, "history_length is -1"),
        ({"generated": 1, "prompt_format": "chat"}, ValueError, "'chat'"),
    ],
)
def test_unusable_arguments(arguments: dict[str, Any], error: type[Exception], problem: str) -> None:
    with pytest.raises(error, match=problem):
        AlfworldEnv(**arguments)


def test_unknown_tasks_and_splits(env: AlfworldEnv) -> None:
    with pytest.raises(ValueError, match=r"'generated/9/0' among the 6"):
        env.reset(Task("generated/9/0"))
    with pytest.raises(ValueError, match="'train'"):
        env.tasks("train")
    env.reset(env.tasks()[0])
    with pytest.raises(ValueError, match="no task"):
        env.restore(env.snapshot()._replace(task=Task("other")))


def test_a_game_that_is_given_twice_is_played_once(tmp_path: Path) -> None:
    names = ("game.tw-pddl", "same.tw-pddl", "other.tw-pddl")
    paths = [tmp_path / name for name in names]
    for path, content in zip(paths, ("{}", "{}", "[]"), strict=True):
        path.write_text(content)
    with pytest.warns(UserWarning, match="2 of 4 ALFWorld games are left out") as warnings:
        env = AlfworldEnv([paths[0], paths[0], paths[1], paths[2]])
    assert [task.id for task in env.tasks()] == [str(paths[0]), str(paths[2])]
    message = str(warnings[0].message)
    assert f"{paths[0]} is given twice" in message
    assert f"{paths[1]} holds the same game as {paths[0]}" in message


def collect(env: AlfworldEnv, num_walks: int = 6) -> list[tuple[Observation, Any]]:
    rng = random.Random(1)
    tasks = list(env.tasks()) * num_walks
    return [(result.observation, env.snapshot()) for task in tasks for _, result in wander(env, task, 50, rng)]


def test_score_keys_get_coarser_and_begin_with_the_state_key(env: AlfworldEnv) -> None:
    chains = [observation.score_keys for observation, _ in collect(env)]
    assert {len(chain) for chain in chains} == {6}
    exact, described, *coarser = (len(set(keys)) for keys in zip(*chains, strict=True))
    assert exact > described > coarser[0] > coarser[1] > coarser[2] > coarser[3] == 11
    assert len({chain[:2] for chain in chains}) == exact  # one description of each state


def test_score_keys_are_plain_and_equal_in_every_instance(env: AlfworldEnv) -> None:
    other = AlfworldEnv(generated=6, seed=5, num_receptacles=(5, 12))
    for (observation, _), (twin, _) in zip(collect(env, 1), collect(other, 1), strict=True):
        assert observation.score_keys[0][0] == observation.state_key  # type: ignore[index]
        assert observation.score_keys == twin.score_keys
        for key in observation.score_keys:
            assert ast.literal_eval(repr(key)) == key


def test_state_key_is_the_exact_state(env: AlfworldEnv) -> None:
    keys: dict[Any, Any] = {}
    for observation, snapshot in collect(env):
        assert keys.setdefault(observation.state_key, snapshot.state.state.key) == snapshot.state.state.key
        assert observation.state_key == (snapshot.task.id, snapshot.state.state.key)


def test_description_key_is_shared_by_games_with_the_same_sentence() -> None:
    (game,) = generate_games(1, seed=4)
    env = AlfworldEnv([game, game])
    first, second = (env.reset(task) for task in env.tasks())
    assert first.state_key != second.state_key
    assert first.score_keys[1:] == second.score_keys[1:]
    *described, time = first.score_keys[1]  # type: ignore[misc]
    assert not any(character.isdigit() for character in str(described))
    assert time == 0


@pytest.mark.parametrize("index", range(6))
def test_features_follow_a_walkthrough(env: AlfworldEnv, index: int) -> None:
    task = env.tasks()[index]
    start: Any = env.reset(task).score_keys[2]
    assert start == (task.kind, "nothing", False, 0, False, False, False, "none", 0)
    features: list[Any] = [env.step(action).observation.score_keys[2] for action in walkthrough(env, task)]
    assert any(key[1] == "target" for key in features)
    assert any(key[4] for key in features)
    wants_treatment = task.kind.startswith(("pick_clean", "pick_heat", "pick_cool", "look"))
    assert features[-1][2] == wants_treatment
    assert any(key[6] for key in features) == (wants_treatment and not task.kind.startswith("look"))
    wants_placing = not task.kind.startswith("look")
    assert features[-1][3] == (2 if task.kind == "pick_two_obj_and_place" else int(wants_placing))
    assert features[-1][5] == wants_placing
    assert {key[7] for key in features} <= {"none", "open", "closed"}


def test_features_know_other_things_held_and_how_many_steps_it_took(env: AlfworldEnv) -> None:
    keys = [observation.score_keys[2] for observation, _ in collect(env)]
    assert {"nothing", "target", "other"} == {key[1] for key in keys}  # type: ignore[index]
    assert {key[-1] for key in keys} == set(range(11))  # type: ignore[index]


def test_features_judge_the_target_in_the_hand() -> None:
    (data,) = generate_games(1, seed=4, kinds=["pick_two_obj_and_place"])
    game = Game(data, kind="pick_heat_then_place_in_recep", parameters=data["parameters"])
    target = data["parameters"]["object_target"].lower()
    first, second = [i for i, thing in enumerate(game.objects) if thing.type == target][:2]
    heated = game.initial._replace(hot=1 << first)
    for held, is_treated in (((), True), ((first,), True), ((second,), False)):
        features: Any = ScoreKeys("task", game).keys(heated._replace(held=held), 0)[2]
        assert features[2] is is_treated


def test_foreign_tasks_fall_back_to_their_sentence() -> None:
    data = {**generate_games(1, seed=4)[0], "task": "tidy up, please."}
    for kind, parameters in (
        ("", {}),
        ("pick_two_obj_and_place", {"object_target": 3}),
        ("tidying", {"object_target": "Mug"}),
    ):
        game = Game(data, kind=kind, parameters=parameters)
        exact, described, abstract, time = ScoreKeys("task", game).keys(game.initial, time=2)
        assert exact == (("task", game.initial.key), 2)
        assert described[0] == "tidy up, please."  # type: ignore[index]
        assert abstract == ("tidy up, please.", 2)
        assert time == (2,)


def test_kind_and_parameters_may_be_missing_where_the_sentence_tells() -> None:
    data = {**generate_games(1, seed=4)[0]}
    game = Game(data)
    told = Game(data, kind=data["kind"], parameters=data["parameters"])
    for state in (game.initial, game.step(game.initial, next(iter(game.admissible(game.initial))))[0]):
        assert ScoreKeys("t", game).keys(state, 0) == ScoreKeys("t", told).keys(state, 0)
