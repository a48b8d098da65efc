"""Draw and print what an update with a search tree costs over the distinct tokens of the tree.

    python benchmarks/tree_costs.py benchmarks/results/throughput_tree_*.json --plot docs/tree_costs.png

The files are those of `throughput.py --tree`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from throughput_tree import SIZES
from tree_walks import draw_walks, num_distinct, rows_of, starts_of

MILLISECONDS = 0.7
"""Per token, of the line to compare with."""


def cells_of(files: list[Path]) -> list[dict[str, Any]]:
    """Return the measured trees, each with its number of distinct tokens, smallest first."""
    contents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    cells = [cell for content in contents for cell in content.get("cells", [content])]
    return sorted((cell | {"tokens": num_tokens(cell)} for cell in cells), key=lambda cell: int(cell["tokens"]))


def num_tokens(cell: dict[str, int]) -> int:
    """Return how many distinct tokens a tree of a cell's sizes has."""
    steps, branches, new_tokens = (cell[name] for name in SIZES)
    answer, starts = new_tokens // 3, starts_of(steps, branches)
    return num_distinct(rows_of(draw_walks(starts, steps, new_tokens - answer, answer, seed=0), starts))


def draw(cells: list[dict[str, Any]], image: Path) -> None:
    """Draw the seconds of an update over the distinct tokens, both logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.4, 3.6), layout="constrained")
    for branches, marker in zip(sorted({cell["branches"] for cell in cells}), "osD^v", strict=False):
        points = [(cell["tokens"], cell["update_seconds"]) for cell in cells if cell["branches"] == branches]
        axes.plot(*zip(*points, strict=True), marker, label=f"{branches} walk{'s' * (branches > 1)}")
    label = f"{MILLISECONDS} ms a token"
    axes.axline((1000, MILLISECONDS), slope=1, color="gray", linewidth=1, label=label)
    axes.set(xlabel="distinct tokens of a tree", ylabel="seconds of an update", xscale="log", yscale="log")
    axes.legend(frameon=False)
    figure.savefig(image, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--plot", type=Path, required=True, help="file to draw to")
    arguments = parser.parse_args()
    cells = cells_of(arguments.results)
    for cell in cells:
        each = 1000 * cell["update_seconds"] / cell["tokens"]
        sizes = f"{cell['steps']} steps, {cell['branches']} walks, {cell['new_tokens']} tokens a step"
        print(f"{sizes}: {cell['tokens']:,} tokens, {cell['update_seconds']:.2f} s, {each:.2f} ms a token")
    draw(cells, arguments.plot)


if __name__ == "__main__":
    main()
