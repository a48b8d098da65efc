import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import trl_3spo

ROOT = Path(__file__).parents[1]
TORCH_FREE = [
    "algorithm.three_spo",
    "baselines.step_po",
    "environments.adapters.gymnasium",
    "environments.adapters.openenv",
    "environments.adapters.replay",
    "environments.adapters.tool_environment",
    "environments.alfworld",
    "environments.corridor",
    "environments.webshop",
    "evaluation",
    "recording.results",
    "view.page",
    "testing",
]
PINS = ["constraints.txt", "requirements-openenv.txt", "requirements-textworld.txt"]
HEAVY = ["accelerate", "datasets", "gymnasium", "openenv", "peft", "torch", "transformers", "trl"]


@pytest.fixture(scope="module")
def setup_cfg():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def requirements(text):
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [Requirement(line) for line in lines if line]


def pins(name):
    found = requirements((ROOT / name).read_text(encoding="utf-8"))
    return {canonicalize_name(pin.name): pin for pin in found}


def test_environments_and_search_load_no_torch():
    names = ", ".join(f"trl_3spo.{name}" for name in TORCH_FREE)
    program = f"import sys, {names}; print(sorted(sys.modules.keys() & {HEAVY!r}))"
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


def test_trainer_and_config_are_loaded_on_first_use():
    homes = {name: getattr(trl_3spo, name).__module__ for name in trl_3spo.__all__ if name != "__version__"}
    assert homes == trl_3spo._HOMES
    assert homes["ThreeSPOTrainer"] == "trl_3spo.three_spo_trainer"


def test_every_requirement_has_a_tested_version_within_its_range(setup_cfg):
    texts = [setup_cfg["options"]["install_requires"], *setup_cfg["options.extras_require"].values()]
    tested = {name: pin for file in PINS for name, pin in pins(file).items()}
    for requirement in requirements("\n".join(texts)):
        [pin] = tested[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(pin.version), f"{requirement} but {pin} in the pins"


def test_the_oldest_version_of_a_range_is_tested(setup_cfg):
    """But for torch, of which only one version comes without CUDA, and TRL, of which there is one."""
    oldest = pins("constraints-oldest.txt")
    for requirement in requirements(setup_cfg["options"]["install_requires"]):
        lowest = [x.version for x in requirement.specifier if x.operator == ">="]
        if lowest and requirement.name not in ("torch", "trl"):
            [pin] = oldest[canonicalize_name(requirement.name)].specifier
            assert Version(pin.version) == Version(lowest[0]), f"{requirement} but {pin} in constraints-oldest.txt"


@pytest.mark.parametrize("name", [*PINS, "constraints-oldest.txt", "requirements-deepspeed.txt"])
def test_pins_are_exact_and_from_an_index(name):
    for pin in pins(name).values():
        assert pin.url is None
        assert [specifier.operator for specifier in pin.specifier] == ["=="], str(pin)
        assert "+" not in str(pin), "a local version is on no index"


def test_no_package_is_pinned_twice():
    names = [name for file in PINS for name in pins(file)]
    assert len(set(names)) == len(names)


def test_the_extras_are_those_of_the_documentation(setup_cfg):
    assert {"alfworld", "openenv", "webshop", "qlora", "test", "dev"} <= set(setup_cfg["options.extras_require"])


def test_data_files_are_installed(setup_cfg):
    patterns = " ".join(setup_cfg["options.package_data"].values()).replace(",", " ").split()
    package = ROOT / "trl_3spo"
    data = [path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    missing = [str(path) for path in data if not any(path.match(pattern) for pattern in patterns)]
    assert not missing, "name them under [options.package_data]"


def test_pre_commit_runs_what_make_lint_runs():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[1]
    hooks = re.findall(r"entry: ([^,]+),", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert hooks == [line.strip() for line in recipe.splitlines()]


def test_pyproject_holds_the_build_backend_only():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r"^\[.*\]", text, re.MULTILINE) == ["[build-system]"]
