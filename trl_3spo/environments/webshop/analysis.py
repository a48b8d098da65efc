"""From text to index terms, as Lucene's English analyzer makes them."""

import re

import regex

from trl_3spo.environments.webshop.porter import stem

_STOP_WORDS = """\
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this
to was will with"""

STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Lucene's English stop words."""

MAX_TOKEN_LENGTH = 255
"""Longer runs of letters are cut into tokens of this length."""


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
        letter=rf"(?:[\p{{WB=ALetter}}\p{{WB=Hebrew_Letter}}]{marks})",
        digit=rf"(?:[\p{{WB=Numeric}}\uFF10-\uFF19]{marks})",
        joiner=joiner,
        # Later versions of Unicode take the colon out; Lucene's has it.
        within_word=rf"(?:[\p{{WB=MidLetter}}:\p{{WB=MidNumLet}}']{marks})",
        within_number=rf"(?:[\p{{WB=MidNum}}\p{{WB=MidNumLet}}']{marks})",
        katakana=rf"|{katakana}(?:{joiner}*{katakana})*",
    )
    ideograph = rf"[\p{{Script=Han}}\p{{Script=Hiragana}}]{marks}"
    return rf"{words}|{_emoji()}|\p{{LB=SA}}+|{ideograph}"


def _emoji() -> str:
    marks = r"[[\p{WB=Extend}\p{WB=Format}]--[\uFE0E\uFE0F]]*"
    not_alone = r"[0-9#*\p{WB=Regional_Indicator}\p{Emoji_Modifier}]"
    picture = rf"[[\p{{Extended_Pictographic}}\p{{Emoji}}]--{not_alone}]{marks}\uFE0F?"
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
