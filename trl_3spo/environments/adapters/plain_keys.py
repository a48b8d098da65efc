"""Keys for environments without their own: made of an object's attributes, the observation and the revealed texts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from typing import Any

from trl_3spo.environments.base import Key, Observation, Task


def plain_key(value: Any) -> Key:
    """Return a value of plain types, containers, dataclasses and arrays as a key.

    Raises:
        TypeError: The value holds something else.
    """
    if value is None or type(value) in (bool, int, str, bytes):
        key: Key = value
        return key
    if type(value) is float:
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, list | tuple):
        return tuple(plain_key(item) for item in value)
    if isinstance(value, set | frozenset):
        return tuple(sorted((plain_key(item) for item in value), key=repr))
    if isinstance(value, Mapping):
        return tuple(sorted(((plain_key(name), plain_key(item)) for name, item in value.items()), key=repr))
    if is_dataclass(value) and not isinstance(value, type):
        return tuple((field.name, plain_key(getattr(value, field.name))) for field in fields(value))
    if type(value).__module__ == "numpy":  # where numpy is not loaded, nothing is of it
        return plain_key(value.tolist())
    raise TypeError(f"No state key can be made of a {type(value).__name__}: pass state_key, a function that makes one.")


def told(known: tuple[int, ...], *texts: str) -> tuple[int, ...]:
    """Return the revealed texts of an episode with new ones added; a repeated text counts once.

    Args:
        known: Digests of the texts so far.
        texts: New texts, such as a question and its answer, which count as one.
    """
    return tuple(sorted({*known, digest(repr(texts))}))


def told_by(known: tuple[int, ...], before: Observation, action: str, text: str) -> tuple[int, ...]:
    """Return the revealed texts of an episode after one more action.

    An action reveals nothing if it is not admissible or if the observation stays the same.

    Args:
        known: Digests of the texts revealed so far.
        before: Observation before the action.
        action: Action that was taken.
        text: Text after the action.
    """
    admissible = before.admissible_actions
    is_silent = text == before.text or (admissible and action not in admissible)
    return known if is_silent else told(known, action, text)


def digest(text: str) -> int:
    """Return a 64-bit number for a text, the same in every process."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def timed_keys(state_key: Key, coarser: Sequence[Key], num_steps: int) -> tuple[Key, ...]:
    """Return score keys: the exact state, coarser names, and the time alone; each with the time in steps.

    Args:
        state_key: Exact state.
        coarser: Coarser names, from fine to coarse.
        num_steps: Number of steps taken.
    """
    return ((state_key, num_steps), *((key, num_steps) for key in coarser), (num_steps,))


def coarse_keys(task: Task, text: str, num_told: int) -> tuple[Key, ...]:
    """Return coarse names of a state that is known only by its text.

    They are the text without the task, and the task type with the number of revealed texts.

    Args:
        task: Task of the episode.
        text: Text of the observation.
        num_told: Number of different revealed texts.
    """
    return ("shown", digest(text)), (task.kind, num_told)
