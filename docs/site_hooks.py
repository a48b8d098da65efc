"""What the site does with links that lead out of `docs`, to files of the repository."""

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = os.environ.get("DOCS_SOURCE_URL", "").rstrip("/")
"""Where the repository's files can be read, such as `https://HOST/OWNER/NAME/blob/main`. Without it paths are shown."""

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)\s#]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown, page, **_):
    """Return a page's text with the links that lead out of `docs` replaced."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def replaced(match):
        text, target, anchor = match.groups()
        file = (folder / target).resolve()
        if file.is_relative_to(ROOT / "docs"):
            return match.group()
        if not file.exists():
            raise ValueError(f"{page.file.src_uri} links to {target}, which is not there.")
        path = file.relative_to(ROOT)
        if path.name == "CHANGELOG.md":
            return f"[{text}](changelog.md)"
        return f"[{text}]({SOURCE}/{path}{anchor or ''})" if SOURCE else f"{text} (`{path}`)"

    return LINK.sub(replaced, markdown)
