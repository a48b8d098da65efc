"""Reading WebShop's data files, and saying what is wrong with one."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, TextIO

_CHUNK = 1 << 20
_MAX_RECORD = 1 << 24

_RELEASED = {
    "items_shuffle.json": (5_479_720_229, "2ef591d65df3af89e972ab72468eb82cbf124d876552d9f3678667edd620a6c8"),
    "items_shuffle_1000.json": (4_467_013, "30a4765c3a327af72d9a9a95a6b2486d516f0fa1d3ecd83681901ce82a21b269"),
    "items_ins_v2.json": (186_295_270, "1d36af476bdb8f82a5da62bd8acdabe54cd8de2fa84010d37da5c4890feb447e"),
    "items_ins_v2_1000.json": (147_099, "f88a36314a397b53b3d9c3fa5878e5f7b26d35019a51ec83fbedeca61a948f6f"),
    "items_human_ins.json": (5_137_548, "cf78667548a71786e1d9049c24b802e48e1084ad4bb021cae56ce1f6d96954a3"),
}
"""Size in bytes and sha256 of the released files."""

_LOOKS = {
    "items": re.compile(r"\[\s*\{"),
    "attributes": re.compile(r'\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{'),
    "human": re.compile(r'\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\[\s*\{'),
}
"""How the three files begin, by the name of the argument."""

_SMALL_CATALOGUE = 100
"""Fewer products may be without attributes: somebody wrote them by hand."""


def read_products(path: Path, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the records of a product file one by one, so that the first of five gigabytes cost no more than themselves.

    Args:
        path: A JSON list of objects.
        limit: Number of records to read, all by default.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no list of objects, or is cut off.
    """
    with _open(path) as file:
        try:
            for position, record in enumerate(islice(_records(path, file), limit)):
                if not isinstance(record, dict) or not isinstance(record.get("asin"), str):
                    fail(path, f"record {position} is {_short(record)}", "every record is an object with an asin")
                yield record
        except UnicodeDecodeError as error:
            fail(path, f"it is no UTF-8 text ({error})", "a JSON list of products")


def read_object(path: Path, entry_type: type) -> dict[str, Any]:
    """Return the contents of a file of attributes or of human instructions, by asin.

    Args:
        path: A JSON object.
        entry_type: Type of the values, `dict` or `list`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no JSON object of such values, or is cut off.
    """
    required = f"a JSON object that has a {entry_type.__name__} for each asin"
    meant = "attributes" if entry_type is dict else "human"
    if _look(path) == "items":  # before five gigabytes are read
        fail(path, "it holds a list of products", required, meant)
    with _open(path) as file:
        try:
            contents = json.load(file)
        except (RecursionError, ValueError) as error:
            fail(path, f"it is no JSON text ({error})", required)
    if not isinstance(contents, dict):
        fail(path, f"it holds a {type(contents).__name__}", required)
    for asin, entry in contents.items():
        if not isinstance(entry, entry_type):
            fail(path, f"the entry of {asin} is {_short(entry)}", required, meant)
    return contents


def refuse_foreign(products: Collection[str], entries: Mapping[str, Any], items: Path, attributes: Path) -> None:
    """Check that a file of attributes belongs to the products.

    Args:
        products: The asins of the products that are sold.
        entries: Contents of the file of attributes; an empty one belongs to any.
        items: File of the products.
        attributes: File of the attributes.

    Raises:
        ValueError: More than half of the products have no entry, and they are many or the entries are of others.
    """
    missing = [asin for asin in products if asin not in entries]
    is_by_hand = len(products) < _SMALL_CATALOGUE and len(missing) + len(entries) <= len(products)
    if not entries or is_by_hand or 2 * len(missing) <= len(products):
        return
    raise ValueError(
        f"{attributes} has no entry for {len(missing):,} of the {len(products):,} products in {items} "
        f"({len(missing) / len(products):.0%}), such as {missing[0]}, so that it seems to be of another catalogue. "
        "Required is the file of the same one: items_ins_v2.json for items_shuffle.json, items_ins_v2_1000.json for "
        "items_shuffle_1000.json."
    )


def text(record: Mapping[str, Any], name: str, asin: str, path: Path, default: str | None = None) -> str:
    """Return a field of a record about a product.

    Raises:
        ValueError: It is no text, or is missing and there is no default.
    """
    value = record.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        fail(path, f"{name} of product {asin} is {_short(value)}", "a text")
    return value


def texts(record: Mapping[str, Any], name: str, asin: str, path: Path) -> tuple[str, ...]:
    """Return a field that is a list of texts.

    Raises:
        ValueError: It is none.
    """
    value = record.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        fail(path, f"{name} of product {asin} is {_short(value)}", "a list of texts")
    return tuple(value)


def fail(path: Path, wrong: str, required: str, meant: str | None = None) -> NoReturn:
    """Raise a ValueError that names the file, and the released file of that name if there is one.

    Args:
        path: The file.
        wrong: Problem with the file.
        required: Required content.
        meant: Argument that it was passed as, if its whole content is wrong. It may be one of the other two files.
    """
    kind = _look(path) if meant else None
    if kind not in (None, meant):
        remedy = f" By its content it is what {kind} stands for, and was given as {meant}: swap the two."
    else:
        remedy = _released_remedy(path)
    raise ValueError(f"{path}: {wrong}; required is {required}.{remedy}")


def _released_remedy(path: Path) -> str:
    if path.name not in _RELEASED:
        return ""
    size, digest = _RELEASED[path.name]
    return (
        f" The released {path.name} has {size:,} bytes and sha256 {digest}; this file has {path.stat().st_size:,} "
        "bytes. Download it again if it is meant to be that one."
    )


def _look(path: Path) -> str | None:
    """Return which of the three files one is by its first characters, `None` if it is none."""
    with _open(path) as file:
        try:
            start = file.read(1000).lstrip("\ufeff \n\r\t")
        except UnicodeDecodeError:
            return None
    return next((name for name, form in _LOOKS.items() if form.match(start)), None)


def _short(value: object) -> str:
    return f"{str(value)[:60]!r}"


def _open(path: Path) -> TextIO:
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file {path}. WebShop's data are not part of this package: give the paths of its "
            "items_shuffle*.json and items_ins_v2*.json."
        )
    return path.open(encoding="utf-8")


def _records(path: Path, file: TextIO) -> Iterator[Any]:
    """Yield the elements of a JSON list as they are read."""
    decode = json.JSONDecoder().raw_decode
    text, position, count = file.read(_CHUNK).lstrip(), 1, 0
    if not text.startswith("["):
        fail(path, f"it begins with {text[:40]!r}", "a JSON list of products", "items")
    while True:
        position = _skip_separators(text, position)
        if text.startswith("]", position):
            return
        try:
            record, position = decode(text, position)
        except json.JSONDecodeError as error:
            more = file.read(_CHUNK)
            if not more or len(text) - position > _MAX_RECORD:
                fail(path, f"it is cut off or damaged after {count:,} records ({error.msg})", "a JSON list of products")
            text, position = text[position:] + more, 0
        except RecursionError:
            fail(path, f"record {count:,} is nested too deeply", "a JSON list of products")
        else:
            count += 1
            yield record


def _skip_separators(text: str, position: int) -> int:
    while text.startswith((" ", ",", "\n", "\r", "\t"), position):
        position += 1
    return position
