"""Removed and renamed options: for one version an error says what to use instead."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

Class = TypeVar("Class", bound=type)


def refusing(gone: dict[str, str]) -> Callable[[Class], Class]:
    """Decorate a configuration so that old option names raise a TypeError with what to do instead.

    Args:
        gone: Old names, each with the end of the sentence "…is no option any more: ".
    """

    def decorate(config: Class) -> Class:
        init = config.__init__  # type: ignore[misc]

        @wraps(init)
        def refuse_or_init(self: Any, *args: Any, **kwargs: Any) -> None:
            for name in kwargs.keys() & gone.keys():
                raise TypeError(f"{name} is no option of {config.__name__} any more: {gone[name]}.")
            init(self, *args, **kwargs)

        config.__init__ = refuse_or_init  # type: ignore[misc]
        return config

    return decorate
