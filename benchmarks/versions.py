"""Run the tests of what other libraries decide, and record with which versions of them they passed.

    make test-oldest     # the oldest versions that setup.cfg admits
    make test-newest     # the newest that pip finds, with torch's CPU build

Each in an environment of its own, and then: python benchmarks/versions.py --json FILE
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from provenance import provenance

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "transformers", "trl", "accelerate", "peft", "datasets", "numpy", "tokenizers", "huggingface_hub")
TESTS = (
    "adapters",
    "checkpoints",
    "docs",
    "exact_resume",
    "grpo_options",
    "prefix_route",
    "prefix_sharing_trainer",
    "ranks",
    "shared_generation",
    "shared_prefix",
    "start_checks",
    "train",
    "trl_contract",
    "vllm",
)
"""Tests that train, generate, save or look at what TRL and transformers have; the rest is this package's own."""


class Counts:
    """A plugin of pytest that counts outcomes."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.outcome] += 1
        if report.outcome == "failed":
            self.failed.append(report.nodeid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    os.chdir(ROOT)
    counts, began = Counts(), time.perf_counter()
    files = [f"tests/test_{name}.py" for name in TESTS]
    code = pytest.main(["-q", f"--numprocesses={arguments.workers}", "--dist=worksteal", *files], plugins=[counts])
    result = provenance(*PACKAGES) | {
        "outcomes": dict(counts.outcomes),
        "failed": counts.failed,
        "minutes": round((time.perf_counter() - began) / 60, 1),
    }
    print(json.dumps(result, indent=2))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.exit(int(code))


if __name__ == "__main__":
    main()
