"""Prompt and sampling settings of a trained policy: `policy.json` beside every checkpoint and final model."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from transformers.utils import cached_file

FILE = "policy.json"
FORMAT = 1
"""Version of the file format. It grows when fields change their meaning."""


@dataclass(frozen=True)
class PolicySettings:
    """Settings that determine a policy's answers, besides its weights and tokenizer.

    Args:
        temperature: Sampling temperature of the training, at least 0.
        eval_temperature: Sampling temperature of evaluations, at least 0; 0 is greedy.
        top_p: Share of the probability that is sampled from, in (0, 1].
        top_k: Number of tokens that are sampled from; 0 is all.
        min_p: Least share of the likeliest token's probability; `None` sets none.
        repetition_penalty: Penalty for repeated tokens; 1 is none.
        generation_kwargs: Further arguments of the generation.
        max_completion_length: Limit on the tokens of an answer, at least 1.
        chat_template_kwargs: Arguments of the chat template, such as `enable_thinking`.
        system_prompt: System prompt of the environment; `None` leaves the environment as it is.
        end_tokens: Tokens that end an answer, in addition to the model's and the tokenizer's.
        max_turns: Limit on the past turns in a prompt; `None` includes all.
        max_prompt_tokens: Limit on the tokens of a prompt; `None` is the model's number of positions.

    Raises:
        ValueError: A value is out of its range.
    """

    temperature: float = 1.0
    eval_temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float | None = None
    repetition_penalty: float = 1.0
    generation_kwargs: dict[str, Any] = field(default_factory=dict)
    max_completion_length: int = 512
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    system_prompt: str | None = None
    end_tokens: tuple[int, ...] = ()
    max_turns: int | None = None
    max_prompt_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.eval_temperature < 0 or self.max_completion_length < 1:
            raise ValueError(
                f"temperature is {self.eval_temperature!r} and max_completion_length {self.max_completion_length!r}; "
                "required are at least 0 (greedy) and at least 1 token."
            )
        if not 0 < self.top_p <= 1 or self.top_k < 0 or not 0 <= (self.min_p or 0) <= 1:
            raise ValueError(
                f"top_p is {self.top_p!r}, top_k {self.top_k!r} and min_p {self.min_p!r}; required are above 0 and at "
                "most 1, at least 0 (no limit), and between 0 and 1."
            )

    def save(self, folder: str | Path) -> None:
        """Write the file to a model's folder."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False)
        (Path(folder) / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def beside(cls, model: str, revision: str | None = None) -> Self:
        """Read the file that was saved with a model; without one return the defaults.

        Args:
            model: Folder, or name on the Hub.
            revision: Branch, tag or commit on the Hub; `None` is the latest.

        Raises:
            ValueError: The file cannot be read, or a later version wrote it.
        """
        missing = {
            f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors", "gated_repo")
        }
        path = cached_file(model, FILE, revision=revision, **missing)
        if path is None:
            return cls()
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            known = {x.name for x in fields(cls)}
            if found.pop("format") != FORMAT:
                raise ValueError(f"its format is another than {FORMAT}")
            values: dict[str, Any] = {
                name: tuple(x) if name == "end_tokens" else x for name, x in found.items() if name in known
            }
            return cls(**values)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{FILE} of {model} cannot be read: {error}. It says how the policy was asked and sampled in its "
                "training. Read it with the version of trl_3spo that wrote it, or remove it and give the options."
            ) from error

    def with_given(self, given: Mapping[str, Any]) -> Self:
        """Return the settings, overridden by the given values that are not `None`."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})
