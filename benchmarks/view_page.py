"""How the page of `trl-3spo view` bears a large run: seconds until it is ready, in headless Chromium and offline.

    python benchmarks/view_page.py --nodes 10000 --json benchmarks/results/view_page.json

The runs are made up: one of trees of 2,500 nodes, and one of a single tree. Every node has an answer and an
observation of its own. Loading ends when the page has drawn its first tree; medians of five loads, each in a fresh
page. A key press moves through a tree that is opened all the way down, near its end, with the episode beside it;
medians of the mean of 20.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import browser
from provenance import provenance
from view_runs import large_run

from trl_3spo.view.page import write_page

REPEATS = 5
KEYS = 20


def measure(num_nodes: int) -> dict[str, object]:
    """Return what the page of a run with so many nodes takes."""
    with tempfile.TemporaryDirectory() as folder, browser.browser() as running:
        found: dict[str, object] = {"nodes": num_nodes}
        for name, size in {"": min(2500, num_nodes), "one_tree_": num_nodes}.items():
            run = large_run(Path(folder) / f"run-{size}-{name}", num_nodes, size)
            file = Path(folder) / f"{size}.html"
            began = time.perf_counter()
            write_page([run], file)
            found[f"{name}write_seconds"] = round(time.perf_counter() - began, 3)
            loads, presses, complaints = zip(*(_load(running, file) for _ in range(REPEATS)), strict=True)
            found[f"{name}load_seconds"] = round(statistics.median(loads), 3)
            found[f"{name}key_seconds"] = round(statistics.median(presses), 4)
            found[f"{name}console_errors"] = sum(map(len, complaints))
            found[f"{name}bytes"] = file.stat().st_size
        return found | {"chromium": running.version}


def _load(running: object, file: Path) -> tuple[float, float, list[str]]:
    began = time.perf_counter()
    with browser.opened(running, file) as (page, complaints):
        seconds = time.perf_counter() - began
        page.get_by_role("button", name="Open all").click()
        page.get_by_role("tree").focus()
        page.keyboard.press("End")
        began = time.perf_counter()
        for _ in range(KEYS):
            page.keyboard.press("ArrowUp")
        return seconds, (time.perf_counter() - began) / KEYS, list(complaints)


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    result = measure(options.nodes) | {"repeats": REPEATS} | provenance("playwright", "pygal")
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
