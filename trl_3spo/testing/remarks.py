"""Warnings of what the contract allows but makes training worse."""

from collections.abc import Sequence

from trl_3spo.environments.base import Environment, Key, Observation
from trl_3spo.testing.walk import JUNK_ACTIONS, Visit, restored_step, step

NO_TIME = (
    "Score keys hold no time: a state keeps its keys while steps pass. A state is worth less the later it is met in a "
    "limited episode. Put the number of steps taken into every key, or leave score_keys out."
)

ONLY_EXACT = (
    "Score keys hold only the exact state: what is learnt in one state tells nothing of another. Add coarser keys, "
    "such as the kind of place and how far the task has come, each with the time."
)

NEVER_RECURRING = (
    "No score key of one task is met in another: what is learnt in one task tells nothing of the next. Add a key "
    "without the task, such as its kind and the number of steps taken."
)

NO_END = (
    "No walk ended within {} steps. If episodes are that long, walk further with steps=…. If nothing bounds them, "
    "derive the class from LimitedEnvironment: what never ends is cut off only after max_episode_steps."
)

NO_REWARD = (
    "None of {} ended walks was a success or paid anything. Random walks may never succeed; make sure that some action "
    "does, or every reward is 0."
)

MIN_ENDS = 10
"""Ended walks before anything is said of how they ended."""

MAX_IDLE_STEPS = 100
"""Steps after which keys that have not changed are taken to hold no time: time may count in spans of steps."""


def remarks_on_score_keys(env: Environment, visits: Sequence[Visit]) -> tuple[str, ...]:
    """Return what is to be said of an environment's score keys.

    Args:
        env: The environment, left in some state.
        visits: States on walks through it; the first one begins an episode.
    """
    if not all(visit.observation.score_keys for visit in visits):
        return ()  # the default ones hold the time and get coarser
    remarks = [NO_TIME] if _is_timeless(env, visits[0]) else []
    if all(_is_exact(visit.observation) for visit in visits):
        remarks.append(ONLY_EXACT)
    elif _never_recur(visits):
        remarks.append(NEVER_RECURRING)
    return tuple(remarks)


def remarks_on_ends(visits: Sequence[Visit], steps: int) -> tuple[str, ...]:
    """Return what is to be said of how walks ended.

    Args:
        visits: All states on the walks.
        steps: Steps after which walks were given up.
    """
    results = [visit.result for visit in visits if visit.result is not None]
    ends = [result for result in results if result.is_final]
    if not ends:
        return (NO_END.format(steps),)
    is_barren = len(ends) >= MIN_ENDS and not any(result.success or result.reward for result in results)
    return (NO_REWARD.format(len(ends)),) if is_barren else ()


def _never_recur(visits: Sequence[Visit]) -> bool:
    """Return whether no score key is shared by two tasks."""
    tasks_by_key: dict[Key, set[str]] = {}
    for visit in visits:
        for key in visit.observation.score_keys:
            tasks_by_key.setdefault(key, set()).add(visit.task.id)
    num_tasks = len({visit.task.id for visit in visits})
    return num_tasks > 1 and all(len(tasks) == 1 for tasks in tasks_by_key.values())


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
