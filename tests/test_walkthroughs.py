"""The pages of the walk-throughs show their scripts and what these printed, and the scripts run."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from view_runs import small_run

from hub_stand_in import environment, hub_stand_in

ROOT = Path(__file__).parents[1]
RESULT = json.loads((ROOT / "benchmarks" / "results" / "walkthroughs.json").read_text(encoding="utf-8"))
PAGES = ("sft_to_hub", "why_did_it_fail")


def blocks(name, language):
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", page)


def lines(texts):
    return [line for text in texts for line in text.splitlines() if line.strip()]


def run(name, *arguments, **variables):
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *map(str, arguments)]
    variables = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.parametrize("name", PAGES)
def test_a_page_holds_the_whole_script(name):
    script = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    docstring = ast.parse(script).body[0]
    assert lines(blocks(name, "python")) == lines(script.splitlines()[docstring.end_lineno :])


@pytest.mark.parametrize("name", PAGES)
def test_a_page_holds_the_whole_output_of_its_script(name):
    assert lines(blocks(name, "text")) == lines(RESULT[name]["output"])


def test_the_evaluation_with_more_steps_is_quoted():
    (quoted,) = blocks("why_did_it_fail", "json")
    assert quoted in "\n".join(RESULT["more_steps"]["output"])


@pytest.mark.parametrize(("name", "command"), [(name, name) for name in PAGES] + [("why_did_it_fail", "more_steps")])
def test_a_page_names_the_commands(name, command):
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8").replace("\\\n", " ")
    assert RESULT[command]["command"] in " ".join(page.split())


def test_the_committed_run_learned():
    (row,) = [line for line in RESULT["sft_to_hub"]["output"] if line.startswith("all ")]
    (_, high), (low, _) = re.findall(r"\((\d+)% to (\d+)%\)", row)
    assert int(low) > int(high), "after 3SPO against after SFT"


@pytest.mark.slow
def test_the_scripts_run(tmp_path):
    folder = tmp_path / "tiny"
    with hub_stand_in() as hub:
        variables = environment(hub, tmp_path / "home")
        printed = run("sft_to_hub", "--share", 0.05, "--demonstrations", 40, "--output_dir", folder, **variables).stdout
        assert {"README.md", "model.safetensors", "policy.json"} <= set(hub.files("somebody/tiny"))
    assert len(re.findall(r"(?m)^\w+( +\d+% \(\d+% to \d+%\)){2}$", printed)) == 7, "all games, and six kinds of them"
    assert "somebody/tiny has the success rate " in printed
    assert "After step 1, " in run("why_did_it_fail", folder).stdout


def test_without_the_hub_nothing_is_pushed(capsys):
    class Config:
        output_dir = "runs/mine"

    (push,) = [block for block in blocks("sft_to_hub", "python") if block.startswith("try:")]
    exec(push, {"HfApi": HfApi, "config": Config})  # as anywhere in these tests, the Hub is offline
    assert re.fullmatch(r"Not pushed, .* access to the Hub \(\w+\): see runs/mine\.\n", capsys.readouterr().out)


def test_a_run_without_failures_says_so(tmp_path):
    done = run("why_did_it_fail", small_run(tmp_path))
    assert "After step 10, 0 of 1 episodes failed" in done.stdout
    assert "No episode of the last evaluation failed." in done.stderr
