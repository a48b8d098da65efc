"""Several instances of a slow environment, which take the actions of many trees at once."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from trl_3spo.environments.base import Environment, Message, Observation, StepResult, Task, Tool, Turn

Step = tuple[StepResult, Any]


class ConcurrentEnvironment(Environment):
    """An environment that takes several actions at once, with one instance and one thread for each.

    Use it for environments that wait for a server, a browser or a subprocess. Python code that computes does not get
    faster, because its threads take turns. A snapshot of one instance must be valid in all others. This holds for
    snapshots that are values, such as a `LimitedEnvironment`'s. It is checked with the first episode.

    Args:
        make: Function that makes an instance. All instances must have the same tasks.
        num_instances: Number of instances, at least 1.

    Raises:
        ValueError: `num_instances` is below 1.
    """

    def __init__(self, make: Callable[[], Environment], num_instances: int) -> None:
        if num_instances < 1:
            raise ValueError(f"num_instances={num_instances}: at least 1 is required.")
        self.instances = [make() for _ in range(num_instances)]
        self._first = self.instances[0]
        self._threads = ThreadPoolExecutor(num_instances, thread_name_prefix="environment")
        self._idle: SimpleQueue[Environment] = SimpleQueue()
        for instance in self.instances:
            self._idle.put(instance)
        self._is_checked = num_instances == 1
        self.reward_range = self._first.reward_range
        self.max_action_characters = self._first.max_action_characters
        self.prompt_style = self._first.prompt_style
        self.system_prompt = self._first.system_prompt
        self.expert = self._first.expert

    def step_each(self, moves: Sequence[tuple[Any, str]]) -> list[Step]:
        """Take one action from each of many snapshots, `num_instances` at once."""
        return list(self._threads.map(self._on_idle_instance, moves))

    def _on_idle_instance(self, move: tuple[Any, str]) -> Step:
        instance = self._idle.get()
        try:
            (step,) = instance.step_each([move])
            return step
        finally:
            self._idle.put(instance)

    def reset(self, task: Task) -> Observation:
        """Start a task.

        Raises:
            ValueError: A snapshot of one instance means something else to another.
        """
        observation = self._first.reset(task)
        if not self._is_checked:
            self._check(observation)
            self._is_checked = True
        return observation

    def _check(self, observation: Observation) -> None:
        remedy = (
            "ConcurrentEnvironment needs snapshots that are values, which every instance understands. Take the "
            "environment as it is, or write a `step_each` of its own."
        )
        try:
            seen = self.instances[1].restore(self._first.snapshot())
        except Exception as error:
            raise ValueError(
                f"A second instance cannot restore a snapshot of the first ({error!r}). {remedy}"
            ) from error
        if seen.state_key != observation.state_key:
            raise ValueError(
                f"A snapshot of the state {observation.state_key!r} is {seen.state_key!r} in another instance. {remedy}"
            )

    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the tasks of a split."""
        return self._first.tasks(split)

    def training_tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the tasks of a split to train on."""
        return self._first.training_tasks(split)

    def describe(self) -> Mapping[str, Any]:
        """Return the environment's description."""
        return self._first.describe()

    def step(self, action: str) -> StepResult:
        """Take one action."""
        return self._first.step(action)

    def snapshot(self) -> Any:
        """Return the present state."""
        return self._first.snapshot()

    def restore(self, snapshot: Any) -> Observation:
        """Go back to a snapshot."""
        return self._first.restore(snapshot)

    def prompt(self, task: Task, observation: Observation, turns: Sequence[Turn]) -> list[Message]:
        """Return the environment's prompt."""
        return self._first.prompt(task, observation, turns)

    def tools(self, task: Task) -> Sequence[Tool]:
        """Return the environment's tools."""
        return self._first.tools(task)

    def parse_action(self, completion: str) -> str:
        """Return the action that the environment reads in a completion."""
        return self._first.parse_action(completion)

    def parse_answer(self, task: Task, completion: str) -> str:
        """Return the action that the environment reads in a completion in a task."""
        return self._first.parse_answer(task, completion)

    def close(self) -> None:
        """Close all instances, once their threads are done."""
        self._threads.shutdown()
        for instance in self.instances:
            instance.close()
