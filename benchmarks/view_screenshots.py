"""The pictures of docs/viewing.md, from two short trainings in generated ALFWorld games.

python examples/demo.py --env alfworld --max-steps 24 --output-dir runs/first
python examples/demo.py --env alfworld --max-steps 8 --output-dir runs/second
python benchmarks/view_screenshots.py runs/first runs/second --output docs
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import browser
from PIL import Image

from trl_3spo.view.page import write_page

LATE = 10
"""Step from which on trees are shown: by then the history knows of states that succeed."""


def show_a_tree(page: Any) -> None:
    """Choose a late training tree of which one walk succeeded, and a step on its way."""
    page.locator("#filters [name=part]").select_option("training")
    page.locator("#filters [name=from]").fill(str(LATE))
    page.locator("[role=option]", has_text="1 of 2 solved").first.click()
    page.get_by_role("button", name="Open all").click()
    tree = page.get_by_role("tree")
    tree.focus()
    for _ in range(4):
        page.keyboard.press("ArrowDown")


def show_two_runs(page: Any) -> None:
    """Choose a task that both runs have evaluated, late in one of them."""
    page.locator("#filters [name=part]").select_option("evaluation")
    page.locator("#filters [name=from]").fill("4")
    page.locator("#list-0-0").click()
    for tree in page.get_by_role("tree").all():
        tree.press("ArrowDown")
        tree.press("ArrowDown")


def picture(running: Any, folders: list[Path], file: Path, show: Any, scheme: str, height: int) -> None:
    """Write a picture of a page."""
    with tempfile.TemporaryDirectory() as folder:
        write_page(folders, Path(folder) / "view.html")
        with browser.opened(running, Path(folder) / "view.html", color_scheme=scheme) as (page, complaints):
            page.set_viewport_size({"width": 1440, "height": height})
            show(page)
            page.screenshot(path=file, full_page=True)
            assert not complaints, complaints
    # The default method has no room for the colours of thin lines.
    octree, no_dither = Image.Quantize.FASTOCTREE, Image.Dither.NONE
    Image.open(file).convert("RGB").quantize(256, method=octree, dither=no_dither).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1e3:.0f} kB")


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs=2)
    parser.add_argument("--output", type=Path, default=Path("docs"))
    options = parser.parse_args()
    with browser.browser() as running:
        picture(running, options.runs[:1], options.output / "view.png", show_a_tree, "light", 950)
        picture(running, options.runs, options.output / "view_two.png", show_two_runs, "dark", 950)


if __name__ == "__main__":
    main()
