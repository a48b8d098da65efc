"""Search trees as they are recorded: every visit has a number, and every sample is told once.

A record of an episode begins where it left what earlier records of its tree have told: its branch point. What else was
sampled on its way stands beside its steps. So the records of a tree hold all of it, and nothing twice.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trl_3spo.algorithm.base import Judgement, Round, Row
from trl_3spo.algorithm.records import Episode, Sample, Visit
from trl_3spo.recording.schema import SCHEMA, Record, answer, arrival, credit, ending, judgement

PRUNED = "pruned"
"""Stop reason of a walk that the search gave up: there is no ended episode of it."""
UNFINISHED = "unfinished"
"""Stop reason of a walk that was still going on when the training ended."""

Judge = Callable[[Visit], Judgement]


@dataclass(eq=False)
class Taken:
    """A sampled action and where it led, with what was known at that time.

    Args:
        sample: The answer.
        visit: Visit that it led to.
        row: Credit of the step, if it was known then.
        before, after: Score and value of the state before the step and of the state after it.
        group_size: Samples of its group.
        is_trained_on: Whether it is a row of a batch.
    """

    sample: Sample | None
    visit: Visit
    row: Row | None = None
    before: Judgement | None = None
    after: Judgement | None = None
    group_size: int | None = None
    is_trained_on: bool = False


class Messages:
    """The chat messages of a record, each once: prompts refer to them by their places."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._places: dict[str, int] = {}

    def places(self, prompt: Sequence[Any]) -> list[int]:
        """Return for every message its place."""
        return [self._place(message) for message in prompt]

    def _place(self, message: Any) -> int:
        known = repr(message)
        if known not in self._places:
            self._places[known] = len(self.all)
            self.all.append(message)
        return self._places[known]


class RecordedTree:
    """What is known of one search tree, and which part of it records have told.

    Args:
        id: Id of the tree; `None` for a single episode.
        root: First visit of the tree.
    """

    def __init__(self, id: str | None, root: Visit) -> None:
        self.id = id
        self.ended: list[Episode] = []
        self._root = root
        self._numbers = {root: 0}
        self._told: set[Visit] = set()
        self._groups: dict[Visit, list[list[Taken]]] = {}  # by origin, those not told yet
        self._root_known: Judgement | None = None
        self._num_records = 0

    def take(self, group: Sequence[Taken], origin: Visit) -> None:
        """Take a group in."""
        for visit in (*origin.path(), *(taken.visit for taken in group)):
            self._numbers.setdefault(visit, len(self._numbers))
        if origin is self._root:
            self._root_known = self._root_known or group[0].before
        self._groups.setdefault(origin, []).append(list(group))

    def credit(self, rows: dict[int, Row]) -> None:
        """Take in the rows of a batch, by the `id` of their samples."""
        for taken in (x for groups in self._groups.values() for group in groups for x in group):
            row = rows.get(id(taken.sample))
            if row is not None:
                taken.row, taken.is_trained_on = row, True

    def records(self) -> Iterator[Record]:
        """Yield the records of the episodes that have ended."""
        for episode in self.ended:
            yield self._record(episode.end) | ending(episode)
        self.ended = []

    def rest(self, stop_reason: str) -> Iterator[Record]:
        """Yield the records of what no ended episode has passed, where nothing more will be sampled.

        Args:
            stop_reason: Reason for these trajectories to end, unless the environment failed.
        """
        while left := next(reversed(self._groups.values()), None):
            end = max((taken.visit for group in left for taken in group), key=lambda visit: not visit.has_failed)
            given_up = {} if end.has_failed else {"stop_reason": stop_reason}
            yield self._record(end) | ending(Episode(end)) | given_up

    def _record(self, end: Visit) -> Record:
        path = end.path()
        for visit in path:
            self._numbers.setdefault(visit, len(self._numbers))
        messages = Messages()
        is_first = not self._told
        self._told.add(self._root)
        begin = max(i for i, visit in enumerate(path) if visit in self._told)
        steps = [self._step(visit, messages) for visit in path[begin + 1 :]]
        task = {"id": end.task.id, "kind": end.task.kind}
        place = {"tree": self.id, "episode": self._num_records, "task": task, "branch": self._numbers[path[begin]]}
        root = {"root": arrival(self._root) | judgement(self._root_known)} if is_first else {}
        self._num_records += 1
        return {"schema": SCHEMA} | place | root | {"messages": messages.all, "steps": steps, "end": self._numbers[end]}

    def _step(self, visit: Visit, messages: Messages) -> Record:
        """Return the step to a visit, with all else that was sampled in its groups."""
        groups = self._told_now(visit)
        taken = [x for group in groups for x in group] or [Taken(visit.sample, visit)]
        chosen = next(x for x in taken if x.visit is visit)
        self._told.update(x.visit for x in taken)
        prompt = None if chosen.sample is None else messages.places(chosen.sample.prompt)
        before = judgement(chosen.before)
        origin = {"prompt": prompt, "group_size": chosen.group_size, "score_before": before.pop("score")} | before
        return self._entry(chosen) | origin | {"others": [self._entry(x) for x in taken if x is not chosen]}

    def _told_now(self, visit: Visit) -> list[list[Taken]]:
        if visit.parent is None:
            return []
        groups = self._groups.pop(visit.parent, [])
        told = [group for group in groups if any(x.visit is visit for x in group)]
        if left := [group for group in groups if group not in told]:
            self._groups[visit.parent] = left
        return told

    def _entry(self, taken: Taken) -> Record:
        visit = taken.visit
        place = {"visit": self._numbers[visit], "parent": self._numbers[visit.parent] if visit.parent else None}
        after = {"score_after": judgement(taken.after)["score"]}
        earned = credit(taken.row, is_trained_on=taken.is_trained_on)
        return place | answer(taken.sample, visit) | earned | after


