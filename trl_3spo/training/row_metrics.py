"""TRL's metrics of rewards and completions, of the rows that are trained on.

GRPOTrainer computes them over blocks of `num_generations` rows, which are no groups here, and over padding.
"""

from collections import defaultdict, deque
from collections.abc import Container, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trl_3spo.algorithm.base import Ranks, Row
from trl_3spo.environments.base import Message
from trl_3spo.environments.plain_text import printable_messages

REWARD = "transition_reward"
"""Name of the one reward function that GRPOTrainer is given."""


def row_metrics(rows: Sequence[Row], end_tokens: Container[int], ranks: Ranks) -> dict[str, float | None]:
    """Return metrics under TRL's names, over the rows of all ranks that take part in the loss; a collective.

    Args:
        rows: This rank's rows.
        end_tokens: Tokens that end a completion; one that ends otherwise was cut off.
        ranks: Whose rows count.

    Returns:
        `reward` and `reward_std` over all rows, `frac_reward_zero_std` the share of groups whose rewards are all equal,
        lengths of completions in tokens. `None` where there are no rows.
    """
    own = [_of_row(row, end_tokens) for row in rows if not row.is_padding]
    by_rank = ranks.gather(own)
    every = list(chain.from_iterable(by_rank))
    rewards = np.array([reward for _, reward, _, _ in every])
    lengths = np.array([length for _, _, length, _ in every])
    ended = np.array([length for _, _, length, has_ended in every if has_ended])
    groups = _rewards_by_group(by_rank)
    is_flat = [np.allclose(group, group[0], rtol=0.0, atol=1e-8) for group in groups]
    metrics = {
        "reward": _mean(rewards),
        "reward_std": _std(rewards),
        "frac_reward_zero_std": _mean(np.array(is_flat, dtype=float)),
        f"rewards/{REWARD}/mean": _mean(rewards),
        f"rewards/{REWARD}/std": _std(rewards),
        "completions/clipped_ratio": 1.0 - len(ended) / len(every) if every else None,
    }
    # As TRL has it: where every completion was cut off, those that ended have length 0.
    ended = ended if len(ended) or not every else np.array([0])
    return metrics | _lengths(lengths, "length") | _lengths(ended, "terminated_length")


def make_printable(column: deque[list[Message]]) -> None:
    """Escape what a terminal would obey in a column of TRL's table of prompts and completions."""
    shown = list(map(printable_messages, column))
    column.clear()
    column.extend(shown)


def replace_latest(table: deque[float], values: Sequence[float]) -> None:
    """Put values in the place of as many that were added to a table last."""
    for _ in range(min(len(values), len(table))):
        table.pop()
    table.extend(values)


def _of_row(row: Row, end_tokens: Container[int]) -> tuple[int, float, int, bool]:
    ids = row.sample.completion_ids
    return row.group, row.reward, len(ids), ids[-1] in end_tokens


def _rewards_by_group(by_rank: Sequence[Sequence[tuple[int, float, int, bool]]]) -> list[list[float]]:
    groups: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
    for rank, rows in enumerate(by_rank):
        for group, reward, _, _ in rows:
            groups[rank, group].append(reward)
    return list(groups.values())


def _lengths(lengths: NDArray[Any], name: str) -> dict[str, float | None]:
    values = (lengths.mean(), lengths.min(), lengths.max()) if len(lengths) else (None, None, None)
    statistics = zip(("mean", "min", "max"), values, strict=True)
    return {f"completions/{statistic}_{name}": None if x is None else float(x) for statistic, x in statistics}


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _std(values: NDArray[np.float64]) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None
