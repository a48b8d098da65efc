"""The most important metrics for a terminal: one line per update and one per evaluation."""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta

from trl_3spo.environments.plain_text import printable

Logs = Mapping[str, float | None]


def training_fields(logs: Logs, step: int, num_steps: int, seconds_left: float | None) -> dict[str, str]:
    """Return the values shown for an update, by their labels; a value that was not logged is left out.

    Args:
        logs: The trainer's logs.
        step: Number of updates made.
        num_steps: Number of updates in total.
        seconds_left: Estimated seconds until the end of the training, if known.
    """
    numbers = {
        "success": _number(logs.get("success_rate"), ".3f"),
        "return": _number(logs.get("episode_return"), ".3g"),
        "actions": _number(logs.get("sampled_actions"), ".0f"),
        "tokens/s": _number(tokens_per_second(logs), ".0f"),
        "states": _number(logs.get("unique_states"), ".0f"),
        "n": _number(mean_group_size(logs), ".2f"),
        "entropy": _number(logs.get("entropy"), ".3g"),
        "left": None if seconds_left is None else str(timedelta(seconds=round(seconds_left))),
    }
    return {"step": f"{step}/{num_steps}"} | {name: text for name, text in numbers.items() if text is not None}


def evaluation_lines(logs: Logs, step: int) -> Iterator[str]:
    """Yield one line per panel in the logs."""
    for name in logs:
        found = re.fullmatch(r"eval_(?:(.+)_)?success_rate", name)
        if found is None or "/" in name:
            continue
        prefix = name.removesuffix("success_rate")
        low, high = (_number(logs.get(f"{prefix}success_rate_{end}"), ".3f") for end in ("low", "high"))
        fields = {
            "success": f"{_number(logs[name], '.3f')} ({low} to {high})",
            "return": _number(logs.get(f"{prefix}episode_return"), ".3g"),
            "steps": _number(logs.get(f"{prefix}mean_steps"), ".3g"),
            "tokens": _number(logs.get(f"{prefix}tokens_per_episode"), ".0f"),
            "malformed": _number(logs.get(f"{prefix}malformed_share"), ".2f"),
            "cut off": _number(logs.get(f"{prefix}cut_off_share"), ".2f"),
        }
        panel = f" of {printable(found[1])}" if found[1] else ""
        shown = {key: text for key, text in fields.items() if text is not None}
        yield as_line({"evaluation": f"after step {step}{panel}"} | shown)


def as_line(fields: Mapping[str, str]) -> str:
    """Return fields as one line."""
    return "  ".join(f"{name} {text}" for name, text in fields.items())


def tokens_per_second(logs: Logs) -> float | None:
    """Return the number of prompt and answer tokens per second of generation."""
    tokens, seconds = logs.get("sampled_tokens"), logs.get("seconds/generation")
    return tokens / seconds if tokens is not None and seconds else None


def mean_group_size(logs: Logs) -> float | None:
    """Return the mean of n(s) over the sampled states, if group sizes are logged."""
    shares = {int(name.removeprefix("group_size/")): x for name, x in logs.items() if name.startswith("group_size/")}
    total = sum(x or 0.0 for x in shares.values())
    return sum(n * (x or 0.0) for n, x in shares.items()) / total if total else None


def _number(value: float | None, form: str) -> str | None:
    return None if value is None else format(value, form)
