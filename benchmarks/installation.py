"""Disk and time of an installation in an empty virtual environment, downloads left out.

    python benchmarks/installation.py --json benchmarks/results/installation.json

The packages are downloaded first, so the seconds are those of unpacking and compiling. An installation without a GPU is
measured: torch is the CPU build, from the index that README names. `--torch-index ""` takes pip's own index.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from provenance import provenance

ROOT = Path(__file__).parents[1]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def num_bytes(folder: Path) -> int:
    """Return the size of all files below a folder."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-index", default=CPU_INDEX, help="index with the CPU build of torch")
    parser.add_argument("--torch", default="torch", help="requirement of torch")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    origin = provenance("torch", "transformers", "trl")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheels, environment = folder / "wheels", folder / "environment"
        pip = [sys.executable, "-m", "pip"]
        index = ["--extra-index-url", arguments.torch_index] if arguments.torch_index else []
        download = [*pip, "wheel", "--quiet", "--wheel-dir", str(wheels), *index]
        subprocess.run([*download, arguments.torch, f"{ROOT}[view]"], check=True)  # together, or torch comes twice
        venv.create(environment, with_pip=True)
        before, began = num_bytes(environment), time.monotonic()
        install = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-index"]
        subprocess.run([*install, "--find-links", str(wheels), "trl_3spo[view]"], check=True)
        seconds = time.monotonic() - began
        record = origin | {
            "seconds": round(seconds),
            "download_megabytes": round(num_bytes(wheels) / 1e6),
            "disk_megabytes": round((num_bytes(environment) - before) / 1e6),
        }
    arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
