"""Several environments as one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

from trl_3spo.environments.base import Environment, Message, Observation, StepResult, Task, Tool, Turn


class MixedEnvironment(Environment):
    """Several environments, whose tasks are trained on together.

    A task is called `NAME/ID` and has the kind `NAME/KIND`, so success is logged by environment and by kind. Keys hold
    the name as well. Rewards are divided by the width of their environment's reward range, so that all have one unit.

    Args:
        environments: Environments by name, at least one. Names have no slash.
        weights: Shares of the training by environment name; `None` trains on all tasks equally often. If an
            environment's weight exceeds its share of the tasks, its tasks are trained on more often.

    Raises:
        ValueError: There are no environments, a name has a slash, or weights are not positive or of other names.
    """

    def __init__(self, environments: Mapping[str, Environment], weights: Mapping[str, float] | None = None) -> None:
        if not environments or any(not name or "/" in name for name in environments):
            raise ValueError(f"The environments are called {list(environments)}: names without a slash are required.")
        if weights is not None and (weights.keys() != environments.keys() or min(weights.values()) <= 0):
            raise ValueError(
                f"The weights are {dict(weights)}: one above 0 is required for each of {list(environments)}."
            )
        self.environments = dict(environments)
        self.weights = weights
        self._name: str | None = None

    @property
    def reward_range(self) -> tuple[float, float]:  # type: ignore[override]
        """Lowest and highest return of an episode of any environment, in widths of its own range."""
        ranges = [(low / (high - low), high / (high - low)) for low, high in map(_range, self.environments.values())]
        return min(low for low, _ in ranges), max(high for _, high in ranges)

    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the tasks of a split, from all environments that have it.

        Raises:
            ValueError: None of them has it.
        """
        found, errors = [], []
        for name, env in self.environments.items():
            try:
                found += [_named(name, task) for task in env.tasks(split)]
            except ValueError as error:
                errors.append(error)
        if len(errors) == len(self.environments):
            raise errors[0]
        return found

    def training_tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the tasks of a split, repeated according to the weights of their environments."""
        tasks = self.tasks(split)
        if self.weights is None:
            return tasks
        own = {name: [task for task in tasks if _name(task) == name] for name in self.environments}
        weights = {name: self.weights[name] for name, found in own.items() if found}
        # So many for a weight of one that no task is left out.
        size = max(len(own[name]) / weight for name, weight in weights.items())
        return [task for name, weight in weights.items() for task in islice(cycle(own[name]), round(size * weight))]

    def describe(self) -> Mapping[str, Any]:
        """Return by name what the environments say of themselves."""
        return {name: said for name, env in self.environments.items() if (said := dict(env.describe()))}

    def reset(self, task: Task) -> Observation:
        """Start a task in its environment."""
        self._name = None
        if not isinstance(task.data, Task) or _name(task) not in self.environments:
            raise ValueError(f"Task {task.id!r} is not one of this environment: choose one of tasks().")
        observation = self.environments[_name(task)].reset(task.data)
        self._name = _name(task)
        return _prefixed(self._name, observation)

    def step(self, action: str) -> StepResult:
        """Take one action where the present episode is."""
        if self._name is None:
            raise RuntimeError("The episode has ended or never began: call reset() or restore() first.")
        return self._result(self._name, self.environments[self._name].step(action))

    def snapshot(self) -> Any:
        """Return the present state with the name of its environment."""
        if self._name is None:
            raise RuntimeError("No episode has begun: call reset() or restore() first.")
        return self._name, self.environments[self._name].snapshot()

    def restore(self, snapshot: Any) -> Observation:
        """Go back to a snapshot in its environment."""
        self._name, inner = snapshot
        return _prefixed(self._name, self.environments[self._name].restore(inner))

    def step_each(self, moves: Sequence[tuple[Any, str]]) -> list[tuple[StepResult, Any]]:
        """Take actions in all environments, each its own at once."""
        steps: list[Any] = [None] * len(moves)
        for name, env in self.environments.items():
            places = [i for i, ((own, _), _) in enumerate(moves) if own == name]
            taken = env.step_each([(moves[i][0][1], moves[i][1]) for i in places])
            for i, (result, snapshot) in zip(places, taken, strict=True):
                steps[i] = (self._result(name, result), None if snapshot is None else (name, snapshot))
        return steps

    def _result(self, name: str, result: StepResult) -> StepResult:
        low, high = self.environments[name].reward_range
        return replace(result, observation=_prefixed(name, result.observation), reward=result.reward / (high - low))

    def close(self) -> None:
        """Close all environments."""
        for env in self.environments.values():
            env.close()

    def prompt(self, task: Task, observation: Observation, turns: Sequence[Turn]) -> list[Message]:
        """Return the prompt of the task's environment."""
        name = _name(task)
        inner = replace(
            observation,
            state_key=observation.state_key[1],  # type: ignore[index]
            score_keys=tuple(key[1] for key in observation.score_keys),  # type: ignore[index]
        )
        return self.environments[name].prompt(task.data, inner, turns)

    def tools(self, task: Task) -> Sequence[Tool]:
        """Return the tools of the task's environment."""
        return self.environments[_name(task)].tools(task.data)

    def parse_answer(self, task: Task, completion: str) -> str:
        """Return the action that the task's environment reads in a completion."""
        return self.environments[_name(task)].parse_answer(task.data, completion)


def _range(env: Environment) -> tuple[float, float]:
    return env.reward_range


def _name(task: Task) -> str:
    return task.id.partition("/")[0]


def _named(name: str, task: Task) -> Task:
    return Task(f"{name}/{task.id}", f"{name}/{task.kind}", task)


def _prefixed(name: str, observation: Observation) -> Observation:
    keys = tuple((name, key) for key in observation.score_keys)
    return replace(observation, state_key=(name, observation.state_key), score_keys=keys)
