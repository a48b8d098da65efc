"""What a customer asks for, as far as it can be read off an instruction."""

import re
from typing import NamedTuple

_LIMIT = re.compile(r",? and price lower than (\d+\.\d\d) dollars$")
_WORD = re.compile(r"\w+(?:['’]\w+)?")


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return _WORD.findall(text.lower())


_POLITENESS = frozenset(
    words_of(
        "a also am an and any are as at be buy can could find for from get give have i i'd i'm in is it like look "
        "looking me need of on or please should show some that the these them this to want which will with would you "
        "your"
    )
)


class Request(NamedTuple):
    """An instruction taken apart.

    Args:
        words: Requested words in order, without the words of every request.
        options: Requested value of each option by name; empty if the instruction does not say `name: value`.
        limit: Highest price in dollars; infinite if none is given.
    """

    words: tuple[str, ...]
    options: dict[str, str]
    limit: float

    @property
    def query(self) -> str:
        """What to type into the search box."""
        return " ".join([*self.words, *words_of(" ".join(self.options.values()))])


def read_request(instruction: str) -> Request:
    """Take an instruction apart: `<words> with <name>: <value>, and <name>: <value>, and price lower than <limit>`.

    Human instructions say options in words of their own, which then are among the words.
    """
    price = _LIMIT.search(instruction)
    text = instruction[: price.start()] if price else instruction
    wish, options = _split_options(text)
    words = tuple(word for word in dict.fromkeys(words_of(wish)) if word not in _POLITENESS)
    return Request(words, options, float(price[1]) if price else float("inf"))


def _split_options(text: str) -> tuple[str, dict[str, str]]:
    head, colon, tail = text.partition(": ")
    wish, with_, name = head.rpartition(" with ")
    if not colon or not with_:
        return text, {}
    pairs = f"{name}: {tail}".split(", and ")
    return wish, {name: value for name, _, value in (pair.partition(": ") for pair in pairs)}
