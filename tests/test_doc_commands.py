"""Commands in README, docs and benchmarks/README.md name programs, targets and options that exist.

docs/quickstart.md is run as a whole by test_quickstart.py; most others take minutes or hours, or a GPU.
"""

import re
import shlex
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from trl import ModelConfig

from trl_3spo import cli
from trl_3spo.cli.config import FOLDER
from trl_3spo.cli.settings_file import require_known
from trl_3spo.cli.train import METHODS, TrainArguments

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*/README.md")))


def commands_of(path):
    """Return the commands of a page as lists of words: the lines of blocks that are no Python and no data."""
    blocks = MarkdownIt().parse(path.read_text(encoding="utf-8"))
    texts = [
        x.content for x in blocks if x.type == "code_block" or (x.type == "fence" and x.info in ("", "bash", "sh"))
    ]
    lines = [line.strip() for text in texts for line in text.replace("\\\n", " ").splitlines()]
    starts = ("trl-3spo ", "python ", "make ", "accelerate launch ")
    # What stands after two blanks is an explanation, and after > a file.
    return [
        shlex.split(re.split(r"\s{2,}| > ", x)[0], comments=True)
        for x in lines
        if x.startswith(starts) and "$" not in x
    ]


COMMANDS = [
    pytest.param(command, id=f"{path.relative_to(ROOT)}: {' '.join(command)[:60]}")
    for path in PAGES
    for command in commands_of(path)
]


def options_of(words):
    return [word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)]


def check_trl_3spo(words):
    if words[0] == "train":
        method = words[words.index("--method") + 1] if "--method" in words else "3spo"
        arguments = [word for word in cli.underscored(words[1:]) if word != "--help"]
        require_known(arguments, {}, [TrainArguments, METHODS[method][1], ModelConfig])
    elif words != ["--help"]:
        options = cli._parser().parse_args(cli.underscored(words))
        if words[0] == "config" and options.name not in (None, "NAME"):
            assert (FOLDER / f"{options.name}.yaml").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_what_exists(command):
    program, *words = command
    if program == "make":
        targets = re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"))
        assert {word for word in words if "=" not in word} <= set(targets)
    elif program == "trl-3spo":
        check_trl_3spo(words)
    elif program == "python" and words[0] != "-m":
        source = (ROOT / words[0]).read_text(encoding="utf-8")
        shared = (ROOT / "examples" / "tiny_agents.py").read_text(encoding="utf-8")
        for option in options_of(words):
            assert f'"{option}"' in source + shared * ("tiny_agents" in source), f"{words[0]} has no {option}"


def test_there_are_commands():
    assert len(COMMANDS) > 60
