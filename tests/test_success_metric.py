"""The metric of the `evaluate` library says what `summarize` says, and loads without a network."""

from dataclasses import asdict

import evaluate
import pytest

from trl_3spo.evaluation import EpisodeResult, summarize
from trl_3spo.evaluation import metric as success_metric

RESULTS = [
    EpisodeResult("game 1", "place", True, 12, 0),
    EpisodeResult("game 2", "place", False, 50, 5),
    EpisodeResult("game 3", "heat", True, 8, 1),
]


@pytest.fixture
def metric(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_EVALUATE_OFFLINE", "1")
    return evaluate.load(success_metric.__file__, cache_dir=str(tmp_path))


def test_row_by_row(metric):
    for result in RESULTS:
        metric.add(**{name: asdict(result)[name] for name in success_metric.COLUMNS})
    assert metric.compute() == summarize(RESULTS).to_dict()


def test_all_at_once(metric):
    columns = {name: [asdict(result)[name] for result in RESULTS] for name in success_metric.COLUMNS}
    numbers = metric.compute(**columns)
    assert numbers == summarize(RESULTS).to_dict()
    assert numbers["success"]["rate"] == pytest.approx(2 / 3)
    assert numbers["inadmissible_share"] == pytest.approx(6 / 70)
    assert numbers["mean_steps"] == pytest.approx(70 / 3)


def test_an_unknown_column_is_refused(metric):
    with pytest.raises(ValueError, match=r"Bad inputs.*reward"):
        metric.add(reward=1.0)
