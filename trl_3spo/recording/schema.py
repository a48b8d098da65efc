"""What a record says of a step: plain data that JSON can hold, see docs/records.md."""

import math
from collections.abc import Mapping
from typing import Any

from trl_3spo.algorithm.base import Judgement, Row
from trl_3spo.algorithm.records import Episode, Sample, Visit
from trl_3spo.algorithm.tally import REWARD_PARTS
from trl_3spo.environments.failures import NoAction

SCHEMA = 1
"""Version of the form. A reader refuses records of a later one."""

Record = dict[str, Any]

CREDIT = ("reward", "reward_parts", "advantage", "is_trained_on")
"""Entries of a step that are known only when its episode has been credited."""


def number(value: float | None) -> float | None:
    """Return a number with six significant digits, `None` where it is not finite: JSON has no other word for that."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def numbers(values: Mapping[str, Any]) -> dict[str, float | None]:
    """Return what is a number among named values, each as `number` does."""
    return {str(name): number(float(x)) for name, x in values.items() if isinstance(x, int | float)}


def arrival(visit: Visit) -> Record:
    """Return what is recorded of a state that was reached."""
    return {"observation": visit.observation.text, "state": f"{visit.state_digest:016x}"}


def answer(sample: Sample | None, visit: Visit) -> Record:
    """Return what is recorded of an answer and of where it led.

    Args:
        sample: The answer; `None` where it is not known any more, which is so of steps before a resume.
        visit: Visit that it led to.
    """
    unasked = {"unasked": str(visit.action)} if isinstance(visit.action, NoAction) else {}
    known = {
        "completion": None if sample is None else sample.text,
        "action": None if visit.action is None or unasked else str(visit.action),
        "is_malformed": visit.is_malformed,
        "is_inadmissible": visit.is_inadmissible,
        "is_cut_off": sample is not None and sample.is_cut_off,
        "num_tokens": None if sample is None else [len(sample.prompt_ids), len(sample.completion_ids)],
        "is_final": visit.result.is_final,
        "paid": number(visit.result.reward),
    }
    parts = visit.result.info.get(REWARD_PARTS)
    paid_parts = {"paid_parts": numbers(parts)} if isinstance(parts, Mapping) and parts else {}
    return known | unasked | arrival(visit) | paid_parts


def credit(row: Row | None, *, is_trained_on: bool) -> Record:
    """Return the entries of `CREDIT`."""
    if row is None:
        return dict.fromkeys(CREDIT[:3]) | {"is_trained_on": False}
    values = (number(row.reward), numbers(row.parts), number(row.advantage), is_trained_on)
    return dict(zip(CREDIT, values, strict=True))


def judgement(known: Judgement | None) -> Record:
    """Return what was known of a state when it was sampled from."""
    if known is None:
        return {"score": None, "value": None, "num_visits": None}
    return {name: number(value) for name, value in known._asdict().items()}


def ending(episode: Episode) -> Record:
    """Return how an episode ended."""
    return {
        "num_steps": episode.num_steps,
        "success": episode.success,
        "stop_reason": episode.stop_reason,
        "return": number(episode.paid),
    }
