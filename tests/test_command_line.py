"""One name for one thing, mistakes that say what was meant, help without torch, and playing by hand."""

import io
import subprocess
import sys
from dataclasses import fields

import pytest
import yaml
from trl import GRPOConfig

from trl_3spo import EpisodeGRPOConfig, GiGPOConfig, StepPOConfig, ThreeSPOConfig, cli
from trl_3spo.cli import train_help
from trl_3spo.cli.train import METHODS, TrainArguments, main, make_trainer, parse

CORRIDOR = "trl_3spo.environments.corridor:CorridorEnv"
HERE = ["--use_cpu", "--bf16", "false"]


def run(*arguments):
    cli.main([str(argument) for argument in arguments])


def refused(capsys, *arguments, code=1):
    with pytest.raises(SystemExit, match=str(code)):
        run(*arguments)
    return capsys.readouterr().err


# -- help --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["evaluate", "--help"], ["play", "-h"]])
def test_help_does_without_torch(arguments):
    script = (
        "import sys\nfrom trl_3spo.cli import main\n"
        f"try: main({arguments})\nexcept SystemExit as error: assert error.code == 0\n"
        "assert not {'torch', 'trl', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: trl-3spo" in done.stdout


@pytest.mark.parametrize(
    ("method", "config"),
    [("3spo", ThreeSPOConfig), ("grpo", EpisodeGRPOConfig), ("gigpo", GiGPOConfig), ("steppo", StepPOConfig)],
)
def test_help_lists_every_option_of_a_method(method, config):
    text = train_help.text(["--method", method])
    known = {field.name for kind in (TrainArguments, config) for field in fields(kind) if field.init}
    listed = {line.split()[0][2:] for line in text.splitlines() if line.startswith("  --")}
    assert known - listed <= {field.name for field in fields(GRPOConfig) if field.name.startswith("_")}
    assert {field.name for field in fields(GRPOConfig)} <= known


def test_help_has_headings_and_sentences():
    text = train_help.text([])
    for heading in (
        "3SPO:",
        "  Parameters that control the score:",
        "What to train in:",
        "transformers' TrainingArgum",
    ):
        assert heading in text
    assert "  --score_sharpness 2.0\n      λ₀ in the state score S" in text
    assert "--gae_lambda" not in text
    assert "--gae_lambda" in train_help.text(["--method=steppo"])


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_an_option_that_is_not_known_has_a_proposal(capsys):
    error = refused(capsys, "evaluate", "--model", "m", "--num-task", 3, code=2)
    assert "--num_task 3 (did you mean --num_tasks?)" in error
    error = refused(capsys, "train", *HERE, "--score-sharpnes", 1)
    assert (
        error
        == "trl-3spo train: There is no option --score_sharpnes (did you mean score_sharpness?). --help lists them.\n"
    )


def test_a_baseline_knows_its_own_options_alone(capsys):
    error = refused(capsys, "train", *HERE, "--method", "gigpo", "--score_sharpness", 1)
    assert error.startswith("trl-3spo train: There is no option --score_sharpness")
    assert "it must be one of 3spo, grpo, gigpo, steppo" in refused(capsys, "train", *HERE, "--method", "ppo")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_steps: [1\nlearning_rate: 2", "is no YAML: "),
        ("max_step: 3", "The file has a setting 'max_step', which is not known (did you mean max_steps?)."),
        ("- max_steps", "holds a list; it must be a mapping"),
    ],
)
def test_mistakes_of_a_file_are_told_in_a_line(tmp_path, capsys, text, message):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    error = refused(capsys, "train", "--config", file, *HERE)
    assert message in error
    assert error.count("\n") == 1


def test_a_file_that_is_not_there(capsys):
    assert "nowhere.yaml" in refused(capsys, "train", "--config", "nowhere.yaml")


def test_debug_shows_where_an_error_comes_from():
    with pytest.raises(ValueError, match="No module named"):
        run("play", "nowhere:Env", "--debug")


# -- training ----------------------------------------------------------------------------------------------------------


def test_tiny_may_stand_in_the_file(tmp_path):
    file = tmp_path / "mine.yaml"
    settings = {"tiny": True, "environment": CORRIDOR, "environment_options": {"length": 3}}
    file.write_text(
        yaml.safe_dump(settings | {"output_dir": str(tmp_path / "run"), "tiny_environment_options": ["length=3"]})
    )
    in_file, (script, args, _) = parse(["--config", str(file)]), parse(["--config", str(file), "--tiny"])
    assert (in_file[0], in_file[1].to_dict()) == (script, args.to_dict())
    assert (args.output_dir, args.max_steps) == (str(tmp_path / "run-tiny"), 2)


def test_the_whole_split_is_one_flag(tmp_path):
    assert parse(["--output_dir", str(tmp_path), *HERE])[1].num_eval_tasks == 100
    assert parse(["--output_dir", str(tmp_path), *HERE, "--all-eval-tasks"])[1].num_eval_tasks is None


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains(tmp_path, method):
    options = ["--environment", CORRIDOR, "--tiny-environment-options", "length=3", "--num-eval-tasks", "2"]
    options += ["--tiny", "--method", method, "--max-steps", "1", "--output-dir", str(tmp_path)]
    trainer = make_trainer(*parse(options))
    assert type(trainer) is METHODS[method][0]
    main(options)
    assert (tmp_path / "results.json").exists()


# -- playing -----------------------------------------------------------------------------------------------------------


def played(monkeypatch, capsys, lines, *arguments):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    run("play", CORRIDOR, "--environment-options", "length=3", *arguments)
    return capsys.readouterr().out


def test_a_task_is_played_by_hand(monkeypatch, capsys):
    first = played(monkeypatch, capsys, [])
    assert first.startswith("Task ")
    assert "left" in first
    assert "after" not in first
    for way in (["right"] * 3 + ["open"], ["left"] * 3 + ["open"]):
        said = played(monkeypatch, capsys, way)
        assert "after" in said or "open" in said


def test_what_the_policy_sees_and_the_way_back(monkeypatch, capsys):
    said = played(monkeypatch, capsys, [":prompt", ":keys", "right", ":back", ":nonsense", ":quit"])
    assert "[user]\n" in said
    assert ":back    one step back" in said
    said = played(monkeypatch, capsys, ["1", "2", ":quit"], "--show-prompt")
    assert said.count("[user]") == 2


def test_a_task_by_its_id(monkeypatch, capsys):
    with pytest.raises(SystemExit, match="1"):
        played(monkeypatch, capsys, [], "--task", "nowhere")
    error = capsys.readouterr().err
    assert "There is no task 'nowhere' among the" in error


def test_configurations_are_listed_and_printed(capsys):
    cli.main(["config"])
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert listed >= {"alfworld_1.5b", "alfworld_qlora", "generated_games", "webshop_1.5b", "accelerate/fsdp2"}
    for name in listed:
        cli.main(["config", name])
        assert isinstance(yaml.safe_load(capsys.readouterr().out), dict)
    message = refused(capsys, "config", "alfworld_qlor")
    assert "There is no configuration 'alfworld_qlor'" in message
    assert "alfworld_qlora" in message
