"""Cheap checks of what an environment returns: each function names a problem.

`trl_3spo.testing.check_environment` checks far more. These checks are cheap enough for training.
"""

import math
from typing import Any

from trl_3spo.environments.base import Observation, StepResult

KEY_RULE = (
    "A key consists of strings, bytes, numbers (not NaN), booleans, None and tuples of these, so that its repr() is "
    "the same in every process: the history is saved under it. Build the key of such values, for instance "
    "tuple(sorted(...)) of a set."
)

_PLAIN = frozenset((str, bytes, int, bool, type(None)))


def key_problem(key: Any) -> str | None:
    """Return what makes a key differ between processes, or None."""
    if isinstance(key, tuple):
        for part in key:
            if type(part) not in _PLAIN and (problem := key_problem(part)):
                return problem
        return None
    if isinstance(key, float):
        return "NaN, which differs from itself" if math.isnan(key) else None
    if key is None or isinstance(key, str | bytes | int):
        return None
    return f"{_short(key)} of type {type(key).__name__}"


def keys_problem(observation: Observation) -> str | None:
    """Return what is wrong with the keys of an observation, as a sentence, or None."""
    if not isinstance(observation.score_keys, tuple):
        return f"score_keys is of type {type(observation.score_keys).__name__}; a tuple of keys is required."
    for name, key in [("state_key", observation.state_key), *(("A score key", x) for x in observation.score_keys)]:
        problem = key_problem(key)
        if problem:
            return f"{name} is or holds {problem}. {KEY_RULE}"
    return None


def observation_problem(observation: Any, source: str) -> str | None:
    """Return what is wrong with an observation, as a sentence, or None.

    Args:
        observation: Value that should be an observation.
        source: Call that returned it.
    """
    if not isinstance(observation, Observation):
        return f"{source} returned {_short(observation)}; an Observation is required."
    if not isinstance(observation.text, str):
        return f"{source} shows the text {_short(observation.text)}; a str is required."
    return None


def result_problem(result: Any) -> str | None:
    """Return what is wrong with the result of a step, as a sentence, or None."""
    if not isinstance(result, StepResult):
        return f"step() returned {_short(result)}; a StepResult is required."
    for name in ("terminated", "truncated", "success"):
        if not _is_boolean(getattr(result, name)):
            return f"step() returned {name}={_short(getattr(result, name))}; True or False is required."
    if not _is_finite(result.reward):
        return f"step() returned reward={_short(result.reward)}; a finite number is required."
    return observation_problem(result.observation, "step()")


def prompt_problem(prompt: Any) -> str | None:
    """Return what is wrong with chat messages, as a sentence, or None."""
    is_chat = isinstance(prompt, list) and prompt and all(isinstance(message, dict) for message in prompt)
    if is_chat and all(isinstance(message.get(name), str) for message in prompt for name in ("role", "content")):
        return None
    return f"prompt() returned {_short(prompt)}; a list of messages with role and content is required."


def _is_boolean(value: Any) -> bool:
    # numpy's booleans have always been taken.
    return value is True or value is False or (hasattr(value, "dtype") and value.dtype == bool and value.ndim == 0)


def _is_finite(value: Any) -> bool:
    try:
        return not isinstance(value, str | bytes) and math.isfinite(value)
    except (TypeError, ValueError, OverflowError):
        return False


def _short(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"
