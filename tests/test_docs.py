"""Code in README and docs runs as it stands there."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCKS = {
    str(path.relative_to(ROOT)): re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    for path in PAGES
}
EXTRAS = {"docs/adapters/openenv.md": "openenv"}
"""What a page needs that not every installation has."""
WALKTHROUGHS = ("docs/sft_to_hub.md", "docs/why_did_it_fail.md")
"""Pages that hold whole scripts, which tests/test_walkthroughs.py runs in a short form."""


@pytest.mark.parametrize("page", [name for name, blocks in BLOCKS.items() if blocks and name not in WALKTHROUGHS])
def test_code_blocks_run(page, tmp_path, monkeypatch):
    """One after the other, each with the names of those before it, as a reader would run them."""
    if page in EXTRAS:
        pytest.importorskip(EXTRAS[page])
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "documentation"}
    for number, block in enumerate(BLOCKS[page], 1):
        exec(compile(block, f"{page}, block {number}", "exec"), names)
    if page == "README.md":
        assert names["after"] > names["before"] + 0.5, "README says that its first run learns."


def test_there_is_code_to_run():
    assert sum(map(len, BLOCKS.values())) >= 3


LINKED = (*PAGES, ROOT / "CHANGELOG.md", *(ROOT / "benchmarks").glob("*.md"))


def anchors_of(path):
    """Return the anchors of a page's headings, as GitHub makes them."""
    tokens = MarkdownIt().parse(path.read_text(encoding="utf-8"))
    headings = [after.content for before, after in pairwise(tokens) if before.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links_of(path):
    """Return the targets of a page's links and images."""
    blocks = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    children = [child for block in blocks for child in block.children or ()]
    return [
        child.attrs.get("href") or child.attrs.get("src") for child in children if child.type in {"link_open", "image"}
    ]


@pytest.mark.parametrize("path", LINKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path):
    for link in links_of(path):
        if link.startswith(("https:", "http:")):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), f"There is no {target.name}: {link}"
        assert not anchor or anchor in anchors_of(target), f"{target.name} has no heading #{anchor}"


def test_the_first_world_takes_at_most_fifty_lines_of_code():
    block = BLOCKS["docs/own_environment.md"][0]
    assert len([line for line in block.splitlines() if line.strip()]) <= 50
