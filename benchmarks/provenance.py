"""What a committed result says of its origin."""

import importlib.metadata
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from trl_3spo import __version__


def provenance(*packages: str) -> dict[str, Any]:
    """Return command, commit (`+` after it where files have changed since) and versions."""
    git = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "commit": head + ("+" if changed else ""),
        "versions": {"trl_3spo": __version__, "python": platform.python_version(), **versions},
    }
