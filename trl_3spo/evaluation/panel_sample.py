"""A part of a split as a panel, with every type of task in its share."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from trl_3spo.environments.base import Task


def sample_panel(tasks: Sequence[Task], size: int | None, *, seed: int = 0) -> list[Task]:
    """Draw a panel from a split, stratified by the type of the task.

    Which tasks are drawn depends on their ids, their types and the seed alone: not on their order in the split, on the
    process, or on any random generator. Tasks are ordered by a hash of seed and id, and every type gives its first ones
    in that order. So a larger panel usually holds the smaller one.

    Args:
        tasks: The split.
        size: Number of tasks, at least 1; `None`, or the size of the split and more, is the split as it is.
        seed: Of the hash.

    Returns:
        The tasks in the order of the hash, or of the split where it is taken as a whole.
    """
    if size is None or size >= len(tasks):
        return list(tasks)
    by_kind: defaultdict[str, list[Task]] = defaultdict(list)
    for task in sorted(tasks, key=lambda task: _place(task, seed)):
        by_kind[task.kind].append(task)
    seats = shares(Counter(task.kind for task in tasks), size)
    drawn = [task for kind, own in by_kind.items() for task in own[: seats[kind]]]
    return sorted(drawn, key=lambda task: _place(task, seed))


def shares(sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """Share a number of seats out between types, by their sizes and the method of the largest remainder (Hamilton).

    Where there are as many seats as types, a type whose share is below one gets one seat; the others share the rest.
    Of equal remainders the larger type's comes first, and of equal types the one whose name does.

    Args:
        sizes: Number of tasks by type, each at least 1.
        total: Seats, at most the sum of the sizes.

    Returns:
        Seats by type: at most its size, and `total` in all.
    """
    least: dict[str, int] = {}
    others = dict(sizes)
    while total >= len(sizes) and (small := [x for x in others if _share(others, x, total - len(least)) < 1]):
        least |= dict.fromkeys(small, 1)
        others = {kind: size for kind, size in others.items() if kind not in least}
    left = total - len(least)
    seats = {kind: int(_share(others, kind, left)) for kind in others}
    by_remainder = sorted(others, key=lambda kind: (seats[kind] - _share(others, kind, left), -others[kind], kind))
    for kind in by_remainder[: left - sum(seats.values())]:
        seats[kind] += 1
    return least | seats


def _share(sizes: Mapping[str, int], kind: str, total: int) -> float:
    return total * sizes[kind] / sum(sizes.values())


def _place(task: Task, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{task.id}".encode("utf-8", "surrogatepass")).digest()
