"""WebShop's own answers on a small adversarial catalogue. They are not part of the repository: they are taken from
$WEBSHOP_TEST_DATA, or from a folder beside the checkout.
"""

import gzip
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from trl_3spo.environments.webshop import World

FOLDER = Path(
    os.environ.get("WEBSHOP_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data" / "webshop"
)
needs_fixtures = pytest.mark.skipif(
    not (FOLDER / "episodes.jsonl.gz").is_file(), reason=f"no fixtures: neither $WEBSHOP_TEST_DATA nor {FOLDER}"
)


def read(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def transcripts() -> list[dict[str, Any]]:
    with gzip.open(FOLDER / "episodes.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@cache
def world(*, human: bool) -> World:
    """Return the world the transcripts were made in."""
    paths = [FOLDER / name for name in ("products.json", "attributes.json", "human.json")]
    nouns = read("nouns.json")
    return World.from_files(*paths[: 2 + human], seed=5, goal_order_seed=5, title_nouns=lambda title: nouns[title])
