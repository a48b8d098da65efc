"""What the site does with links in docstrings, which have the form of Hugging Face's doc-builder: [`~module.Name`]."""

import re

import griffe

LINK = re.compile(r"\[`(~?)([\w.]+)`\]")


class DocBuilderLinks(griffe.Extension):
    """Shows them as code, by the last part of the name where the link asks for that."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Replace the links of one docstring."""
        if obj.docstring:
            obj.docstring.value = LINK.sub(_shown, obj.docstring.value)


def _shown(match: re.Match[str]) -> str:
    is_short, name = match.groups()
    return f"`{name.rpartition('.')[2] if is_short else name}`"
