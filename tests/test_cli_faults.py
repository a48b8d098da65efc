"""What the command line must not do: run a file by accident, call what is no environment, overwrite a model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from trl_3spo import cli
from trl_3spo.cli.names import make_environment
from trl_3spo.cli.train import make_trainer, parse
from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.environments.webshop import WebShopEnv

ROOT = Path(__file__).parents[1]
CORRIDOR = "trl_3spo.environments.corridor:CorridorEnv"
CPU = ["--use_cpu", "--bf16", "false"]
MARK = "from pathlib import Path\nPath('executed').touch()\n"
MINE = """
from __future__ import annotations
import functools
import pathlib
import typing
from trl_3spo.environments.base import Environment
from trl_3spo.environments.corridor import CorridorEnv

def silent(): pathlib.Path("called").touch()
def lying() -> str: pathlib.Path("called").touch()
def unknown() -> Nowhere: pathlib.Path("called").touch()
def make(length: int = 3) -> Environment: return CorridorEnv(length)
def broken() -> Environment: return 1
short = functools.partial(CorridorEnv, length=3)
ready = CorridorEnv()

class Mine(CorridorEnv):
    @classmethod
    def made(cls, length: int) -> typing.Self: return cls(length)
    @classmethod
    def text(cls) -> str: pathlib.Path("called").touch()
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a module of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    (tmp_path / "mine.py").write_text(MINE)
    yield tmp_path
    sys.modules.pop("mine", None)


# -- files in the working directory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["datasets", "numpy", "regex"])
def test_a_file_here_does_not_stand_in_for_a_package(tmp_path, name):
    (tmp_path / f"{name}.py").write_text(MARK)
    demos = ["demos", "--environment_options", "generated=1", "--output", "demos.jsonl"]
    code = f"from trl_3spo.cli import main; main({demos})"
    # -P: as the console script, which does not look here by itself.
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "demos.jsonl").exists()
    assert not (tmp_path / "executed").exists()


# -- what a name may stand for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "length"),
    [
        ("mine:Mine", ["length=4"], 4),
        ("mine:Mine.made", {"length": 4}, 4),
        ("mine:make", [], 3),
        ("mine:make", {"length": 5}, 5),
        ("mine:make", [{"length": 5}, "length=6"], 6),
        ("mine:make", "length=7", 7),
        ("mine:short", [], 3),
    ],
)
def test_classes_and_annotated_functions_make_environments(here, name, options, length):
    env = make_environment(name, options)
    assert isinstance(env, CorridorEnv)
    assert len(env.tasks()) == len(CorridorEnv(length).tasks())


def test_the_packages_own_can_be_named():
    assert isinstance(make_environment("trl_3spo.environments.webshop:WebShopEnv.from_files", []), WebShopEnv)
    assert isinstance(make_environment("trl_3spo.environments.alfworld:AlfworldEnv", {"generated": 1}), AlfworldEnv)


@pytest.mark.parametrize(
    "name",
    [
        "mine:silent",
        "mine:lying",
        "mine:unknown",
        "mine:Mine.text",
        "mine:ready",
        "mine:MARK",
        "os:getcwd",
        "shutil:rmtree",
    ],
)
def test_nothing_else_is_called(here, name):
    with pytest.raises(ValueError, match=r"was not called|There is no mine:MARK"):
        make_environment(name, [])
    assert not (here / "called").exists()


def test_a_function_that_does_not_keep_its_word_is_named(here):
    with pytest.raises(ValueError, match="mine:broken made a int; an Environment is required"):
        make_environment("mine:broken", [])


@pytest.mark.parametrize("options", [5, [5], [None], {1: 2}, None, ["length"]])
def test_options_of_another_form_are_told_in_a_sentence(options):
    with pytest.raises(ValueError, match=r"required|keywords must be strings"):
        make_environment(CORRIDOR, options)


@pytest.mark.parametrize("expert", ["os:getcwd", "builtins:print", "mine:silent", "mine:ready"])
def test_what_is_no_expert_is_not_called(here, capsys, expert):
    with pytest.raises(SystemExit, match="1"):
        cli.main(["demos", "--environment", CORRIDOR, "--expert", expert, "--output", "demos.jsonl"])
    assert f"{expert} is no expert and was not called" in capsys.readouterr().err
    assert not (here / "called").exists()


def test_a_file_may_have_a_mapping_as_options(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"environment": CORRIDOR, "environment_options": {"length": 5}}))
    script, _, _ = parse(["--config", str(file), "--output_dir", str(tmp_path), *CPU])
    assert len(script.make_environment().tasks()) == len(CorridorEnv(5).tasks())
    file.write_text(yaml.safe_dump({"tiny_environment": CORRIDOR, "tiny_environment_options": {"length": 4}}))
    script, _, _ = parse(["--config", str(file), "--output_dir", str(tmp_path), "--tiny"])
    assert len(script.make_environment().tasks()) == len(CorridorEnv(4).tasks())


# -- where a trial goes ------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path):
    """A configuration, and the folder of the model trained with it."""
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("the trained model")
    file = tmp_path / "mine.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "environment": CORRIDOR,
                "output_dir": str(folder),
                "environment_options": ["length=3"],
                "push_to_hub": True,
            }
        )
    )
    return file, folder


def test_a_trial_leaves_the_folder_of_the_configuration_alone(trained):
    file, folder = trained
    cli.main(["train", "--config", str(file), "--tiny", "--max_steps", "1"])
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("model.safetensors", "the trained model")]
    assert (folder.parent / "mine-tiny" / "config.json").exists()


def test_nor_does_it_overwrite_a_model_in_a_folder_that_is_given(trained, capsys):
    file, folder = trained
    for option in (["--output_dir", str(folder)], [f"--output-dir={folder}"]):
        with pytest.raises(SystemExit, match="1"):
            cli.main(["train", "--config", str(file), "--tiny", *option])
        assert "--tiny would overwrite what is in" in capsys.readouterr().err
    assert (folder / "model.safetensors").read_text() == "the trained model"


def test_a_trial_may_overwrite_a_trial_and_uploads_nothing(trained, tmp_path):
    file, _ = trained
    (tmp_path / "trial" / "tiny").mkdir(parents=True)
    (tmp_path / "trial" / "model.safetensors").write_text("of a trial")
    parsed = parse(["--config", str(file), "--tiny", "--output_dir", str(tmp_path / "trial")])
    assert parsed[1].output_dir == str(tmp_path / "trial")
    assert not parsed[1].push_to_hub
    assert make_trainer(*parsed).args.output_dir == str(tmp_path / "trial")
