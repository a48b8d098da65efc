"""Tasks that a trainer was given, in any plain form."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trl_3spo.environments.base import Environment, Task
from trl_3spo.evaluation.panel_sample import sample_panel
from trl_3spo.training.agent_config import AgentConfig

Tasks = Iterable[Task | str | Mapping[str, Any]]
"""Tasks, their ids, or rows of a dataset with a column `id`."""

Panels = Tasks | str | Mapping[str, Tasks | str]
"""A panel's tasks, or the name of a split to draw it from; or several by name."""


def chosen_tasks(env: Environment, given: Tasks, *splits: str | None) -> list[Task]:
    """Return tasks that were given as tasks, as ids or as rows of a dataset.

    Args:
        env: Environment that has the tasks.
        given: The tasks.
        splits: Splits to search for ids, besides the environment's default split.

    Raises:
        TypeError: An entry is not a task.
        ValueError: There is no task with that id.
    """
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise TypeError(
            f"The tasks are {given!r}; a list of tasks, of their ids, or of rows with a column id is required. For all "
            "tasks of a split set train_split or eval_split."
        )
    known: dict[str, Task] = {}
    return [item if isinstance(item, Task) else _found(env, item, splits, known) for item in given]


def training_tasks(env: Environment, given: Tasks | None, args: AgentConfig) -> list[Task]:
    """Return the tasks to train on: the given ones, or the environment's tasks of the split."""
    if given is None:
        return list(env.training_tasks(args.train_split))
    return chosen_tasks(env, given, args.train_split, args.eval_split)


def panels(env: Environment, given: Panels | None, args: AgentConfig) -> dict[str, list[Task]]:
    """Return the evaluation panels by name; a single panel has the name "".

    Args:
        env: Environment that has the tasks.
        given: Tasks of a panel, the name of a split to draw it from, or several of these by name. `None` draws from the
            configuration's split.
        args: Configuration with the number of tasks to draw.

    Raises:
        ValueError: A panel has no tasks, or there is no panel.
    """
    by_name = given if isinstance(given, Mapping) else {"": given}
    chosen = {name: _panel(env, tasks, args) for name, tasks in by_name.items()}
    if not chosen:
        raise ValueError("eval_tasks names no panel; at least one is required.")
    for name, tasks in chosen.items():
        if not tasks:
            panel = f"panel {name!r}" if name else "evaluation panel"
            raise ValueError(
                f"The {panel} has no tasks; at least one is required. Pass eval_tasks, or set eval_split (it is "
                f"{args.eval_split!r}) to a split that has some."
            )
    return chosen


def _panel(env: Environment, given: Tasks | str | None, args: AgentConfig) -> list[Task]:
    if given is None or isinstance(given, str):
        return sample_panel(env.tasks(given or args.eval_split), args.num_eval_tasks, seed=args.panel_seed)
    return chosen_tasks(env, given, args.train_split, args.eval_split)


def _found(env: Environment, item: Any, splits: Sequence[str | None], known: dict[str, Task]) -> Task:
    name = item.get("id") if isinstance(item, Mapping) else item
    if not isinstance(name, str):
        raise TypeError(f"{item!r} is no task: a Task, the id of one, or a row with a column id is required.")
    if not known:
        known |= {task.id: task for split in {None, *splits} for task in env.tasks(split)}
    if name not in known:
        raise ValueError(f"There is no task {name!r} among {len(known)} tasks, such as {next(iter(known), None)!r}.")
    return known[name]