class TreeRecorder:
    """Takes rounds in and makes records of them.

    Args:
        is_wanted: Says of a tree's id whether the tree is recorded.
    """

    def __init__(self, is_wanted: Callable[[str], bool]) -> None:
        self._is_wanted = is_wanted
        self._trees: dict[Visit, RecordedTree | None] = {}
        self._over: set[Visit] = set()

    def take(self, found: Round, new_id: Callable[[], str]) -> None:
        """Take in a round, with what is known of its states now.

        Args:
            found: The round.
            new_id: Names a tree that is met for the first time.
        """
        rows = {id(row.sample): row for group in found.rows for row in group}
        for group, samples in zip(found.groups, found.samples, strict=True):
            tree = self._tree(group.origin.root, new_id)
            if tree is not None:
                before = found.judge(group.origin) if found.judge else None
                pairs = zip(samples, (x.visit for x in group.transitions), strict=True)
                taken = [
                    Taken(sample, x, rows.get(id(sample)), before, _after(x, found.judge), len(samples))
                    for sample, x in pairs
                ]
                tree.take(taken, group.origin)
        for episode in found.ended:
            tree = self._tree(episode.end.root, new_id)
            if tree is not None:
                tree.ended.append(episode)
        self._over = {root for root in self._trees if root not in found.searched_on}

    def _tree(self, root: Visit, new_id: Callable[[], str]) -> RecordedTree | None:
        if root not in self._trees:
            name = new_id()
            self._trees[root] = RecordedTree(name, root) if self._is_wanted(name) else None
        return self._trees[root]

    def records(self, rows: Iterable[Row]) -> list[Record]:
        """Return the records of all episodes that have ended since the last time.

        Args:
            rows: Those of the batch that is trained on, with their final advantages.
        """
        final = {id(row.sample): row for row in rows if not row.is_padding}
        records: list[Record] = []
        for root, tree in self._trees.items():
            if tree is not None:
                tree.credit(final)
                records += tree.records()
                records += tree.rest(PRUNED) if root in self._over else ()
        self._trees = {root: tree for root, tree in self._trees.items() if root not in self._over}
        return records

    def rest(self) -> list[Record]:
        """Return the records of the trees that were still searched, and forget them."""
        trees, self._trees = self._trees, {}
        return [record for tree in trees.values() if tree is not None for record in tree.rest(UNFINISHED)]


def _after(visit: Visit, judge: Judge | None) -> Judgement | None:
    return None if judge is None or visit.has_failed else judge(visit)


def lone_record(episode: Episode) -> Record:
    """Return the record of an episode that belongs to no tree, as evaluations play them."""
    tree = RecordedTree(None, episode.end.root)
    tree.ended.append(episode)
    (record,) = tree.records()
    return record
