"""The protocol's statistics and its equal tuning, by numbers worked by hand."""

import json
from collections import Counter
from itertools import combinations

import pytest
import report
import report_tables
import tune


def run(success, *, seed=0, method="branch"):
    curve = {"actions": [0, 100, 200], "tokens": [0, 1000, 2000], "seconds": [0, 5, 10]}
    curve |= {"success": success, "return": [x + 0.1 for x in success]}
    return {"environment": "shop", "method": method, "seed": seed, "budget": 200, "curve": curve}


def test_a_permutation_test_counts_changes_of_signs():
    # Of the eight sums of ±1 ± 2 ± 3, only 6 and -6 are as far from zero.
    assert report_tables.permutation_p([1.0, 2.0, 3.0]) == 2 / 8
    assert report_tables.permutation_p([1.0, -1.0]) == 1.0
    assert report_tables.permutation_p([0.1] * 10) == pytest.approx(2 / 1024)


def test_the_table_compares_methods_seed_by_seed():
    methods = {
        "branch_in_turn": {0: run([0.0, 0.6, 0.8]), 1: run([0.0, 0.6, 0.6], seed=1)},
        "grpo": {0: run([0.0, 0.2, 0.4]), 1: run([0.0, 0.4, 0.4], seed=1)},
    }
    lines = report_tables.table(methods).splitlines()
    # Areas: (0.3 + 0.7) / 2 = 0.5 and (0.3 + 0.6) / 2 = 0.45; 0.2 and 0.3. The differences are 0.3 and 0.15.
    assert lines[2].startswith("| grpo | 2 | 0.250 | 40.0% |")
    assert lines[2].endswith("| 50.0 | – | – |")
    assert lines[3].startswith("| branch_in_turn | 2 | 0.475 | 70.0% |")
    assert lines[3].endswith("| 80.0 | 100 | – |")
    (line,) = report_tables.contrast_table(methods).splitlines()[2:]
    # Half of the interval: 12.706 · 0.1061 / √2 = 0.953. Two of four changes of signs are as far from zero, which
    # Holm's correction doubles as there are two measures.
    assert line.startswith("| branch_in_turn – grpo | 2 | +0.225 ± 0.953 | 1.000 | +0.300 ± ")
    cost = report_tables.cost_table(methods).splitlines()
    assert cost[0] == "| method | success after 2,000 processed tokens | after 10 s of one core |"
    assert cost[3] == "| branch_in_turn | 70.0% | 70.0% |"


def test_the_documentation_holds_the_tables_of_the_committed_runs():
    text = (report.RESULTS.parents[1] / "docs" / "results.md").read_text(encoding="utf-8")
    for methods in report_tables.load([report.RESULTS / "report"]).values():
        for make in (report_tables.table, report_tables.contrast_table, report_tables.cost_table):
            assert make(methods) in text
    for file in (report.RESULTS / "tuning").glob("*_chosen.json"):
        assert report_tables.tuning_table(json.loads(file.read_text(encoding="utf-8"))["methods"]) in text


def test_the_table_of_tuning_has_the_best_first():
    def found(area, rate, *others):
        second = [{"area": x, "settings": {"learning_rate": x}} for x in others]
        chosen = {"learning_rate": rate}
        return {"chosen": chosen, "area": area, "second": [{"area": area, "settings": chosen}, *second]}

    lines = report_tables.tuning_table({"grpo": found(0.3, 0.002, 0.1, 0.2), "branch": found(0.6, 0.001, 0.5, 0.4)})
    assert lines.splitlines()[2:] == [
        "| branch | rate 0.001 | 0.600 | 0.500, 0.400 |",
        "| grpo | rate 0.002 | 0.300 | 0.200, 0.100 |",
    ]


def test_every_two_levels_of_two_factors_meet_once():
    for one, other in combinations(range(4), 2):
        assert set(Counter((row[one], row[other]) for row in tune.ARRAY).values()) == {1}


@pytest.mark.parametrize("method", tune.FACTORS)
@pytest.mark.parametrize(
    ("environment", "rates"), [("webshop", (0.0016, 0.0032, 0.0064)), ("alfworld", (0.0008, 0.0016, 0.0032))]
)
def test_every_method_is_tried_with_as_many_settings(method, environment, rates):
    settings = [tune.setting(environment, method, [int(level) for level in row]) for row in tune.ARRAY]
    assert len({tuple(sorted(x.items())) for x in settings}) == 9
    assert Counter(x["learning_rate"] for x in settings) == dict.fromkeys(rates, 3)


def test_the_best_levels_are_the_best_on_average():
    areas = [0.1] * 9
    for row, gain in (("0111", 0.3), ("1012", 0.2), ("2210", 0.1)):
        areas[tune.ARRAY.index(row)] += gain
    # First factor: level 0 has 0.3 / 3, more than 0.2 / 3. Third: level 1 has 0.3 + 0.2 + 0.1. Last: 1 has 0.3 alone.
    assert tune.best_levels(areas) == [0, 1, 1, 1]


def test_a_control_has_the_settings_of_what_it_controls():
    chosen = {name: {"chosen": {"learning_rate": rate}} for name, rate in (("branch", 0.1), ("grpo", 0.2))}
    assert report.settings_of("grpo", chosen) == ("grpo", {"learning_rate": 0.2})
    assert report.settings_of("branch_at_root", chosen) == ("branch_at_root", {"learning_rate": 0.1})
    without = report.settings_of("branch_without_novelty", chosen)
    assert without == ("branch", {"learning_rate": 0.1, "novelty_weight": 0.0})
