"""Measure the architecture of the package against its goals.

    python benchmarks/house.py --json benchmarks/results/house.json

Everything is read off the source (`house_counts.py`), but for complexity, which is ruff's C901, and three rows that
import the package: hooks of GRPOTrainer, classes above it, and options. Lines of files are all their lines; lines of a
function's body leave out docstring, comments and blank lines. An import circle is a strongly connected component of the
graph of modules. The imports that an import makes of the packages around a module are left out of it.
"""

import argparse
import configparser
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from house_counts import (
    body_lengths,
    circles,
    imports_of,
    layer_ranks,
    num_lines,
    own_imports,
    percentile,
    trainer_methods,
    upward_imports,
)
from provenance import provenance
from trl import GRPOTrainer

from trl_3spo.three_spo_config import ThreeSPOConfig
from trl_3spo.three_spo_trainer import ThreeSPOTrainer
from trl_3spo.training.agent_config import AgentConfig

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "trl_3spo"
CORE = ("algorithm", "training", "three_spo_trainer.py", "three_spo_config.py")
"""3SPO and its seam with TRL."""

TABULAR_LINES = 241
"""Lines of benchmarks/tabular.py while it had loops of its own; half of them are to stay."""


@dataclass(frozen=True)
class Measure:
    """One row of the table.

    Args:
        name: What is measured.
        target: Most that it may be, None where there is no goal.
        value: What it is.
        detail: Names of what was counted, or of what is largest.
    """

    name: str
    target: int | None
    value: float
    detail: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool | None:
        """Whether the goal is reached, None where there is none."""
        return None if self.target is None else self.value <= self.target

    def record(self) -> dict[str, Any]:
        """Return the row of the JSON file."""
        row = {"measure": self.name, "target": self.target, "value": self.value, "holds": self.holds}
        return row | {"detail": self.detail}

    def cells(self) -> str:
        """Return the row of the table."""
        verdict = {None: "", True: "yes", False: "no"}[self.holds]
        return f"| {self.name} | {'' if self.target is None else f'≤ {self.target:,}'} | {self.value:,g} | {verdict} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the measures to")
    file = parser.parse_args().json
    measures = [*files(), *functions(), *classes(), *imports()]
    print("| measure | target | value | holds |\n|---|---|---|---|")
    print("\n".join(measure.cells() for measure in measures))
    record = {"measures": [measure.record() for measure in measures]} | provenance("ruff", "transformers", "trl")
    file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def files() -> list[Measure]:
    core = [x for name in CORE for x in sources(PACKAGE / name)]
    lengths = {where(x): num_lines([x]) for x in sources(PACKAGE)}
    return [
        Measure("lines of algorithm, training and the two front files", 2300, num_lines(core), list(CORE)),
        Measure("lines of the largest file", 300, max(lengths.values()), largest(lengths)),
        Measure("lines of benchmarks/tabular.py", TABULAR_LINES // 2, num_lines([ROOT / "benchmarks/tabular.py"])),
    ]


def functions() -> list[Measure]:
    lengths = {
        f"{where(file)}:{name}": length
        for file in sources(PACKAGE)
        for name, length in body_lengths(file.read_text(encoding="utf-8")).items()
    }
    tangled = complex_functions()
    return [
        Measure("lines of a function's body, median", 5, statistics.median(lengths.values())),
        Measure("lines of a function's body, 90th percentile", 13, percentile(lengths.values(), 0.9)),
        Measure("lines of a function's body, most", 40, max(lengths.values()), largest(lengths)),
        Measure("functions of a complexity above 10", 0, len(tangled), tangled),
    ]


def complex_functions() -> list[str]:
    """Return where ruff finds a cyclomatic complexity above 10, exceptions in the source not heeded."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--ignore-noqa", "--select", "C901"]
    command += ["--config", "lint.mccabe.max-complexity=10", "--output-format", "json", str(PACKAGE)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode not in (0, 1):
        raise RuntimeError(f"ruff failed: {result.stderr.strip()}. It must be installed; the dev extra has it.")
    return sorted(f"{where(Path(x['filename']))}:{x['location']['row']}" for x in json.loads(result.stdout))


def classes() -> list[Measure]:
    mro = ThreeSPOTrainer.__mro__
    between = [x.__name__ for x in mro[1 : mro.index(GRPOTrainer)] if x.__module__.startswith("trl_3spo.")]
    options = [x.name for x in fields(ThreeSPOConfig) if x.name not in {y.name for y in fields(AgentConfig)}]
    in_training, in_sharing = (hooks(PACKAGE / name) for name in ("training", "prefix_sharing"))
    return [
        Measure("hooks of GRPOTrainer overridden in training", 6, len(in_training), in_training),
        Measure("hooks of GRPOTrainer overridden in prefix_sharing", 3, len(in_sharing), in_sharing),
        Measure("own classes between GRPOTrainer and ThreeSPOTrainer", 2, len(between), between),
        Measure("options of 3SPO", 16, len(options), options),
    ]


def hooks(folder: Path) -> list[str]:
    """Return the methods of GRPOTrainer that trainers in a folder define anew."""
    methods = {name for file in sources(folder) for name in trainer_methods(file.read_text(encoding="utf-8"))}
    return sorted(name for name in methods if hasattr(GRPOTrainer, name))


def imports() -> list[Measure]:
    texts = {module_name(file): file for file in sources(PACKAGE)}
    found = {
        module: imports_of(file.read_text(encoding="utf-8"), module, is_package=file.name == "__init__.py")
        for module, file in texts.items()
    }
    at_once = {module: own_imports(x.at_once, texts) for module, x in found.items()}
    later = {module: own_imports(x.in_functions, texts) for module, x in found.items()}
    whole = {module: at_once[module] | later[module] for module in texts}
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    upward = upward_imports(whole, layer_ranks(parser["importlinter:contract:layers"]["layers"]), PACKAGE.name)
    now, ever = circles(at_once), circles(whole)
    late = sorted(f"{module} -> {other}" for module, others in later.items() for other in others)
    return [
        Measure("import circles", 0, len(now), [", ".join(x) for x in now]),
        Measure("import circles, imports within functions included", None, len(ever), [", ".join(x) for x in ever]),
        Measure("imports within functions, of the package itself", None, len(late), late),
        Measure("upward imports", 0, len(upward), upward),
    ]


def sources(path: Path) -> list[Path]:
    """Return a file itself, or all Python files below a folder."""
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def where(file: Path) -> str:
    return str(file.relative_to(ROOT))


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def largest(lengths: dict[str, int], count: int = 5) -> list[str]:
    ranked = sorted(lengths.items(), key=lambda x: (-x[1], x[0]))
    return [f"{name}: {length}" for name, length in ranked[:count]]


if __name__ == "__main__":
    main()
