"""When WebShop takes two attributes or two options for the same: fuzzy scores and colour words."""

import difflib
import re
from functools import lru_cache

Option = str | tuple[str, str]
"""A chosen or wanted value; goals made from the catalogue have (name, value) pairs in its place."""

_COLORS = """\
alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy camel camo
caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry cream
crystal dark denim eggplant elephant espresso fuchsia gold granite grape graphite grass gray green grey heather
indigo ivory ivy khaki lavender lemon leopard light lilac lime magenta maroon mauve merlot midnight mint mocha
multicolor mushroom mustard natural navy nude olive orange peach pewter pink plum purple rainbow red rose royal
rust sand sapphire seashell silver skull slate steel stone stonewash sunflower tan taupe teal tiger turquoise
violet walnut wheat white wine yellow"""

COLOR_WORDS = tuple(_COLORS.split())
"""The words an option is reduced to, in the order in which they are looked for: the first that occurs counts."""

MIN_SIMILARITY = 85
"""Scores above it count as a match."""

_LATIN_1 = dict.fromkeys(range(128, 256))
_NOT_A_WORD = re.compile(r"\W")


@lru_cache(maxsize=1 << 16)
def normalize_color(option: Option) -> Option:
    """Return the first colour word within a value, or the value.

    `dark red` gives `dark`, and `standard` gives `tan`: any occurrence counts, the list's order decides. Of a pair only
    a name or value that is itself a colour word is found.
    """
    return next((word for word in COLOR_WORDS if word in option), option)


@lru_cache(maxsize=1 << 16)
def token_set_ratio(first: Option, second: Option, score_cutoff: int = 0) -> int:
    """Return how alike two texts are, 0 to 100, whatever the order and repetition of their words.

    This is thefuzz 0.19 on difflib. Libraries that measure edit distance instead differ by a point or two, enough to
    turn decisions. A pair is compared as Python writes it.

    Args:
        first: A text.
        second: The other.
        score_cutoff: Lower scores may be returned as 0, which often spares their computation.
    """
    words, other_words = _words(str(first)), _words(str(second))
    common = " ".join(sorted(words & other_words))
    whole = f"{common} {' '.join(sorted(words - other_words))}".strip()
    other_whole = f"{common} {' '.join(sorted(other_words - words))}".strip()
    pairs = (common, whole), (common, other_whole), (whole, other_whole)
    return max(_ratio(*pair) if _bound(*pair) >= score_cutoff else 0 for pair in pairs)


def is_match(first: Option, second: Option) -> bool:
    """Return whether two texts count as the same."""
    return token_set_ratio(first, second, MIN_SIMILARITY + 1) > MIN_SIMILARITY


def _words(text: str) -> frozenset[str]:
    return frozenset(_NOT_A_WORD.sub(" ", text.translate(_LATIN_1)).lower().split())


def _bound(first: str, second: str) -> int:
    """Return what the ratio is at most, by the lengths."""
    return -(-200 * min(len(first), len(second)) // (len(first) + len(second) or 1))


def _ratio(first: str, second: str) -> int:
    if not first or not second:
        return 0
    return 100 if first == second else round(100 * difflib.SequenceMatcher(None, first, second).ratio())
