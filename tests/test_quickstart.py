"""Every command of docs/quickstart.md is run, in its order, in a process for which a stand-in is the Hub."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hub_stand_in import environment, hub_stand_in

ROOT = Path(__file__).parents[1]
COMMANDS = re.findall(
    r"^    trl-3spo (.+)$", (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8"), re.MULTILINE
)

RUN = """
import io, json, shlex, sys
from trl_3spo import cli
for command in json.loads(sys.argv[1]):
    print("$", command, flush=True)
    sys.stdin = io.StringIO(":prompt\\n1\\n:quit\\n")
    cli.main(shlex.split(command))
"""


def shortened(command):
    """Return a command with fewer updates and episodes, so that the way is the reader's and the time is not."""
    if command.startswith("train"):
        num_steps = "3" if "--max_steps 18" in command else "2"
        command += f" --max_steps {num_steps} --eval_steps 1 --save_steps 1 --num_eval_tasks 6"
    return command.replace("--num_tasks 24 --num_episodes 48", "--num_tasks 6 --num_episodes 12").replace("=50", "=6")


@pytest.mark.slow
def test_the_whole_way(tmp_path):
    assert [command.split()[0] for command in COMMANDS] == [
        "play",
        "train",
        "train",
        "evaluate",
        "view",
        "train",
        "evaluate",
    ]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    with hub_stand_in() as hub:
        variables = os.environ | environment(hub, tmp_path / "home")
        variables["PYTHONPATH"] = str(ROOT)
        done = subprocess.run(
            [sys.executable, "-c", RUN, json.dumps([shortened(command) for command in COMMANDS])],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert "[user]" in done.stdout
        assert {"README.md", "model.safetensors", "policy.json", "results.json"} <= set(hub.files("me/quickstart"))
    run = tmp_path / "runs" / "quickstart"
    assert "<html" in (run / "view.html").read_text(encoding="utf-8")
    assert json.loads((run / "results.json").read_text())["step"] == 3
    first = json.loads((run / "evaluation" / "results.json").read_text())
    assert first["success"]["num_episodes"] == 12
    assert first["settings"]["environment"].endswith("AlfworldEnv")
    assert first["malformed_share"] < 0.2
    assert (tmp_path / "runs" / "me--quickstart" / "evaluation" / "results.json").exists()
