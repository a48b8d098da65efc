"""Demonstrations are the expert's answers to the environment's own prompts, wherever noise has led."""

import pytest

from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.demonstrations import demonstrate
from trl_3spo.environments.base import Turn


@pytest.fixture
def env():
    return AlfworldEnv(generated=12, seed=3, num_receptacles=(4, 8), num_objects=(4, 10), prompt_format="action")


def play_back(env, task, steps):
    """Take the demonstrated actions from the start, as long as the prompts agree."""
    observation, turns = env.reset(task), []
    for step in steps:
        if step["prompt"] != env.prompt(task, observation, turns):
            return None
        action = step["completion"][0]["content"]
        assert action in observation.admissible_actions
        turns.append(Turn(observation.text, action))
        result = env.step(action)
        observation = result.observation
    return result


def test_without_noise_they_solve_every_task(env):
    for task in env.tasks():
        steps = list(demonstrate(env, [task]))
        result = play_back(env, task, steps)
        assert result.success
        assert steps[0]["prompt"][0]["role"] == "user"
        assert steps[0]["completion"][0]["role"] == "assistant"


def test_noise_is_taken_but_not_demonstrated(env):
    strayed = 0
    for task in env.tasks():
        steps = list(demonstrate(env, [task], noise=0.5, seed=1))
        strayed += play_back(env, task, steps) is None
        shortest = len(list(demonstrate(env, [task])))
        assert len(steps) >= shortest
        assert not any(step["completion"][0]["content"] in ("help", "inventory") for step in steps)
    assert strayed >= 10


def test_noise_may_be_demonstrated(env):
    steps = list(demonstrate(env, env.tasks(), noise=1.0, demonstrates_noise=True))
    assert len(steps) > 6 * len(env.tasks())
    assert {"look", "inventory"} <= {step["completion"][0]["content"] for step in steps}
    for task in env.tasks():
        assert play_back(env, task, list(demonstrate(env, [task], noise=0.5, demonstrates_noise=True))) is not None


def test_seeded(env):
    runs = [list(demonstrate(env, env.tasks(), noise=0.3, seed=seed)) for seed in (4, 4, 5)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("noise", [-0.1, 1.1])
def test_noise_is_a_share(env, noise):
    with pytest.raises(ValueError, match=f"noise is {noise}"):
        next(demonstrate(env, env.tasks(), noise=noise))
