"""A stratified sample of a split as an evaluation panel."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from trl_3spo.environments.base import Task


def sample_panel(tasks: Sequence[Task], size: int | None, *, seed: int = 0) -> list[Task]:
    """Draw a panel from a split, stratified by the type of the task.

    The choice depends only on the ids and types of the tasks and on the seed. The order of the split, the process and
    random generators do not matter. Tasks are ordered by a hash of seed and id, and every type gives its first tasks in
    that order. A larger panel therefore usually contains a smaller one.

    Args:
        tasks: The split.
        size: Number of tasks, at least 1. `None`, or a size of at least the split's, takes the whole split.
        seed: Seed of the hash.

    Returns:
        The tasks in the order of the hash, or the whole split in its own order.
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
    """Divide seats between types in proportion to their sizes, by the largest remainder (Hamilton).

    If there are at least as many seats as types, a type whose share is below one gets one seat. The other types share
    the rest. If remainders are equal, the larger type comes first; if sizes are equal too, the order of names decides.

    Args:
        sizes: Number of tasks by type, each at least 1.
        total: Number of seats, at most the sum of the sizes.

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
