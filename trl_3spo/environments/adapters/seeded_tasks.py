"""Tasks for environments that are started with a seed."""

from trl_3spo.environments.base import Task


def seeded_tasks(first: int, last: int) -> list[Task]:
    """Return one task per seed, `last` excluded."""
    return [Task(f"seed {seed}", data={"seed": seed}) for seed in range(first, last)]
