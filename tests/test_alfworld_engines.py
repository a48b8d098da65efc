"""The comparison of engines in benchmarks/: does it see what it is there to see?"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.generation.generator import generate_games
from trl_3spo.environments.base import StepResult

GAMES = generate_games(2, seed=8, num_receptacles=(4, 6), num_objects=(4, 8))


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import alfworld_engines

    module: ModuleType = alfworld_engines
    return module


class Altered(AlfworldEnv):
    """The native engine with one thing changed from the twentieth step on."""

    def __init__(self, alter: Callable[[StepResult], StepResult]) -> None:
        super().__init__(GAMES, max_steps=10**9)
        self.alter = alter
        self.num_steps = 0

    def step(self, action: str) -> StepResult:
        self.num_steps += 1
        result = super().step(action)
        return self.alter(result) if self.num_steps >= 20 else result


def seen(**changes: Any) -> Callable[[StepResult], StepResult]:
    return lambda result: dataclasses.replace(result, observation=dataclasses.replace(result.observation, **changes))


def test_equal_engines_do_not_differ(engines: ModuleType) -> None:
    env, twin = AlfworldEnv(GAMES, max_steps=10**9), Altered(lambda result: result)
    for task in env.tasks():
        assert engines.compare((env, twin), task, 100, 0) == {"states": 100, "difference": None}
    assert twin.num_steps == 198


@pytest.mark.parametrize(
    ("what", "alter"),
    [
        ("text", seen(text="You wait.")),
        ("admissible_actions", seen(admissible_actions=("look",))),
        ("state_key", seen(state_key=("another", "state"))),
        ("score_keys", seen(score_keys=("another name",))),
        ("success", lambda result: dataclasses.replace(result, success=not result.success)),
    ],
)
def test_the_first_difference_is_found_with_the_actions_that_lead_there(
    engines: ModuleType, what: str, alter: Callable[[StepResult], StepResult]
) -> None:
    env, altered = AlfworldEnv(GAMES, max_steps=10**9), Altered(alter)
    task = env.tasks()[0]
    found = engines.compare((env, altered), task, 100, 0)
    assert found["states"] == 21  # the first one and twenty steps
    name, actions, native, other = found["difference"]
    assert name == what
    env.reset(task)
    result = [env.step(action) for action in actions][-1]
    assert native == (result.success if what == "success" else getattr(result.observation, what))
    assert native != other


def test_states_may_differ_in_what_only_a_later_text_tells(engines: ModuleType) -> None:
    env, altered = AlfworldEnv(GAMES, max_steps=10**9), AlfworldEnv(GAMES, max_steps=10**9)
    task = env.tasks()[0]
    observations = [env.reset(task), altered.reset(task)]
    now = altered.snapshot()
    place = dataclasses.replace(now.state, state=now.state.state._replace(departed=((0, 0),)))
    altered.restore(now._replace(state=place))
    with pytest.raises(engines.DifferenceError, match="state"):
        engines.arrive((env, altered), (), observations)
