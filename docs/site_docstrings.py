"""What the site does with docstrings in the form of Hugging Face's doc-builder."""

import re

import griffe

LINK = re.compile(r"\[`(~?)([\w.]+)`\]")
"""[`~module.Name`] or [`module.Name`]."""

TYPE = re.compile(r"\((`[^)\n]*?`)(?:, \*optional\*)?(?:, defaults to `[^`\n]*`)?\):")
"""(`int`, *optional*, defaults to `2`): the table of parameters has a column for the default."""


class DocBuilder(griffe.Extension):
    """Shows links as code and types as plain names."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Replace both in one docstring."""
        if obj.docstring:
            text = TYPE.sub(lambda match: f"({match.group(1).replace('`', '')}):", obj.docstring.value)
            obj.docstring.value = LINK.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    is_short, name = match.groups()
    return f"`{name.rpartition('.')[2] if is_short else name}`"
