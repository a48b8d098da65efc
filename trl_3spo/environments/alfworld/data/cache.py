"""A cache of parsed games on disk: opening a game again takes a fraction of the time.

An entry is named by the content of the game's file and of the code that parsed it, so it is never out of date. It ends
with a digest of its name and its content, so foreign files are not mistaken for it. The folder is `$TRL_3SPO_CACHE` or
`~/.cache/trl_3spo`. It may be deleted at any time. If it cannot be written, games are parsed again.
"""

import contextlib
import functools
import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from trl_3spo.environments.alfworld.simulator.definition import Definition, from_json, to_json

_DIGEST_SIZE = 16


def cached(read: Callable[[bytes], Definition], content: bytes) -> Definition:
    """Return what `read` makes of a game file's content, from the cache if it is there.

    What `read` raises is passed on and not kept.
    """
    name = hashlib.blake2b(content, digest_size=16, key=_code_digest()).hexdigest()
    path = _folder() / name[:2] / f"{name}.json.z"
    # A broken entry is as good as none and is written again.
    with contextlib.suppress(OSError):
        entry = path.read_bytes()
        if entry[-_DIGEST_SIZE:] == _digest(name, entry[:-_DIGEST_SIZE]):
            return from_json(zlib.decompress(entry))
    definition = read(content)
    with contextlib.suppress(OSError):
        compressed = zlib.compress(to_json(definition).encode())
        _write(path, compressed + _digest(name, compressed))
    return definition


def _digest(name: str, compressed: bytes) -> bytes:
    return hashlib.blake2b(compressed, digest_size=_DIGEST_SIZE, key=name.encode()).digest()


def _folder() -> Path:
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "trl_3spo"
    return Path(os.environ.get("TRL_3SPO_CACHE") or default).expanduser() / "alfworld"


def _write(path: Path, content: bytes) -> None:
    """Write a file that other processes see whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except OSError:
        os.unlink(name)
        raise


@functools.cache
def _code_digest() -> bytes:
    """Return a digest of the code that reads games: all of this environment's modules."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()
