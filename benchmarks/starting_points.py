"""Other starting points of the comparison than the demo's, which has learned to play and then to hesitate.

    python benchmarks/starting_points.py            # all, two hours
    python benchmarks/starting_points.py webshop_sparse

    few       imitation of few demonstrations: it does its best, and has not learned enough
    sparse    hesitates so much that it hardly ever succeeds
    large     in the worlds of `large_worlds.py`; hesitates as the demo's does

They are written to `runs/starting_points` and not kept in the repository. Runs name the digest of the weights that they
began with.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "examples"))
import alfworld_warm_start  # noqa: E402
import large_worlds  # noqa: E402
import webshop_warm_start  # noqa: E402
from imitation import Lessons, Phase, demonstrations, imitate, teach  # noqa: E402
from small_alfworld import ALFWORLD  # noqa: E402
from small_webshop import WEBSHOP  # noqa: E402

FOLDER = ROOT / "runs" / "starting_points"
LESSONS = {"alfworld": alfworld_warm_start.LESSONS, "webshop": webshop_warm_start.LESSONS}
FEW: dict[str, Sequence[Phase]] = {
    "alfworld": [
        replace(alfworld_warm_start.PHASES[0], num_tasks=2000),
        replace(alfworld_warm_start.PHASES[1], num_tasks=2000),
    ],
    "webshop": webshop_warm_start.PHASES[:2],
}
SPARSE = {
    "alfworld": Phase(seed=20, num_tasks=350, learning_rate=5e-4, noise=0.8, demonstrates_noise=True),
    "webshop": Phase(seed=20, num_tasks=350, learning_rate=5e-4, noise=0.6, demonstrates_noise=True),
}
POINTS = (*(f"{world}_{kind}" for world in LESSONS for kind in ("few", "sparse")), *large_worlds.LESSONS)
WORLDS = {"alfworld": ALFWORLD, "webshop": WEBSHOP} | large_worlds.WORLDS
WORLDS |= {
    point: replace(WORLDS.get(point, WORLDS[point.partition("_")[0]]), warm_start=FOLDER / point) for point in POINTS
}


def digest(folder: Path) -> str:
    """Return what tells the weights in a folder from others."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:12]


def hesitate(lessons: Lessons, start: Path, folder: Path, phase: Phase) -> None:
    """Let a saved model imitate one phase more and save it elsewhere."""
    model = AutoModelForCausalLM.from_pretrained(start, dtype="float32")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(start)
    imitate(model, tokenizer, demonstrations(lessons, phase, 1.0), str(folder), phase)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("points", nargs="*", default=POINTS, metavar="POINT", help=f"of {', '.join(POINTS)}")
    for point in parser.parse_args().points:
        world, _, kind = point.partition("_")
        if point in large_worlds.LESSONS:
            teach(large_worlds.LESSONS[point], str(FOLDER / point), 1.0)
        elif kind == "few":
            teach(replace(LESSONS[world], phases=FEW[world]), str(FOLDER / point), 1.0)
        else:
            hesitate(LESSONS[world], ROOT / "examples" / "warm_start" / world, FOLDER / point, SPARSE[world])
        print(f"{point}: {digest(FOLDER / point)}", flush=True)


if __name__ == "__main__":
    main()
