"""Statistics of benchmark runs against numbers worked by hand, and what is refused."""

import importlib
import json
import math
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def summarize(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("summarize")


def record(method, seed, success, *, environment="shop", actions=(0, 100, 200), unique=50, **more):
    curve = {"actions": list(actions), "success": list(success)} | more
    run = {"environment": environment, "method": method, "seed": seed, "curve": curve}
    return run | {"sampled_actions": actions[-1], "unique_states": unique}


RUNS = [
    record("3spo", 0, (0.0, 0.6, 0.9)),
    record("3spo", 1, (0.0, 0.8, 0.8), unique=70),
    record("3spo", 2, (0.0, 0.7, 0.7), unique=60),
    record("grpo", 0, (0.0, 0.2, 0.6)),
    record("grpo", 1, (0.0, 0.1, 0.4)),
    record("grpo", 2, (0.0, 0.3, 0.5)),
    record("no_scores", 0, (0.0, 0.6, 0.9)),
    record("no_scores", 1, (0.0, 0.8, 0.8)),
]


def write(folder, runs):
    for run in runs:
        file = folder / f"{run['environment']}_{run['method']}_{run['seed']}.json"
        file.write_text(json.dumps(run))


def call(summarize, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["summarize.py", *map(str, arguments)])
    summarize.main()


def test_statistics_worked(summarize, tmp_path, monkeypatch):
    write(tmp_path, RUNS)
    call(summarize, monkeypatch, tmp_path, "--json", tmp_path / "summary.txt")
    result = json.loads((tmp_path / "summary.txt").read_text())
    assert result.keys() == {"shop"}
    ours, grpo = result["shop"]["3spo"], result["shop"]["grpo"]
    assert ours["seeds"] == [0, 1, 2]
    assert ours["final"] == pytest.approx(0.8)
    # 0.9, 0.8, 0.7 have a standard deviation of 0.1; t of two degrees of freedom is 4.302653.
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert ours["interval"] == pytest.approx([0.8 - half, 1.0], abs=1e-6)
    assert grpo["interval"] == pytest.approx([0.5 - half, 0.5 + half], abs=1e-6)
    assert (ours["actions_to_60"], ours["actions_to_80"], ours["actions_to_90"]) == (100, 200, None)
    assert (grpo["actions_to_60"], grpo["actions_to_80"]) == (None, None)
    assert ours["unique_states_per_action"] == pytest.approx((50 + 70 + 60) / 3 / 200)


def test_the_tables_hold_the_statistics(summarize, tmp_path, monkeypatch, capsys):
    write(tmp_path, RUNS)
    call(summarize, monkeypatch, tmp_path)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ") and "method" not in line]
    # Areas of 3SPO: (0.3 + 0.75) / 2, (0.4 + 0.8) / 2, (0.35 + 0.7) / 2; beside the control seeds 0 and 1 alone.
    assert rows[0] == "| 3spo | 3 | 80.0% | 55.2% to 100.0% | 0.55 | 100 | 200 | – | 0.3000 | – | – |"
    # The finals' differences -0.3, -0.4, -0.2 have mean -0.3 and standard deviation 0.1: t = -5.196, p = 0.0351.
    # Those of the areas, -0.275, -0.45, -0.25, have mean -0.325 and standard deviation 0.1090: t = -5.166, p = 0.0355.
    assert rows[1].endswith("| 0.2500 | 0.035 | 0.035 |")
    assert {rows[2].split(" | ")[0], rows[3].split(" | ")[0]} == {"| 3spo", "| no_scores"}
    assert all(" | 2 | 85.0% | " in row for row in rows[2:])
    assert next(row for row in rows if row.startswith("| no_scores")).endswith("| 1.000 | 1.000 |")


def test_gains_of_the_score_keys_worked(summarize):
    def run(gain, first, second):
        return {"predictive_gain": {"all": gain, "2": second, "1": first}}

    rows = summarize.gain_table({"3spo": {0: run(0.1, 0.0, -0.02), 1: run(0.3, 0.02, 0.0)}}).splitlines()
    assert rows == ["| method | all keys | key 1 | key 2 |", "|---|---|---|---|", "| 3spo | +0.200 | +0.010 | -0.010 |"]


def test_holm_worked(summarize):
    corrected = summarize.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.5})
    assert corrected == pytest.approx({"a": 0.04, "c": 0.09, "b": 0.09, "d": 0.5})


