"""An episode as a conversation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trl_3spo.environments.base import Message, Observation, Turn


def conversation(opening: "Sequence[Message]", observation: "Observation", turns: "Sequence[Turn]") -> "list[Message]":
    """Return an episode as chat messages: observations of the user or the tools, answers of the assistant.

    Each prompt then begins with the prompt before it and its answer, whose sampled tokens are kept.

    Args:
        opening: Messages before the first observation, such as the task.
        observation: Current observation.
        turns: Turns so far, oldest first. If early turns are missing, the conversation begins at the first given turn.
    """
    messages = list(opening)
    for turn in turns:
        messages += _shown(turn.observation, turn.messages)
        messages.append({"role": "assistant", "content": turn.action if turn.answer is None else turn.answer})
    return [*messages, *_shown(observation.text, observation.messages)]


def _shown(text: str, messages: "Sequence[Message]") -> "list[Message]":
    return list(messages) or ([{"role": "user", "content": text}] if text else [])
