"""What the contract allows and training suffers from."""

from collections.abc import Sequence

from trl_3spo.environments.base import Environment, Key, Observation
from trl_3spo.testing.walk import JUNK_ACTIONS, Visit, restored_step, step

NO_TIME = (
    "Score keys hold no time: a state keeps its keys while steps pass. A state is worth less the later it is met in a "
    "limited episode. Put the number of steps taken into every key, or derive the class from LimitedEnvironment."
)

ONLY_EXACT = (
    "Score keys hold only the exact state: what is learnt in one state tells nothing of another. Add coarser keys, "
    "such as the kind of place and how far the task has come, each with the time."
)

MAX_IDLE_STEPS = 100
"""Steps after which keys that have not changed are taken to hold no time: time may count in spans of steps."""


def remarks_on_score_keys(env: Environment, visits: Sequence[Visit]) -> tuple[str, ...]:
    """Return what is to be said of an environment's score keys.

    Args:
        env: The environment, left in some state.
        visits: States on walks through it; the first one begins an episode.
    """
    remarks = [NO_TIME] if _is_timeless(env, visits[0]) else []
    if all(_is_exact(visit.observation) for visit in visits):
        remarks.append(ONLY_EXACT)
    return tuple(remarks)


def _is_timeless(env: Environment, visit: Visit) -> bool:
    """Return whether a state's keys stay while time passes; no where no action that means nothing can be found."""
    first, junk = visit.observation, JUNK_ACTIONS[0]
    result = restored_step(env, visit, junk)
    if result.observation.state_key != first.state_key:
        return False
    for _ in range(MAX_IDLE_STEPS):
        shown = result.observation
        if shown.state_key != first.state_key or shown.score_keys != first.score_keys:
            return False
        if result.is_final:
            break
        result = step(env, junk, visit)
    return True


def _is_exact(observation: Observation) -> bool:
    return all(_says_state_or_time_alone(key, observation.state_key) for key in observation.score_keys)


def _says_state_or_time_alone(key: Key, state_key: Key) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return key == state_key or state_key in parts or (len(parts) == 1 and isinstance(parts[0], int | float))
