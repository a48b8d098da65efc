"""Fuzz every reader of completions and every step, guided by coverage.

    pip install atheris
    nice -n 19 python benchmarks/fuzz.py --minutes 10 --json FILE

Begins with the texts of tests/corpus and changes them, keeping those that reach new code. Each input is read in every
way and taken as an action in five environments (`fuzz_targets.py`). What raises is counted, and the first ten inputs
are written down; the run goes on. Found inputs belong into tests/corpus.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from provenance import provenance

try:
    import atheris
except ImportError:
    sys.exit("benchmarks/fuzz.py needs atheris, which no extra brings: pip install atheris")

with atheris.instrument_imports(include=["trl_3spo"]):
    import fuzz_targets

CORPUS = Path(__file__).parents[1] / "tests" / "corpus"
MAX_BYTES = 4096
MAX_SHOWN = 10


class Fuzzer:
    """Counts what is tried and what raises, until the time is over.

    Args:
        seconds: To go on for.
        file: To write the result to.
    """

    def __init__(self, seconds: float, file: Path) -> None:
        self.players = fuzz_targets.make_players()
        self.file = file
        self.counts = {"inputs": 0, "completions_read": 0, "steps": 0, "raised": 0}
        self.shown: list[dict[str, str]] = []
        self.begin = time.monotonic()
        self.end = self.begin + seconds

    def __call__(self, data: bytes) -> None:
        """Try one input."""
        text = data.decode("utf-8", "surrogateescape")
        self.counts["inputs"] += 1
        try:
            self.counts["completions_read"] += fuzz_targets.read(text)
            self.counts["steps"] += fuzz_targets.play(self.players, text)
        except Exception:
            self._note(data)
        if time.monotonic() > self.end:
            self._finish()

    def _note(self, data: bytes) -> None:
        self.counts["raised"] += 1
        if len(self.shown) < MAX_SHOWN:
            self.shown.append({"input": data.hex(), "raised": ascii(traceback.format_exc(limit=-3))})
        for player in self.players.values():
            player.moment = None

    def _finish(self) -> None:
        # libFuzzer never returns.
        seconds = time.monotonic() - self.begin
        episodes = {name: player.num_episodes for name, player in self.players.items()}
        result: dict[str, Any] = self.counts | {"examples": self.shown, "episodes": episodes, "seconds": round(seconds)}
        result |= {"corpus": len(list(CORPUS.glob("*.txt"))), **provenance("atheris")}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(json.dumps(self.counts), flush=True)
        os._exit(1 if self.counts["raised"] else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--json", type=Path, required=True, help="file to write the result to")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    fuzzer = Fuzzer(60 * arguments.minutes, arguments.json)
    # New inputs go to the first folder.
    options = [tempfile.mkdtemp(prefix="fuzz_"), str(CORPUS), f"-max_len={MAX_BYTES}", f"-seed={arguments.seed}"]
    atheris.Setup([sys.argv[0], *options, "-verbosity=0"], fuzzer)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
