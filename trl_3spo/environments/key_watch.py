"""Checks of results and keys that are made while training."""

import logging

from trl_3spo.environments.base import Observation, StepResult
from trl_3spo.environments.contract import keys_problem, result_problem
from trl_3spo.environments.failures import EnvironmentAnswerError, UnstableKeyError
from trl_3spo.environments.way import Way

logger = logging.getLogger(__name__)

STRIDE = 64
"""Number of results per check of keys, and number of batches of moves per check of a restored state."""


class KeyWatch:
    """A check of every result and of some keys. It reports once if keys change with `restore`."""

    def __init__(self) -> None:
        self._num_results = 0
        self._num_batches = 0
        self._reports_drift = True

    def takes_sample(self) -> bool:
        """Count a batch of moves, and return whether one of its states should be restored and compared."""
        self._num_batches += 1
        return self._num_batches % STRIDE == 1

    def check(self, result: StepResult) -> None:
        """Check what a step returned.

        Raises:
            EnvironmentAnswerError: The result breaks the contract.
            UnstableKeyError: A key differs from process to process.
        """
        require(result_problem(result))
        if self._num_results % STRIDE == 0:
            require_stable(result.observation)
        self._num_results += 1

    def compare(self, way: Way, observation: Observation) -> None:
        """Report a state key that changed with `restore`. The result of `restore` is used for nothing else."""
        if not self._reports_drift or not isinstance(observation, Observation):
            return
        if observation.state_key != way.observation.state_key:
            self._reports_drift = False
            logger.warning(
                "restore() leads to the state key %r, but its snapshot was taken at %r. %s Histories and comparisons "
                "of states are worthless like this. Keep counters, times and random numbers out of the state key, and "
                "run trl_3spo.testing.check_environment. This is said once.",
                observation.state_key,
                way.observation.state_key,
                way,
            )


def require(problem: str | None) -> None:
    """Raise EnvironmentAnswerError with a problem, if there is one."""
    if problem:
        raise EnvironmentAnswerError(problem)


def require_stable(observation: Observation) -> None:
    """Raise UnstableKeyError if the keys of an observation differ from process to process."""
    problem = keys_problem(observation)
    if problem:
        raise UnstableKeyError(problem)
