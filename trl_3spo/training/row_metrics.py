"""Metrics of rewards and completions over the rows in the loss, instead of TRL's.

GRPOTrainer computes them over blocks of `num_generations` rows, which are not groups here, and includes padding.
"""

from collections import defaultdict, deque
from collections.abc import Container, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trl_3spo.algorithm.base import Ranks, Row
from trl_3spo.environments.base import Message
from trl_3spo.environments.plain_text import printable_messages

REWARD = "transition_reward"
"""Name of the one reward function that GRPOTrainer is given."""

DROPPED = ("frac_reward_zero_std", f"rewards/{REWARD}/mean", f"rewards/{REWARD}/std")
"""TRL's metrics that have no meaning here or duplicate another one."""
OWN = ("frac_groups_without_signal",)
"""Metrics of rows that TRL does not have."""
NO_SIGNAL = 1e-8
"""Largest absolute advantage that counts as zero."""


OfRow = tuple[int, float, float, int, bool]
"""Group, reward, advantage, number of tokens, and whether the completion ended by itself."""


def row_metrics(rows: Sequence[Row], end_tokens: Container[int], ranks: Ranks) -> dict[str, float | None]:
    """Return metrics over the rows of all ranks that take part in the loss; a collective.

    Args:
        rows: This rank's rows.
        end_tokens: Tokens that end a completion; a completion without one was cut off.
        ranks: Processes whose rows count.

    Returns:
        `reward` and `reward_std` over all rows. `frac_groups_without_signal`, the share of groups whose advantages are
        all zero. Lengths of completions in tokens. The share of completions that were cut off. `None` without rows.
    """
    own = [_of_row(row, end_tokens) for row in rows if not row.is_padding]
    by_rank = ranks.gather(own)
    every = list(chain.from_iterable(by_rank))
    rewards = np.array([reward for _, reward, _, _, _ in every])
    lengths = np.array([length for _, _, _, length, _ in every])
    ended = np.array([length for _, _, _, length, has_ended in every if has_ended])
    is_flat = [np.abs(group).max() <= NO_SIGNAL for group in _advantages_by_group(by_rank)]
    metrics = {
        "reward": _mean(rewards),
        "reward_std": _std(rewards),
        "frac_groups_without_signal": _mean(np.array(is_flat, dtype=float)),
        "completions/clipped_ratio": 1.0 - len(ended) / len(every) if every else None,
    }
    # As in TRL: if every completion was cut off, the terminated length is 0.
    ended = ended if len(ended) or not every else np.array([0])
    return metrics | _lengths(lengths, "length") | _lengths(ended, "terminated_length")


def replace_metrics(logged: dict[str, list[float]], metrics: Mapping[str, float | None]) -> None:
    """Replace GRPOTrainer's latest values by metrics of the same names, and drop metrics without meaning."""
    for name in DROPPED:
        logged.pop(name, None)
    for name, value in metrics.items():
        # GRPOTrainer logs no value under our own names, so there is nothing to replace.
        before = logged.pop(name, []) if name in OWN else logged.pop(name, [])[:-1]
        values = before + ([] if value is None else [value])
        if values:
            logged[name] = values


def make_printable(column: deque[list[Message]]) -> None:
    """Escape terminal control characters in a column of TRL's table of prompts and completions."""
    shown = list(map(printable_messages, column))
    column.clear()
    column.extend(shown)


def replace_latest(table: deque[float], values: Sequence[float]) -> None:
    """Replace as many of the latest values of a table by other values."""
    for _ in range(min(len(values), len(table))):
        table.pop()
    table.extend(values)


def _of_row(row: Row, end_tokens: Container[int]) -> OfRow:
    ids = row.sample.completion_ids
    return row.group, row.reward, row.advantage, len(ids), ids[-1] in end_tokens


def _advantages_by_group(by_rank: Sequence[Sequence[OfRow]]) -> list[list[float]]:
    groups: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
    for rank, rows in enumerate(by_rank):
        for group, _, advantage, _, _ in rows:
            groups[rank, group].append(advantage)
    return list(groups.values())


def _lengths(lengths: NDArray[Any], name: str) -> dict[str, float | None]:
    values = (lengths.mean(), lengths.min(), lengths.max()) if len(lengths) else (None, None, None)
    statistics = zip(("mean", "min", "max"), values, strict=True)
    return {f"completions/{statistic}_{name}": None if x is None else float(x) for statistic, x in statistics}


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _std(values: NDArray[np.float64]) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None
