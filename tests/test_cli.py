"""The commands do what the functions do, and say what is wrong in a line."""

import configparser
import json
import pkgutil
import re
import sys
from pathlib import Path

import pytest
from datasets import load_dataset

import trl_3spo
from training import tokenizer_for, untrained
from trl_3spo import cli
from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.expert.demonstrations import demonstrate
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.evaluation.panel_sample import sample_panel
from trl_3spo.evaluation.policies import evaluate_checkpoint
from trl_3spo.recording.reading import read_run

CORRIDOR = "trl_3spo.environments.corridor:CorridorEnv"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = tokenizer_for(CorridorEnv(length=4))
    untrained(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def run(*arguments):
    cli.main([str(argument) for argument in arguments])


def test_the_console_script_is_main():
    parser = configparser.ConfigParser()
    parser.read(Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")
    name, _, target = parser["options.entry_points"]["console_scripts"].strip().partition(" = ")
    assert (name, pkgutil.resolve_name(target)) == ("trl-3spo", cli.main)


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        run("--version")
    assert capsys.readouterr().out.strip() == trl_3spo.__version__


def test_evaluate(checkpoint, tmp_path, capsys):
    world = ["--environment", CORRIDOR, "--environment_options", "length=4", "max_steps=5"]
    settings = ["--num-tasks", 3, "--num-episodes", 9, "--temperature", 1.5, "--max-completion-length", 1, "--seed", 4]
    settings += ["--chat-template-kwargs", '{"enable_thinking": false}']
    run("evaluate", "--model", checkpoint, *world, *settings, "--json", tmp_path / "new" / "result.json")
    result = json.loads((tmp_path / "new" / "result.json").read_text())
    assert result == json.loads(capsys.readouterr().out)
    folder = Path(checkpoint) / "evaluation"
    assert json.loads((folder / "results.json").read_text()) == {"schema": 1, "command": "evaluate"} | result
    assert len(read_run(folder).trees) == 9
    env = CorridorEnv(length=4, max_steps=5)
    tasks = sample_panel(env.tasks(), 3)
    expected = evaluate_checkpoint(
        checkpoint, env, tasks, num_episodes=9, temperature=1.5, max_completion_length=1, seed=4
    )
    assert {name: result[name] for name in expected.to_dict()} == expected.to_dict()
    assert (result["settings"]["model"], result["settings"]["temperature"]) == (checkpoint, 1.5)
    assert result["settings"]["chat_template_kwargs"] == {"enable_thinking": False}
    assert result["versions"]["trl_3spo"] == trl_3spo.__version__


@pytest.mark.parametrize(("suffix", "kind"), [("parquet", "parquet"), ("jsonl", "json")])
def test_demos(tmp_path, suffix, kind):
    file = tmp_path / "new" / f"demos.{suffix}"
    world = ["generated=4", "seed=2", "num_receptacles=[4,8]", "num_objects=[4,10]"]
    run("demos", "--environment_options", *world, "--num-tasks", 3, "--noise", 0.2, "--seed", 6, "--output", file)
    written = load_dataset(kind, data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    env = AlfworldEnv(generated=4, seed=2, num_receptacles=(4, 8), num_objects=(4, 10))
    assert list(written) == list(demonstrate(env, sample_panel(env.tasks(), 3), noise=0.2, seed=6))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--environment", "nowhere:Env"], "No module named 'nowhere'"),
        (["--environment", "trl_3spo.environments.corridor:Nothing"], "corridor.*Nothing"),
        (["--environment", CORRIDOR, "--environment_options", "width=3"], "width=3.*unexpected keyword"),
        (["--environment", CORRIDOR, "--environment_options", "width"], "'width' has no value; NAME=VALUE"),
        (["--environment", "builtins:dict"], "made a dict; an Environment is required"),
        (["--environment_options", "generated=2"], r"no checkpoint \./none"),
    ],
)
def test_mistakes_are_told_in_a_line(capsys, arguments, message):
    with pytest.raises(SystemExit, match="1"):
        run("evaluate", "--model", "./none", *arguments)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("trl-3spo evaluate: ")
    assert re.search(message, error)


def test_demos_need_a_known_suffix(tmp_path, capsys):
    with pytest.raises(SystemExit, match="1"):
        run("demos", "--environment_options", "generated=1", "--output", tmp_path / "demos.csv")
    assert "must end in .parquet or .jsonl" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_numbers_must_be_positive(capsys):
    with pytest.raises(SystemExit, match="2"):
        run("evaluate", "--model", "m", "--num-tasks", 0)
    assert "0 must be at least 1" in capsys.readouterr().err


def test_an_environment_and_its_expert_may_be_in_a_file_here(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "my_world.py").write_text(
        "from trl_3spo.environments import demonstrations\n"
        "from trl_3spo.environments.corridor import CorridorEnv as MyEnv\n"
        "def demonstrate(env, tasks, **options):\n"
        "    left = lambda observation, turns: demonstrations.Advice('left')\n"
        "    return demonstrations.demonstrate(env, tasks, lambda observation, seed: left, **options)\n"
    )
    mine = [
        "--environment",
        "my_world:MyEnv",
        "--expert",
        "my_world:demonstrate",
        "--environment_options",
        "max_steps=2",
    ]
    with pytest.raises(SystemExit, match="1"):
        run("demos", *mine, "--output", "demos.jsonl")
    assert "--keep_lost writes episodes as they are" in capsys.readouterr().err
    run("demos", *mine, "--keep-lost", "--output", "demos.jsonl")
    steps = [json.loads(line) for line in (tmp_path / "demos.jsonl").read_text().splitlines()]
    assert {step["completion"][0]["content"] for step in steps} == {"left"}
    assert capsys.readouterr().out == f"{len(steps)} steps in demos.jsonl\n"
