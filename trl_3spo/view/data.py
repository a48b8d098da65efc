"""What the page is given of a run: its trees and episodes as plain data, every text once."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from trl_3spo.recording.files import place, unit_of
from trl_3spo.recording.reading import Node, RecordedRun, Tree
from trl_3spo.recording.schema import Record

ANSWER = (
    "advantage",
    "is_cut_off",
    "is_inadmissible",
    "is_malformed",
    "is_trained_on",
    "num_tokens",
    "paid",
    "paid_parts",
    "reward",
    "reward_parts",
    "score_after",
    "unasked",
)
STEP = ("group_size", "num_visits", "score_before", "value")
EPISODE = ("branch", "end", "num_steps", "return", "stop_reason", "success")
PLACE = ("phase", "panel", "step", "evaluation", "tree")


class Texts:
    """Texts by their places: observations and prompts come again and again."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        """Return the place of a text."""
        if text not in self._places:
            self._places[text] = len(self.all)
            self.all.append(text)
        return self._places[text]


def run_data(run: RecordedRun, max_bytes: int) -> dict[str, Any]:
    """Return a run as the page's script reads it.

    Args:
        run: The run.
        max_bytes: Approximate limit on the records. Above it, some trees and evaluated tasks are left out.
    """
    texts = Texts()
    trees = fitting(run.trees, max_bytes)
    return {
        "name": run.folder.resolve().name,
        "id": run.id,
        "others": run.others,
        "left_out": len(run.trees) - len(trees),
        "items": [_item(tree, texts) for tree in trees],
        "texts": texts.all,
    }


def fitting(trees: Sequence[Tree], max_bytes: int) -> list[Tree]:
    """Return trees that take so many bytes: training and evaluation each have half, and what the other leaves."""
    sizes = [len(json.dumps(tree.episodes, default=str)) for tree in trees]
    phases = [str(tree.first["phase"]) for tree in trees]
    wanted: Counter[str] = Counter()
    for phase, size in zip(phases, sizes, strict=True):
        wanted[phase] += size
    rooms = {phase: max(max_bytes // 2, max_bytes - (sum(sizes) - wanted[phase])) for phase in wanted}
    kept = []
    for i in sorted(range(len(trees)), key=lambda i: place(0, unit_of(trees[i].first))):
        if sizes[i] <= rooms[phases[i]]:
            kept.append(i)
            rooms[phases[i]] -= sizes[i]
    return [trees[i] for i in sorted(kept)]


def _item(tree: Tree, texts: Texts) -> Record:
    numbers = {visit: i for i, visit in enumerate(sorted(tree.nodes))}
    nodes = [_node(tree.nodes[visit], tree, numbers, texts) for visit in numbers]
    chosen = [{name: episode[name] for name in EPISODE} for episode in tree.episodes]
    for episode in chosen:
        episode |= {"end": numbers.get(episode["end"]), "branch": numbers.get(episode["branch"])}
    head = {name: tree.first.get(name) for name in PLACE}
    return head | {
        "task": tree.first["task"]["id"],
        "kind": tree.first["task"]["kind"],
        "nodes": nodes,
        "episodes": chosen,
    }


def _node(node: Node, tree: Tree, numbers: dict[int, int], texts: Texts) -> Record:
    arrival = tree.first["root"] if node.parent is None else node.answers[0]
    data: Record = {
        "parent": None if node.parent is None else numbers[node.parent],
        "observation": texts.place(arrival["observation"]),
        "state": arrival["state"],
        "answers": [_answer(answer, texts) for answer in node.answers],
    }
    if node.parent is None:
        return data | {"score": arrival.get("score"), "value": arrival.get("value")}
    return data | {"prompt": [[x.get("role"), texts.place(_content(x))] for x in node.prompt]} | _step(node)


def _step(node: Node) -> Record:
    known = node.step or node.answers[0]
    return {name: known[name] for name in STEP if name in known}


def _answer(answer: Record, texts: Texts) -> Record:
    shown = {name: answer[name] for name in ANSWER if answer.get(name) is not None and answer[name] is not False}
    words = {name: None if answer[name] is None else texts.place(answer[name]) for name in ("completion", "action")}
    return shown | words


def _content(message: Any) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else json.dumps(content, default=str)
