"""State keys made of what an object holds."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from typing import Any

from trl_3spo.environments.base import Key


def plain_key(value: Any) -> Key:
    """Return a value of plain types, containers and dataclasses as a key.

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
    raise TypeError(f"No state key can be made of a {type(value).__name__}: pass state_key, a function that makes one.")


def told(known: tuple[int, ...], *texts: str) -> tuple[int, ...]:
    """Return what has been told in an episode, with some texts added: being told twice is being told once.

    Args:
        known: Digests of the texts so far.
        texts: Such as a question and its answer, which count as one.
    """
    digest = int.from_bytes(blake2b(repr(texts).encode(), digest_size=8).digest(), "little")
    return tuple(sorted({*known, digest}))
