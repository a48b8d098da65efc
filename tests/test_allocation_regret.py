"""The simulation of budgets: whose samples it counts as too many and too few."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from trl_3spo.algorithm.options import PUBLISHED, ThreeSPOOptions

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def regret(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("allocation_regret")
    monkeypatch.setattr(module, "MARKS", (100, 800, 1600))
    return module


def test_without_scores_every_mastered_state_gets_seven_too_many(regret):
    noted = regret.simulate(ThreeSPOOptions(num_generations=8, search="frontier"), 8, seed=0)
    assert noted["too_few"] == [0, 0, 0]
    assert all(count % 7 == 0 for count in noted["too_many"])
    assert noted["too_many"][2] / 7 == pytest.approx(800, abs=80)  # half of the states are mastered


def test_published_scores_stop_wasting_and_go_on_withholding(regret):
    noted = regret.simulate(ThreeSPOOptions(**PUBLISHED), 1, seed=0)
    # A mastered state gets eight until its first success, nearly always in its first episode, and one from then on.
    assert noted["too_many"][1] == noted["too_many"][2] < 1.3 * 7 * 40
    # In most episodes with a state to learn, half of 800, nearly all of eight samples are withheld.
    assert noted["too_few"][2] - noted["too_few"][1] > 400 * 8 * 0.7


def test_results_name_their_origin(regret, tmp_path, monkeypatch):
    file, picture = tmp_path / "regret.json", tmp_path / "regret.png"
    monkeypatch.setattr(sys, "argv", ["r.py", "--json", str(file), "--plot", str(picture), "--seeds", "1"])
    regret.main()
    result = json.loads(file.read_text())
    assert {"command", "commit", "versions", "seeds"} <= result.keys()
    assert result["regrets"].keys() == regret.SETTINGS.keys()
    assert picture.read_bytes().startswith(b"\x89PNG")
