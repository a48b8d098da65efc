"""Recorded runs read back: every tree and every evaluated episode as nodes that hang together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from trl_3spo.recording.files import FOLDER, lines_of
from trl_3spo.recording.schema import Record


@dataclass
class Node:
    """A visit of a state.

    Args:
        visit: Number in the tree; 0 is the root.
        parent: Number of the visit before, `None` at the root.
        answers: The recorded samples that led here, the first one first; none at the root. Several answers of a group
            may name the same action.
        step: The first of them if a walk went on to here, with what was known of the state it was taken in.
        prompt: Chat messages that the step was asked with.
    """

    visit: int
    parent: int | None
    answers: list[Record] = field(default_factory=list)
    step: Record | None = None
    prompt: list[Any] = field(default_factory=list)


@dataclass
class Tree:
    """A search tree, or an evaluated episode as a tree of one path.

    Args:
        first: First record of the tree.
        nodes: Nodes by the number of their visit.
        episodes: Records of the tree, in the order they were written.
    """

    first: Record
    nodes: dict[int, Node]
    episodes: list[Record]

    def path(self, visit: int) -> list[Node]:
        """Return the nodes from the root to a visit."""
        nodes = [self.nodes[visit]]
        while (parent := nodes[-1].parent) is not None:
            nodes.append(self.nodes[parent])
        return nodes[::-1]


@dataclass
class RecordedRun:
    """What a run has recorded.

    Args:
        id: Id of the run.
        folder: Output folder of the run.
        trees: Trees of the training, in the order they were sampled, and evaluated episodes.
        log: Logged metrics, in the order of steps.
        others: Ids of other runs whose records lie in the same folder.
    """

    id: str
    folder: Path
    trees: list[Tree]
    log: list[Record]
    others: list[str]


def read_run(folder: Path) -> RecordedRun:
    """Read the records of the run in a folder; if there are several runs, of the one that wrote last.

    Raises:
        FileNotFoundError: There are none.
        ValueError: A record is of a later version of the form.
    """
    files = sorted((folder / FOLDER).glob("*-*-*.jsonl"))
    if not files:
        raise FileNotFoundError(
            f"There are no records in {folder / FOLDER}. Name the output folder of a training or an evaluation that "
            "ran with record_megabytes above 0."
        )
    latest = {run: max(x.stat().st_mtime for x in files if _run(x) == run) for run in map(_run, files)}
    run = max(latest, key=lambda name: latest[name])
    own = [file for file in files if _run(file) == run]
    records = list(chain.from_iterable(lines_of(file) for file in own if not _is_log(file)))
    log = list(chain.from_iterable(lines_of(file) for file in own if _is_log(file)))
    return RecordedRun(run, folder, list(trees_of(records)), log, sorted(latest.keys() - {run}))


def _run(file: Path) -> str:
    return file.stem.rsplit("-", 2)[0]


def _is_log(file: Path) -> bool:
    return file.stem.rsplit("-", 2)[1] == "log"


def trees_of(records: Sequence[Record]) -> Iterator[Tree]:
    """Yield the trees that records make up, in the order of steps; those that lack their beginning are left out."""
    by_tree: dict[Any, list[Record]] = {}
    for number, record in enumerate(records):
        by_tree.setdefault(record["tree"] or number, []).append(record)
    for members in sorted(by_tree.values(), key=lambda x: (x[0]["step"], x[0]["episode"])):
        ordered = sorted(members, key=lambda record: int(record["episode"])) if members[0]["tree"] else members
        if "root" in ordered[0]:
            yield Tree(ordered[0], dict(_nodes(ordered)), ordered)


def _nodes(records: Sequence[Record]) -> Iterator[tuple[int, Node]]:
    nodes = {0: Node(0, None)}
    for record in records:
        for step in record["steps"]:
            prompt = [record["messages"][i] for i in step["prompt"] or ()]
            for answer in (step, *step["others"]):
                node = nodes.setdefault(answer["visit"], Node(answer["visit"], answer["parent"]))
                node.answers.append(answer)
                node.prompt = node.prompt or prompt
            nodes[step["visit"]].step = step
    yield from nodes.items()
