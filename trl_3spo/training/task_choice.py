"""Which tasks a trainer was given, in whatever plain form."""

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
    """Return tasks that were given themselves, by their ids or as rows of a dataset.

    Args:
        env: Whose tasks they are.
        given: The tasks.
        splits: Where to look for ids, besides the environment's own choice.

    Raises:
        TypeError: Something given is no task.
        ValueError: There is no task of that id.
    """
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise TypeError(
            f"The tasks are {given!r}; a list of tasks, of their ids, or of rows with a column id is required. For all "
            "tasks of a split set train_split or eval_split."
        )
    known: dict[str, Task] = {}
    return [item if isinstance(item, Task) else _found(env, item, splits, known) for item in given]


def training_tasks(env: Environment, given: Tasks | None, args: AgentConfig) -> list[Task]:
    """Return the tasks to train on: those given, or the environment's own of the split."""
    if given is None:
        return list(env.training_tasks(args.train_split))
    return chosen_tasks(env, given, args.train_split, args.eval_split)


def panels(env: Environment, given: Panels | None, args: AgentConfig) -> dict[str, list[Task]]:
    """Return the panels to evaluate on by their names; a single one has the name "".

    Args:
        env: Whose tasks they are.
        given: The tasks of a panel, or the name of a split to draw it from; several by name; `None` draws from the
            split of the configuration.
        args: Says how many tasks are drawn.

    Raises:
        ValueError: A panel has no tasks, or there is none.
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
