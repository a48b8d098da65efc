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


def normalize_color(option: Option) -> Option:
    """Return the first colour word within a value, or the value.

    `dark red` gives `dark`, and `standard` gives `tan`: any occurrence counts, the list's order decides. Of a pair only
    a name or value that is itself a colour word is found.
    """
    return next((word for word in COLOR_WORDS if word in option), option)


@lru_cache(maxsize=1 << 16)
def token_set_ratio(first: Option, second: Option) -> int:
    """Return how alike two texts are, 0 to 100, whatever the order and repetition of their words.

    This is thefuzz 0.19 on difflib. Libraries that measure edit distance instead differ by a point or two, enough to
    turn decisions. A pair is compared as Python writes it.
    """
    words, other_words = _tokens(str(first)), _tokens(str(second))
    if not words or not other_words:
        return 0
    common = " ".join(sorted(words & other_words))
    whole = f"{common} {' '.join(sorted(words - other_words))}".strip()
    other_whole = f"{common} {' '.join(sorted(other_words - words))}".strip()
    return max(_ratio(common, whole), _ratio(common, other_whole), _ratio(whole, other_whole))


def is_match(first: Option, second: Option) -> bool:
    """Return whether two texts count as the same."""
    return token_set_ratio(first, second) > MIN_SIMILARITY


def _tokens(text: str) -> frozenset[str]:
    return frozenset(_NOT_A_WORD.sub(" ", text.translate(_LATIN_1)).lower().split())


def _ratio(first: str, second: str) -> int:
    if not first or not second:
        return 0
    return 100 if first == second else round(100 * difflib.SequenceMatcher(None, first, second).ratio())
