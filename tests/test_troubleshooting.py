"""The messages that docs/troubleshooting.md explains are messages of the package."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"
PLACEHOLDER = re.compile(r"%\.?\d*[a-z]")


def text(node: ast.AST) -> str | None:
    """Return a string of the source with … in the place of its values, or None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return PLACEHOLDER.sub("…", node.value).replace("%%", "%")
    if isinstance(node, ast.JoinedStr):
        return "".join(str(x.value) if isinstance(x, ast.Constant) else "…" for x in node.values)
    return None


def sources() -> Iterator[str]:
    for file in (ROOT / "trl_3spo").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (found := text(node)) is not None:
                yield found


def test_every_message_of_the_page_begins_one_of_the_package():
    quoted = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(quoted) > 25
    assert len(set(quoted)) == len(quoted)
    known = list(sources())
    assert [x for x in quoted if not any(source.startswith(x) for source in known)] == []
