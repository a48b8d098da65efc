"""What the contract itself has: results that say what happened, and environments that close themselves."""

import pytest

from trl_3spo.environments.base import Observation, StepResult
from trl_3spo.environments.corridor import CorridorEnv

HERE = Observation("here", "here")


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (StepResult.going_on(HERE), (0.0, False, False, False)),
        (StepResult.going_on(HERE, reward=0.5), (0.5, False, False, False)),
        (StepResult.ended(HERE, success=True), (1.0, True, False, True)),
        (StepResult.ended(HERE, success=False), (0.0, True, False, False)),
        (StepResult.ended(HERE, success=True, reward=0.0), (0.0, True, False, True)),
        (StepResult.cut_off(HERE, reward=0.5), (0.5, False, True, False)),
    ],
)
def test_a_result_says_what_happened(result, expected):
    assert (result.reward, result.terminated, result.truncated, result.success) == expected
    assert result.is_final == (result.terminated or result.truncated)
    assert (result.observation, result.info) == (HERE, {})


def test_a_result_has_diagnostics():
    info = {"why": "a test"}
    results = StepResult.going_on(HERE, info=info), StepResult.ended(HERE, success=True, info=info)
    assert all(result.info == info for result in (*results, StepResult.cut_off(HERE, info=info)))


class Closing(CorridorEnv):
    is_closed = False

    def close(self):
        self.is_closed = True


def test_an_environment_closes_itself():
    with Closing() as env:
        env.reset(env.tasks()[0])
        assert not env.is_closed
    assert env.is_closed


def test_an_environment_closes_itself_after_an_error_and_passes_it_on():
    env = Closing()
    with pytest.raises(OSError, match="out of order"), env:
        raise OSError("out of order")
    assert env.is_closed
