"""Code in README and docs runs as it stands there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCKS = {
    str(path.relative_to(ROOT)): re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    for path in PAGES
}
EXTRAS = {"docs/adapters/openenv.md": "openenv"}
"""What a page needs that not every installation has."""


@pytest.mark.parametrize("page", [name for name, blocks in BLOCKS.items() if blocks])
def test_code_blocks_run(page, tmp_path, monkeypatch):
    """One after the other, each with the names of those before it, as a reader would run them."""
    if page in EXTRAS:
        pytest.importorskip(EXTRAS[page])
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "documentation"}
    for number, block in enumerate(BLOCKS[page], 1):
        exec(compile(block, f"{page}, block {number}", "exec"), names)


def test_there_is_code_to_run():
    assert sum(map(len, BLOCKS.values())) >= 3


def test_relative_links_lead_somewhere():
    for path in (*PAGES, *(ROOT / "benchmarks").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_first_world_takes_at_most_fifty_lines_of_code():
    block = BLOCKS["docs/own_environment.md"][0]
    assert len([line for line in block.splitlines() if line.strip()]) <= 50
