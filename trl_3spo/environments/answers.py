"""How an answer of a policy is read: a thought, then an action, in tags or by itself."""

import re

_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)
_THOUGHT_END = re.compile(r"</think>", re.IGNORECASE)
_THOUGHT_BEGIN = re.compile(r"<think>", re.IGNORECASE)
_ACTION = re.compile(r"<action>((?:(?!<action>).)*?)</action>", re.DOTALL | re.IGNORECASE)
_ACTION_BEGIN = re.compile(r"<action>", re.IGNORECASE)
_BLANKS = re.compile(r"[\x00-\x1f\x7f-\x9f\s]+")


class Malformed(str):
    """The action of an answer without an action: the empty string, which means nothing in any environment."""

    __slots__ = ()


def action_in(completion: str, *, is_line: bool = False, max_characters: int | None = None) -> str:
    """Return the action that an answer names, as it is written there, line breaks included. Total: it never raises.

    It is the first `<action>…</action>` after the thought, because an answer may go on to imagine what follows. Without
    tags, it is everything after the thought. Tags may be in upper case.

    Args:
        completion: Any text.
        is_line: Whether, without tags, the action is the first line that is not empty.
        max_characters: Length limit of an action, in characters; `None` sets no limit.

    Returns:
        The action, or `Malformed` if there is none: its thought or its tag is not closed, or the action is empty or
        too long.
    """
    answer, is_unfinished = _after_thought(completion)
    tagged = _ACTION.search(answer)
    if tagged is None and (is_unfinished or _ACTION_BEGIN.search(answer)):
        return Malformed()
    text = tagged[1] if tagged else _first_line(answer) if is_line else answer
    action = _trimmed(text)
    is_too_long = max_characters is not None and len(action) > max_characters
    return Malformed() if is_too_long or not action else action


def one_line(action: str) -> str:
    """Return an action with single blanks in place of line breaks, control characters and repeated blanks."""
    return action if isinstance(action, Malformed) else _BLANKS.sub(" ", action).strip()


def _after_thought(completion: str) -> tuple[str, bool]:
    """Return what follows the thought, or stands before an unfinished one, and whether a thought is unfinished."""
    # What closes a thought may stand alone: many chat templates open it in the prompt.
    begin, end = _THOUGHT_BEGIN.search(completion), _THOUGHT_END.search(completion)
    if end and (begin is None or end.start() < begin.start()):
        completion = completion[end.end() :]
    answer = _THOUGHT.sub("", completion)
    before, *unfinished = _THOUGHT_BEGIN.split(answer, maxsplit=1)
    return before, bool(unfinished)


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _trimmed(text: str) -> str:
    """Return a text without empty lines around it. The first line of several keeps its indentation: it may be code."""
    body = re.sub(r"\A(?:[^\S\n]*\n)+", "", text).rstrip()
    return body if "\n" in body else body.strip()
