"""Metrics over the rows that are trained on, worked by hand, and where a training logs them."""

import pytest

from training import SpokenCorridor, corridor_trainer
from trl_3spo.algorithm.base import Alone, Row
from trl_3spo.algorithm.records import Sample
from trl_3spo.training.row_metrics import REWARD, replace_metrics, row_metrics

END = 9


def row(reward, group, length, *, advantage=0.0, ended=True, is_padding=False):
    ids = [1] * (length - 1) + [END if ended else 1]
    return Row(Sample([], [], ids, ""), reward, advantage, group, is_padding)


ROWS = [
    row(1.0, 0, 2, advantage=0.5),
    row(0.0, 0, 4),
    row(0.5, 1, 3, ended=False),
    row(0.5, 1, 3),
    row(7.0, 0, 50, is_padding=True),
]


def test_worked():
    metrics = row_metrics(ROWS, {END}, Alone())
    assert metrics["reward"] == 0.5
    # Squared differences from the mean 0.25, 0.25, 0, 0 over 4 − 1
    assert metrics["reward_std"] == pytest.approx((0.5 / 3) ** 0.5)
    assert metrics["frac_groups_without_signal"] == 0.5
    assert metrics["completions/clipped_ratio"] == 0.25
    lengths = [metrics[f"completions/{name}_length"] for name in ("mean", "min", "max")]
    assert lengths == [3.0, 2.0, 4.0]
    assert [metrics[f"completions/{name}_terminated_length"] for name in ("mean", "min", "max")] == [3.0, 2.0, 4.0]


def test_groups_of_other_ranks_are_other_groups():
    class Twins:
        rank, num_ranks = 0, 2

        def gather(self, value):
            return [value, [(0, reward + 1.0, 0.0, *rest) for _, reward, _, *rest in value[:1]]]

    metrics = row_metrics(ROWS, {END}, Twins())
    assert metrics["frac_groups_without_signal"] == pytest.approx(2 / 3), "group 0 of the other rank is another group"
    assert metrics["reward"] == pytest.approx((2.0 + 2.0) / 5)


def test_without_rows_there_is_nothing_to_log():
    assert set(row_metrics([row(1.0, 0, 2, is_padding=True)], {END}, Alone()).values()) == {None}


def test_they_take_the_place_of_what_trl_logged_last():
    logged = {"reward": [0.25, 9.0], "frac_reward_zero_std": [0.1], f"rewards/{REWARD}/mean": [9.0], "loss": [1.0]}
    replace_metrics(logged, {"reward": 0.5, "frac_groups_without_signal": 0.125, "reward_std": None})
    assert logged == {"loss": [1.0], "reward": [0.25, 0.5], "frac_groups_without_signal": [0.125]}
    replace_metrics(logged, {"frac_groups_without_signal": 0.25})
    assert logged["frac_groups_without_signal"] == [0.125, 0.25]


def test_a_training_logs_them(tmp_path):
    """Groups of one and two, and padding: GRPOTrainer's own blocks of num_generations rows are none of them."""
    trainer = corridor_trainer(
        tmp_path,
        env=SpokenCorridor(),
        max_steps=3,
        num_generations=3,
        per_device_train_batch_size=12,
        gradient_accumulation_steps=5,
    )
    seen, padded = [], []
    collect, correct = trainer._collect, trainer._correct_for_padding
    trainer._collect = lambda capacity: seen.append(collect(capacity)) or seen[-1]
    trainer._correct_for_padding = lambda rows: padded.extend(rows) or correct(rows)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "reward_std" in entry]
    assert len(logs) == len(seen) == 3
    tokens = {*trainer.eos_token_ids, trainer._tokenizer.pad_token_id}
    for entry, rows in zip(logs, seen, strict=True):
        expected = row_metrics(rows, tokens, Alone())
        assert {name: entry[name] for name in expected} == pytest.approx(expected)
        assert entry["completions/min_length"] == 1.0
    assert any(row.is_padding for row in padded)
