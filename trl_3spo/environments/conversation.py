"""An episode as a conversation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trl_3spo.environments.base import Message, Observation, Turn


def conversation(opening: "Sequence[Message]", observation: "Observation", turns: "Sequence[Turn]") -> "list[Message]":
    """Return an episode as chat messages: what was seen as the user's or the tools', answers as the assistant's.

    Each prompt then begins with the one before it and the answer to that, whose tokens are kept as they were sampled.

    Args:
        opening: Messages before the first observation, such as the task.
        observation: The present one.
        turns: The episode so far, oldest first, or its end: the conversation then begins with what was seen there.
    """
    messages = list(opening)
    for turn in turns:
        messages += _shown(turn.observation, turn.messages)
        messages.append({"role": "assistant", "content": turn.action if turn.answer is None else turn.answer})
    return [*messages, *_shown(observation.text, observation.messages)]


def _shown(text: str, messages: "Sequence[Message]") -> "list[Message]":
    return list(messages) or ([{"role": "user", "content": text}] if text else [])