def test_equal_tokens_worked(summarize, tmp_path, monkeypatch, capsys):
    runs = [
        record("3spo", 0, (0.0, 0.5, 0.9), tokens=(0, 1000, 4000)),
        record("grpo", 0, (0.0, 0.2, 0.6), tokens=(0, 1000, 2000)),
    ]
    write(tmp_path, runs)
    call(summarize, monkeypatch, tmp_path)
    output = capsys.readouterr().out
    # At 2000 tokens 3SPO is a third of the way from 0.5 to 0.9.
    assert "success after 2,000 processed tokens" in output
    assert "| 3spo | 63.3% | – |" in output
    assert "| grpo | 60.0% | – |" in output


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        (("grpo", 1), "grpo lacks 1"),
        (("3spo", 2), "3spo lacks 2"),
        (("3spo", 1), "3spo lacks 1"),
    ],
)
def test_no_mean_over_unequal_seeds(summarize, tmp_path, monkeypatch, capsys, lost, named):
    write(tmp_path, [run for run in RUNS if (run["method"], run["seed"]) != lost])
    with pytest.raises(SystemExit, match=f"shop: no mean over unequal seeds.*{named}"):
        call(summarize, monkeypatch, tmp_path, "--json", tmp_path / "summary.txt")
    assert not capsys.readouterr().out
    assert not (tmp_path / "summary.txt").exists()


def test_controls_need_equal_seeds_among_themselves(summarize, tmp_path, monkeypatch):
    write(tmp_path, [*RUNS, record("no_novelty", 0, (0.0, 0.5, 0.5))])
    with pytest.raises(SystemExit, match="no_novelty lacks 1"):
        call(summarize, monkeypatch, tmp_path)


def test_controls_are_compared_with_the_method_that_they_are_of(summarize, tmp_path, monkeypatch, capsys):
    branch = [record("branch_in_turn", seed, (0.0, 0.6, final)) for seed, final in enumerate((0.9, 0.8, 0.7))]
    control = [record("branch_at_root", seed, (0.0, 0.6, final)) for seed, final in enumerate((0.5, 0.6))]
    write(tmp_path, [*RUNS[:6], *branch, *control])
    call(summarize, monkeypatch, tmp_path)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ") and "method" not in line]
    names = [row.split(" | ")[0] for row in rows]
    assert (set(names[:3]), names[3:]) == (
        {"| branch_in_turn", "| 3spo", "| grpo"},
        ["| branch_in_turn", "| branch_at_root"],
    )
    assert rows[3].startswith("| branch_in_turn | 2 | 85.0% |")
    # -0.4 and -0.2 have mean -0.3 and a standard error of 0.1: t = -3 with one degree of freedom, p = 0.205.
    assert " | 0.205 | " in rows[4]


def test_a_report_takes_the_place_of_an_earlier_study(summarize, tmp_path, monkeypatch):
    for name in ("earlier", "report"):
        (tmp_path / name).mkdir()
    write(tmp_path / "earlier", [*RUNS, record("3spo", 0, (0.0, 0.1, 0.2), environment="maze")])
    write(tmp_path / "report", [record("branch", 200, (0.0, 0.6, 0.9)) | {"tasks": "report"}])
    monkeypatch.setattr(summarize, "EARLIER", (tmp_path / "earlier",))
    monkeypatch.setattr(summarize, "REPORT", tmp_path / "report")
    call(summarize, monkeypatch, "--json", tmp_path / "summary.txt")
    result = json.loads((tmp_path / "summary.txt").read_text())
    assert {name: list(methods) for name, methods in result.items()} == {"shop": ["branch"], "maze": ["3spo"]}
    assert (result["shop"]["branch"]["tuned"], result["shop"]["branch"]["report_seeds"]) == (True, [200])
    assert (result["maze"]["3spo"]["tuned"], result["maze"]["3spo"]["report_seeds"]) == (False, [])


def test_seeds_can_be_chosen(summarize, tmp_path, monkeypatch, capsys):
    write(tmp_path, [run for run in RUNS if (run["method"], run["seed"]) != ("grpo", 2)])
    call(summarize, monkeypatch, tmp_path, "--seeds", "0", "1", "--plot", tmp_path / "curves.png")
    assert "| grpo | 2 | 50.0% |" in capsys.readouterr().out
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_files_of_many_runs_are_read_and_no_run_counts_twice(summarize, tmp_path, monkeypatch, capsys):
    many = tmp_path / "many.json"
    many.write_text(json.dumps({"runs": RUNS[:2]}))
    call(summarize, monkeypatch, many)
    assert "| 3spo | 2 | 85.0% |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="seed 0 of 3spo once more"):
        call(summarize, monkeypatch, many, many)


def test_runs_on_different_panels_are_not_compared(summarize, tmp_path, monkeypatch):
    write(tmp_path, [RUNS[0] | {"panel": "aaa"}, RUNS[3] | {"panel": "bbb"}])
    with pytest.raises(SystemExit, match="shop: the runs were evaluated on different tasks"):
        call(summarize, monkeypatch, tmp_path)


def test_nothing_to_summarize(summarize, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="no runs"):
        call(summarize, monkeypatch, tmp_path)


def test_the_documentation_holds_the_tables_of_the_committed_runs(summarize):
    pages = ("earlier_study.md", "tabular_study.md")
    text = "\n".join((BENCHMARKS.parent / "docs" / page).read_text() for page in pages)
    environments = summarize.load([path for path in summarize.EARLIER if path.exists()])
    for environment, methods in environments.items():
        assert summarize.tables(environment, methods) in text
