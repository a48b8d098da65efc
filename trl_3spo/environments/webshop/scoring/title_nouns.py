"""The nouns of a product's title by rule: every word except some that are hardly ever nouns there.

WebShop compares the nouns of two titles to find out whether two products have one type. It takes the nouns from a spaCy
model that has to be downloaded. Here a function of the title gives them, and this one needs no download.
"""

import re

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")

_FUNCTION_WORDS = """\
a an and any are as at be both but by can do each even for from get has have i if in into is it its may my nor
not of off on or other our out over per plus so some such than that the their them then these they this those to
under up us was we when where which while will with within without you your"""

_DESCRIPTIONS = """\
adjustable all available beautiful best big breathable casual classic comfortable compatible cool cute durable
easy elastic elegant extra fashionable formal free fresh full great handmade heavy high hot large lightweight
long loose low mini modern more most natural new no non only organic original perfect portable premium real
reusable short simple sleeveless slim small soft solid super thick thin ultra unique vintage warm washable
waterproof wide wireless"""

_UNITS = """\
cm count ct ft g gal inch inches kg l lb lbs m mg ml mm ounce ounces oz pc pcs pound pounds s x xl xs xxl xxxl"""

_NO_NOUNS = frozenset(f"{_FUNCTION_WORDS} {_DESCRIPTIONS} {_UNITS}".split())


def title_nouns(title: str) -> tuple[str, ...]:
    """Return the lower-case nouns of a title in their order, repeated ones repeated."""
    words = [word.removesuffix("'s").removesuffix("’s") for word in _WORD.findall(title.lower())]
    return tuple(word for word in words if word and word not in _NO_NOUNS)
