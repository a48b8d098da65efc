"""Porter's stemmer as Lucene has it: with Martin Porter's two departures, and words of two letters left alone.

M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980. The departures, `bli` -> `ble` and `logi` ->
`log`, come from the author's own releases. Stemmers of other packages differ from it.
"""

from collections.abc import Collection, Mapping
from functools import lru_cache

_STEP_2 = {
    "ational": "ate",
    "tional": "tion",
    "enci": "ence",
    "anci": "ance",
    "izer": "ize",
    "bli": "ble",
    "alli": "al",
    "entli": "ent",
    "eli": "e",
    "ousli": "ous",
    "ization": "ize",
    "ation": "ate",
    "ator": "ate",
    "alism": "al",
    "iveness": "ive",
    "fulness": "ful",
    "ousness": "ous",
    "aliti": "al",
    "iviti": "ive",
    "biliti": "ble",
    "logi": "log",
}
_STEP_3 = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
_STEP_4_SUFFIXES = "al ance ence er ic able ible ant ement ment ent ion ou ism ate iti ous ive ize"
_STEP_4 = tuple(_STEP_4_SUFFIXES.split())


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """Return the stem of a lower-case word. Every character but `a e i o u y` counts as a consonant."""
    if len(word) <= 2:
        return word
    word = _step_1c(_step_1b(_step_1a(word)))
    word = _replace_suffix(_replace_suffix(word, _STEP_2), _STEP_3)
    return _step_5(_step_4(word))


def _form(word: str) -> str:
    """Return `c` for each consonant of a word and `v` for each vowel."""
    form = ""
    for letter in word:
        is_vowel = letter in "aeiou" or (letter == "y" and form[-1:] == "c")
        form += "v" if is_vowel else "c"
    return form


def _measure(word: str) -> int:
    return _form(word).count("vc")


def _has_vowel(word: str) -> bool:
    return "v" in _form(word)


def _ends_with_double_consonant(word: str) -> bool:
    return len(word) > 1 and word[-1] == word[-2] and _form(word)[-1] == "c"


def _ends_with_short_syllable(word: str) -> bool:
    return _form(word)[-3:] == "cvc" and word[-1] not in "wxy"


def _step_1a(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _step_1b(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        head = word.removesuffix(suffix)
        if head != word and _has_vowel(head):
            return _mend(head)
    return word


def _mend(head: str) -> str:
    if head.endswith(("at", "bl", "iz")):
        return head + "e"
    if _ends_with_double_consonant(head):
        return head if head[-1] in "lsz" else head[:-1]
    return head + "e" if _measure(head) == 1 and _ends_with_short_syllable(head) else head


def _step_1c(word: str) -> str:
    return word[:-1] + "i" if word.endswith("y") and _has_vowel(word[:-1]) else word


def _longest_suffix(word: str, suffixes: Collection[str]) -> str:
    return max((suffix for suffix in suffixes if word.endswith(suffix)), key=len, default="")


def _replace_suffix(word: str, replacements: Mapping[str, str]) -> str:
    """Replace the longest of the suffixes if it follows a measure above 0; a shorter one is not tried instead."""
    suffix = _longest_suffix(word, replacements)
    head = word.removesuffix(suffix)
    return head + replacements[suffix] if suffix and _measure(head) > 0 else word


def _step_4(word: str) -> str:
    suffix = _longest_suffix(word, _STEP_4)
    head = word.removesuffix(suffix)
    may_go = _measure(head) > 1 and (suffix != "ion" or head.endswith(("s", "t")))
    return head if may_go else word


def _step_5(word: str) -> str:
    if word.endswith("e"):
        head = word[:-1]
        measure = _measure(head)
        if measure > 1 or (measure == 1 and not _ends_with_short_syllable(head)):
            word = head
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word
