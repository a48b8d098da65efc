"""What the demo has to know of a world."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trl_3spo.environments.base import Environment, Task


@dataclass(frozen=True)
class Tasks:
    """An environment and which of its tasks are for what.

    Args:
        env: The environment.
        train: To reinforce on.
        unseen: To evaluate on, kept out of the reinforcement.
    """

    env: Environment
    train: Sequence[Task]
    unseen: Sequence[Task]


@dataclass(frozen=True)
class DemoWorld:
    """A world to reinforce a small model in.

    Args:
        make_tasks: Makes environment and tasks from a seed.
        unseen: What the tasks kept for evaluation are called.
        warm_start: Folder of the model to begin with.
        max_steps: Optimizer steps that take a few minutes on two CPU cores.
        options: Of ThreeSPOConfig, in addition to those of all worlds and before them.
    """

    make_tasks: Callable[[int], Tasks]
    unseen: str
    warm_start: Path
    max_steps: int
    options: dict[str, Any]
