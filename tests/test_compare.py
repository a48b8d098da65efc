"""The language-model benchmark, with tiny budgets: what it records, what it counts, and that it can be interrupted."""

import dataclasses
import importlib
import json
import sys
from pathlib import Path

import pytest

from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.algorithm.records import first_visit
from trl_3spo.algorithm.three_spo import ThreeSPO
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.evaluation import panel_hash

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = {"per_device_train_batch_size": 8}


@pytest.fixture
def compare(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    compare = importlib.import_module("compare")
    env = importlib.import_module("small_alfworld").make_env(num_games=12, seed=0)
    tasks = importlib.import_module("demo_world").Tasks(env, train=env.tasks()[3:], unseen=env.tasks()[:3])
    world = dataclasses.replace(compare.WORLDS["alfworld"], make_tasks=lambda seed: tasks)
    monkeypatch.setitem(compare.WORLDS, "alfworld", world)
    for name, (trainer, config, options) in compare.METHODS.items():
        monkeypatch.setitem(compare.METHODS, name, (trainer, config, options | SMALL))
    monkeypatch.setattr(compare, "NUM_EVALUATIONS", 2)
    return compare


def call(compare, monkeypatch, folder, *arguments):
    common = ["compare.py", "--env", "alfworld", "--folder", str(folder), "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", [*common, *arguments])
    compare.main()


@pytest.mark.slow
def test_records_every_run_and_makes_none_twice(compare, tmp_path, monkeypatch, capsys):
    call(compare, monkeypatch, tmp_path, "--budget", "80", "--methods", "no_scores", "steppo")
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"alfworld_{name}_0.json" for name in ("no_scores", "steppo")]
    panel = panel_hash(task.id for task in compare.WORLDS["alfworld"].make_tasks(0).unseen)
    for file in files:
        record = json.loads(file.read_text())
        curve = record["curve"]
        assert record["panel"] == panel
        assert {"commit", "command", "versions", "learning_rate", "method", "seed"} <= record.keys()
        assert len({len(values) for values in curve.values()}) == 1 < len(curve["actions"])
        assert curve["return"] == pytest.approx(curve["success"], abs=1e-4)  # rounded; only a success pays here
        assert curve["actions"][0] == 0
        assert 80 <= record["sampled_actions"] == curve["actions"][-1] < 400
        # A prompt has more than twenty tokens; each is sampled from, and trained on where it has signal.
        assert 20 * record["sampled_actions"] < curve["tokens"][-1] < 1000 * record["sampled_actions"]
        assert 0 < record["unique_states"] <= record["sampled_actions"]
    assert capsys.readouterr().out.count(" to ") == 2
    before = [file.stat().st_mtime_ns for file in files]
    call(compare, monkeypatch, tmp_path, "--budget", "80", "--methods", "no_scores", "steppo")
    assert [file.stat().st_mtime_ns for file in files] == before


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_ends_as_if_it_had_not_been(compare, tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    arguments = ("--budget", "240", "--methods", "3spo")
    call(compare, monkeypatch, whole, *arguments)
    save = compare.ThreeSPOTrainer._save_checkpoint

    def save_and_stop(self, *settings):
        save(self, *settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(compare.ThreeSPOTrainer, "_save_checkpoint", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        call(compare, monkeypatch, broken, *arguments)
    assert not list(broken.glob("*.json"))
    monkeypatch.setattr(compare.ThreeSPOTrainer, "_save_checkpoint", save)
    call(compare, monkeypatch, broken, *arguments)
    one, other = (json.loads((folder / "alfworld_3spo_0.json").read_text()) for folder in (whole, broken))
    assert len(one["curve"]["actions"]) == 3
    for curve in (one["curve"], other["curve"]):
        assert curve.pop("seconds")[-1] > 0
    assert one["curve"] == other["curve"]
    assert [path.name for path in broken.iterdir()] == ["alfworld_3spo_0.json"]


def test_controls_switch_one_thing_off(compare):
    for name, control in compare.controls(ThreeSPOOptions(**compare.FRONTIER), seed=0).items():
        trainer, config, options = compare.METHODS[name]
        assert (trainer, config) == compare.METHODS["3spo"][:2]
        # Success has to be rewarded where scores are not; an update can only follow a step where outcomes do not count.
        has_consequence = name in ("no_score_difference", "no_outcomes")
        assert len(control.options) + len(control.parts) == 1 + has_consequence
        assert options.items() >= control.options.items()
        ThreeSPOOptions(**compare.FRONTIER | control.options).check_options()


def test_controls_are_parts_of_the_algorithm(compare):
    env = CorridorEnv(length=3)
    options = ThreeSPOOptions(num_generations=4, **compare.FRONTIER)
    found = {}
    for name, control in compare.controls(options, seed=0).items():
        found[name] = ThreeSPO(env, env.tasks(), options, **control.parts)
    visit = first_visit(env, env.tasks()[0])
    for algorithm in found.values():
        algorithm.history.observe({visit.keys[0]: 0.0, visit.keys[1]: 1.0})
    assert {found["no_scores"].scorer.value(visit) for _ in range(9)} != {1.0}
    assert found["no_coarse_keys"].scorer.value(visit) == 0.0
    assert found["no_fine_keys"].scorer.value(visit) == pytest.approx(1.0)
    assert 0.0 < found["no_side_samples"].scorer.value(visit) < 1.0
    assert found["no_side_samples"].scorer.group_size(visit) == 1
    assert found["no_adaptive_group_size"].scorer.group_size(visit) == 4
    assert found["no_score_difference"].scorer.score(visit) == found["no_score_difference"].scorer.next_score(visit)


def test_a_run_of_a_control_has_its_part(compare, tmp_path):
    trainer = compare.make_trainer(compare.WORLDS["alfworld"], "no_side_samples", 0, 80, tmp_path)
    assert type(trainer.algorithm.scorer).__name__ == "SingleScorer"
    assert list(trainer.algorithm.order.tasks) == trainer.train_tasks


def test_a_starting_point_that_is_missing_is_named(compare, tmp_path, monkeypatch):
    world = dataclasses.replace(compare.WORLDS["webshop"], warm_start=tmp_path / "none")
    monkeypatch.setitem(compare.WORLDS, "webshop_few", world)
    with pytest.raises(SystemExit, match=r"missing. Make it: python benchmarks/starting_points.py webshop_few"):
        compare.run("webshop_few", "branch", 0, 100, tmp_path)
