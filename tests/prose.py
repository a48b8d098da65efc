"""Plain English in README, docs, docstrings and option helps: `make lint` runs it.

A sentence has at most 25 words, and phrases that readers stumbled over are banned. Code, tables and headings may be
longer. Linters of prose on PyPI do not fit: proselint has no limit on length, and vale downloads a binary when it runs.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
MAX_WORDS = 25
BANNED = {
    r"what became of": "the outcome of",
    r"(that|those) of": "the noun again",
    r"(carry|carries|earns?) (success|states)": "raise the success rate",
    r"(goes|go|gone) the way again": "replay",
    r"(gone|goes) on with": "resume",
    r"of one's own": "of your own",
    r"worlds?": "environment",
    r"kin": "coarser keys",
    r"fad(e|es|ing)": "decay",
    r"(is|are) to be had": "exist",
    r"as there": "the meaning itself",
}
"""Patterns, and what to write in their place."""

SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):")
ENTRY = re.compile(r"\s+[*\w`, ]+(\(.*\))?:")
NO_NOUN = re.compile(r"(?m)^ +([*\w]+): (?=(Of|As|At|By|For|From|How|In|On|Over|That|To|What|Where|Which|Whose)\b)")
"""The beginning of an entry in `Args:` that does not say what the argument is."""


def sentences(text: str) -> list[str]:
    """Return the sentences of a paragraph."""
    return re.split(r"(?<=[.!?])(?<!et al\.)[\"')*]*\s+", text)


def num_words(sentence: str) -> int:
    """Return the number of words; code in backticks is one."""
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def visible(token: Token) -> str:
    """Return the text of a paragraph or cell, without link targets, with a placeholder for code."""
    parts = {"code_inline": "`x`", "softbreak": " ", "hardbreak": " "}
    return "".join(parts.get(child.type, child.content) for child in token.children or ())


def problems(markdown: str) -> Iterator[tuple[int, str]]:
    """Yield the line and what is wrong there."""
    for opening, token in pairwise(MarkdownIt("commonmark").enable("table").parse(markdown)):
        if token.type != "inline":
            continue
        text, line = visible(token), (token.map or [0])[0] + 1
        for pattern, better in BANNED.items():
            for found in re.findall(rf"\b(?:{pattern})\b", text):
                yield line, f"{found if isinstance(found, str) else pattern!r}: write {better!r}"
        for sentence in sentences(text) if opening.type == "paragraph_open" else ():
            if num_words(sentence) > MAX_WORDS:
                yield line, f"{num_words(sentence)} words: {sentence[:80]}"


def as_markdown(docstring: str) -> str:
    """Return a docstring in which every entry of `Args:` and the like is a paragraph, without its name and type."""
    lines, in_section = [], False
    for line in inspect.cleandoc(docstring).splitlines():
        in_section = in_section or SECTION.fullmatch(line) is not None
        entry = ENTRY.match(line) if in_section else None
        if entry or SECTION.fullmatch(line):
            lines.append("")
        lines.append(line[entry.end() :].strip() if entry else line.strip() if in_section else line)
    return "\n".join(lines)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a module and the helps of its options, with their lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text
            case ast.keyword(arg="help", value=ast.Constant(value=str(text))):
                yield node.value.lineno, text
            case ast.Dict(keys=[ast.Constant(value="help")], values=[ast.Constant(value=str(text))]):
                yield node.lineno, text


def problems_of(path: Path) -> list[str]:
    """Return what is wrong in a file, one line each."""
    name = path.relative_to(ROOT)
    if path.suffix == ".md":
        return [f"{name}:{line}: {problem}" for line, problem in problems(path.read_text(encoding="utf-8"))]
    found = [(line, problem) for line, text in texts(path) for _, problem in problems(as_markdown(text))]
    for line, text in texts(path):
        found += [(line, f"begin {entry[1]} with a noun, not with {entry[2]!r}") for entry in NO_NOUN.finditer(text)]
    return [f"{name}:{line}: {problem}" for line, problem in found]


def main() -> None:
    """Print all problems, one a line, and exit with 1 if there is one."""
    pages = (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md"))
    paths = (*pages, *(ROOT / "trl_3spo").rglob("*.py"))
    sys.exit("\n".join(problem for path in paths for problem in problems_of(path)) or None)


if __name__ == "__main__":
    main()
