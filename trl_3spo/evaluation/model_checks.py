"""What a model and its tokenizer need so that an environment can ask them."""

from typing import Any


def require_chat_template(tokenizer: Any, model_name: str) -> None:
    """Raise ValueError if a tokenizer cannot write chat messages."""
    if tokenizer.chat_template is None:
        raise ValueError(
            f"The tokenizer of {model_name} has no chat template; environments ask in chat messages. Use an "
            "instruction-tuned model, or set tokenizer.chat_template and save it or pass it as processing_class."
        )


def num_positions(model: Any) -> int | None:
    """Return how many tokens a model can tell the places of, or None where there is no limit."""
    limit: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return limit


def require_positions(model: Any, prompt_size: int, max_completion_length: int) -> None:
    """Raise ValueError if a model has no positions for prompts of so many tokens and their completions."""
    limit = num_positions(model)
    size = prompt_size + max_completion_length
    if limit is not None and size > limit:
        raise ValueError(
            f"A prompt and its completion need {size} tokens; the model has positions for {limit}. Shorten the "
            "environment's prompts (fewer past turns or admissible actions) or lower max_completion_length "
            f"({max_completion_length})."
        )
