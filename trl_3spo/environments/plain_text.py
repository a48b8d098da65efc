"""Safe text from models and environments, which may contain any string.

A completion may contain characters that move a terminal's cursor or write to its clipboard. A file or a service may
return half of a surrogate pair, which no encoding can write.
"""

import re

from trl_3spo.environments.base import Message

# Control characters but for tab and line feed; marks that change the direction of writing; line separators; surrogates.
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return a text for logs, tables and terminals. Control characters are escaped, ESC as `\x1b`.

    A text that has been escaped stays as it is.
    """
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def printable_messages(messages: list[Message]) -> list[Message]:
    """Return chat messages that are printable. They may contain tool calls."""
    return [{name: printable(str(value)) for name, value in message.items()} for message in messages]


def encodable(text: str) -> str:
    """Return a text that UTF-8 and any tokenizer can take: a lone surrogate becomes U+FFFD, a pair its character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def encodable_messages(messages: list[Message]) -> list[Message]:
    """Return chat messages that any tokenizer can take, the same ones if they are already."""
    if all(content.isascii() for message in messages for content in message.values()):
        return messages
    return [{name: encodable(value) for name, value in message.items()} for message in messages]
