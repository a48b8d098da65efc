"""The dataset that drives TRL's loop."""

from collections.abc import Sequence
from itertools import cycle, islice

from datasets import Dataset

from trl_3spo.environments.base import Task
from trl_3spo.training.agent_config import AgentConfig


def clock(tasks: Sequence[Task], args: AgentConfig) -> Dataset:
    """Return the dataset that drives TRL's loop: one row per task, repeated until one generation batch is full.

    Only its length matters. The algorithm decides the order of the tasks.
    """
    num_rows = max(len(tasks), args.generation_batch_size // args.num_generations)
    ids = islice(cycle(ascii(task.id) for task in tasks), num_rows)
    return Dataset.from_list([{"prompt": [{"role": "user", "content": task_id}]} for task_id in ids])
