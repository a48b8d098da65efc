"""What a model and its tokenizer need so that an environment can ask them."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from trl_3spo.environments.base import Message

logger = logging.getLogger(__name__)


def require_chat_template(tokenizer: Any, model_name: str) -> None:
    """Raise ValueError if a tokenizer cannot write chat messages."""
    if tokenizer.chat_template is None:
        raise ValueError(
            f"The tokenizer of {model_name} has no chat template; environments ask in chat messages. Use an "
            "instruction-tuned model, or set tokenizer.chat_template and save it or pass it as processing_class."
        )


def check_prompt(
    tokenizer: Any,
    messages: Sequence[Message],
    model_name: str,
    template_kwargs: Mapping[str, Any] | None = None,
    *,
    chat_template: str | None = None,
) -> None:
    """Check that a chat template says all that an environment's prompt does, before the model is asked.

    Logs a warning where the template begins the answers itself, with an open thought.

    Args:
        tokenizer: The model's.
        messages: A prompt.
        model_name: Name of the model, for the message.
        template_kwargs: Arguments of the template, such as `enable_thinking`.
        chat_template: Template that replaces the tokenizer's own.

    Raises:
        ValueError: The template refuses the prompt or leaves one of its messages out.
    """
    remedy = "Write what it has to say into a user message (the environment's `prompt`), or use another model."
    options = {"chat_template": chat_template, "tokenize": False, "add_generation_prompt": True}
    try:
        text = tokenizer.apply_chat_template(list(messages), **options, **(template_kwargs or {}))
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise ValueError(
            f"The chat template of {model_name} refuses the environment's prompt, whose messages are those of "
            f"{roles}: {error}. {remedy}"
        ) from error
    for message in messages:
        lines = [line.strip() for line in message["content"].splitlines() if line.strip()]
        if lines and not any(line in text for line in lines):
            raise ValueError(
                f"The chat template of {model_name} leaves out the {message['role']} message of the environment's "
                f"prompt, {lines[0][:40]!r} and so on. {remedy}"
            )
    if text.rstrip().endswith("<think>"):
        logger.warning(
            "The chat template of %s begins every answer with an open thought, so max_completion_length has to have "
            "room for thoughts. Many templates begin without one by chat_template_kwargs={'enable_thinking': False}.",
            model_name,
        )


def num_positions(model: Any) -> int | None:
    """Return how many tokens a model can tell the places of, or None where there is no limit."""
    limit: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return limit


def require_positions(model: Any, prompt_size: int, max_completion_length: int) -> None:
    """Raise ValueError if a model has no positions for prompts of so many tokens and their completions."""
    require_room(num_positions(model), max_completion_length, prompt_size)


def require_room(limit: int | None, max_completion_length: int, prompt_size: int = 1) -> None:
    """Raise ValueError if so many positions are not enough for a prompt and its completion; `None` is no limit."""
    size = prompt_size + max_completion_length
    if limit is not None and size > limit:
        raise ValueError(
            f"A prompt and its completion need {size} tokens; the model has positions for {limit}. Shorten the "
            "environment's prompts (fewer past turns or admissible actions) or lower max_completion_length "
            f"({max_completion_length})."
        )
