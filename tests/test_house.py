"""Counts of the architecture on small sources worked by hand."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def counts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("house_counts")


FUNCTIONS = '''
def three(x):
    """Not counted,

    however long.
    """
    # Nor is this.
    y = [

        x,  # this line is
    ]
    return y


def silent():
    """Nothing but this."""


class Outer:
    async def four(self):
        @staticmethod
        def one():
            return """two
            lines"""

        return one


def one(): return 1
'''


def test_bodies_are_counted_without_docstrings_comments_and_blank_lines(counts):
    assert counts.body_lengths(FUNCTIONS) == {"three:2": 4, "four:20": 5, "one:22": 2, "one:29": 1}


def test_lines_of_files_are_all_their_lines(counts, tmp_path):
    files = [tmp_path / "a.py", tmp_path / "b.py"]
    files[0].write_text("x = 1\n\n# a comment\n")
    files[1].write_text("y = 2")
    assert counts.num_lines(files) == 4


def test_percentiles_are_values_that_occur(counts):
    assert counts.percentile(range(1, 11), 0.9) == 9
    assert counts.percentile([3, 1, 2], 0.9) == 3
    assert counts.percentile([7], 0.5) == 7


TRAINERS = """
class Own(trl.GRPOTrainer):
    def __init__(self): ...
    def evaluate(self):
        def inner(): ...
    @property
    def staleness(self): ...
    attribute = 1

class CriticTrainer:
    def fit(self): ...

class Row:
    def rows(self): ...
"""


def test_methods_of_trainers_alone(counts):
    assert counts.trainer_methods(TRAINERS) == {"evaluate", "staleness", "fit"}


IMPORTS = """
import os, pack.tools
from typing import TYPE_CHECKING
from pack import face
from pack.records import Visit, digest
from . import sibling
from ..other import thing

if TYPE_CHECKING:
    from pack import hidden
else:
    import pack.shown

class Here:
    import pack.inside

def later():
    from .late import name
    if TYPE_CHECKING:
        from pack import hidden
"""


def test_imports_within_functions_are_told_apart_and_those_for_types_left_out(counts):
    found = counts.imports_of(IMPORTS, "pack.room.module")
    records = {"pack.records.Visit", "pack.records.digest"}
    elsewhere = {"os", "typing.TYPE_CHECKING", "pack.tools", "pack.face", "pack.shown", "pack.inside"}
    assert found.at_once == elsewhere | records | {"pack.room.sibling", "pack.other.thing"}
    assert found.in_functions == {"pack.room.late.name"}


def test_relative_imports_of_a_package_start_from_itself(counts):
    found = counts.imports_of("from . import part\nfrom .part import name\n", "pack.room", is_package=True)
    assert found.at_once == {"pack.room.part", "pack.room.part.name"}


def test_an_imported_name_is_a_module_or_lies_in_one(counts):
    modules = ["pack", "pack.records", "pack.face"]
    names = ["pack.face", "pack.records.Visit", "pack.__version__", "os.path", "torch"]
    assert counts.own_imports(names, modules) == {"pack.face", "pack.records", "pack"}


def test_circles_are_found_whole_and_once(counts):
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}, "g": {"g"}}
    assert counts.circles(graph) == [["a", "b", "c"], ["d", "e"], ["g"]]
    assert counts.circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


LAYERS = """
    cli
    left : right | other
    (below)
"""


def test_layers_are_read_as_import_linter_writes_them(counts):
    assert counts.layer_ranks(LAYERS) == {"cli": 0, "left": 1, "right": 1, "other": 1, "below": 2}


def test_imports_lead_up_to_a_higher_layer_or_to_the_face(counts):
    ranks = {"cli": 0, "left": 1, "right": 1, "below": 2}
    graph = {
        "pack": {"pack.left"},
        "pack.cli": {"pack.below.part"},
        "pack.left": {"pack.right"},
        "pack.below": {"pack"},
        "pack.below.part": {"pack.below", "pack.left.room"},
    }
    assert counts.upward_imports(graph, ranks, "pack") == ["pack.below -> pack", "pack.below.part -> pack.left.room"]


def test_a_module_without_a_layer_is_named(counts):
    with pytest.raises(ValueError, match=r"pack\.new has no layer; .* Add new to setup\.cfg's layers"):
        counts.upward_imports({"pack.new": {"pack.cli"}}, {"cli": 0}, "pack")


def test_a_goal_holds_up_to_its_target(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    measure = importlib.import_module("house").Measure
    assert [measure("x", target, 3).holds for target in (2, 3, None)] == [False, True, None]
    assert measure("lines", 2300, 2500, ["a"]).cells() == "| lines | ≤ 2,300 | 2,500 | no |"
    assert measure("x", None, 4.5).record() == {
        "measure": "x",
        "target": None,
        "value": 4.5,
        "holds": None,
        "detail": [],
    }
