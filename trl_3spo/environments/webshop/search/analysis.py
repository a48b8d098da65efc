"""From text to index terms, as Lucene's English analyzer makes them."""

import re

import regex

from trl_3spo.environments.webshop.search.porter import stem

_STOP_WORDS = """\
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this
to was will with"""

STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Lucene's English stop words."""

MAX_TOKEN_LENGTH = 255
"""Longer runs of letters are cut into tokens of this length."""


# Unicode's Extended_Pictographic before version 16 took most of it back: by it a star is a word of its own.
_PICTURES = (
    r"©®‼⁉™ℹ\u2194-\u2199\u21A9\u21AA\u231A\u231B\u2328\u2388\u23CF\u23E9-\u23F3\u23F8-\u23FAⓂ\u25AA\u25AB\u25B6\u25C0"
    r"\u25FB-\u25FE\u2600-\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705\u2708-\u2712\u2714\u2716\u271D\u2721\u2728\u2733"
    r"\u2734\u2744\u2747\u274C\u274E\u2753-\u2755\u2757\u2763-\u2767\u2795-\u2797\u27A1\u27B0\u27BF\u2934\u2935"
    r"\u2B05-\u2B07\u2B1B\u2B1C\u2B50\u2B55\u3030\u303D\u3297\u3299\U0001F000-\U0001F0FF\U0001F10D-\U0001F10F\U0001F12F"
    r"\U0001F16C-\U0001F171\U0001F17E\U0001F17F\U0001F18E\U0001F191-\U0001F19A\U0001F1AD-\U0001F1E5\U0001F201-\U0001F20F"
    r"\U0001F21A\U0001F22F\U0001F232-\U0001F23A\U0001F23C-\U0001F23F\U0001F249-\U0001F3FA\U0001F400-\U0001F53D"
    r"\U0001F546-\U0001F64F\U0001F680-\U0001F6FF\U0001F774-\U0001F77F\U0001F7D5-\U0001F7FF\U0001F80C-\U0001F80F"
    r"\U0001F848-\U0001F84F\U0001F85A-\U0001F85F\U0001F888-\U0001F88F\U0001F8AE-\U0001F8FF\U0001F90C-\U0001F93A"
    r"\U0001F93C-\U0001F945\U0001F947-\U0001FFFD"
)

_LATER_LETTERS = r"[\u00B8\u02E5-\u02EB\u055A\u058A]"
"""Letters in the sense of word boundaries since Unicode 13."""


def _words(letter: str, digit: str, joiner: str, within_word: str, within_number: str, katakana: str = "") -> str:
    """Return the word rules of Unicode's annex 29 as Lucene reads them, but for the quotation marks within Hebrew."""
    words = rf"{letter}(?:(?:{joiner}*|{within_word}){letter})*"
    numbers = rf"{digit}(?:(?:{joiner}*|{within_number}){digit})*"
    run = rf"(?:(?:{words}|{numbers})+{katakana})"
    # Possessive at the beginning: a long line of underscores is given up at once, not shortened one by one.
    return rf"{joiner}*+{run}(?:{joiner}+{run})*{joiner}*"


def _unicode_token() -> str:
    marks = r"[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]*"
    katakana = rf"(?:\p{{WB=Katakana}}{marks})"
    joiner = rf"(?:\p{{WB=ExtendNumLet}}{marks})"
    words = _words(
        letter=rf"(?:[[\p{{WB=ALetter}}\p{{WB=Hebrew_Letter}}]--{_LATER_LETTERS}]{marks})",
        digit=rf"(?:[\p{{WB=Numeric}}\uFF10-\uFF19]{marks})",
        joiner=joiner,
        # Later versions of Unicode take the colon out; Lucene's has it.
        within_word=rf"(?:[\p{{WB=MidLetter}}:\p{{WB=MidNumLet}}']{marks})",
        within_number=rf"(?:[\p{{WB=MidNum}}\p{{WB=MidNumLet}}']{marks})",
        katakana=rf"|{katakana}(?:{joiner}*{katakana})*",
    )
    ideograph = rf"[\p{{Script=Han}}\p{{Script=Hiragana}}]{marks}"
    return rf"{words}|{_emoji()}|(?:\p{{LB=SA}}{marks})+|{ideograph}"


def _emoji() -> str:
    marks = r"[[\p{WB=Extend}\p{WB=Format}]--[\uFE0E\uFE0F]]*"
    not_alone = r"[0-9#*\p{WB=Regional_Indicator}\p{Emoji_Modifier}]"
    picture = rf"[[{_PICTURES}\p{{Emoji}}]--{not_alone}]{marks}\uFE0F?"
    one = rf"(?:{picture}|(?:\p{{Emoji_Modifier_Base}}{marks})?\p{{Emoji_Modifier}}{marks})"
    key_cap = rf"[#*]{marks}\uFE0F?\u20E3{marks}"
    flag = rf"(?:\p{{WB=Regional_Indicator}}{marks}){{2}}"
    return rf"\u200D*+{one}(?:\u200D+{one})*\u200D*(?:[\U000E0020-\U000E007E]+\U000E007F)?|{key_cap}|{flag}"


_TOKEN = regex.compile(_unicode_token(), regex.VERSION1)
# The same rules where a text has nothing but ASCII: four times as fast, and most texts are so.
_ASCII_TOKEN = re.compile(_words("[a-zA-Z]", "[0-9]", "_", "[:.']", "[,;.']"))


def tokenize(text: str) -> list[str]:
    """Split a text into words, numbers, single ideographs and emoji; everything else separates."""
    tokens: list[str] = (_ASCII_TOKEN if text.isascii() else _TOKEN).findall(text)
    if len(max(tokens, key=len, default="")) <= MAX_TOKEN_LENGTH:
        return tokens
    return [
        token[start : start + MAX_TOKEN_LENGTH] for token in tokens for start in range(0, len(token), MAX_TOKEN_LENGTH)
    ]


def analyze(text: str) -> list[str]:
    """Return the index terms of a lower-case text in their order: possessives cut off, stop words left out, stemmed."""
    terms = []
    for token in tokenize(text):
        word = token[:-2] if token.endswith(("'s", "’s", "＇s")) else token
        if word not in STOP_WORDS:
            terms.append(stem(word))
    return terms
