"""What a better value of states could gain: values from the expert's remaining steps, against what is shipped.

    python benchmarks/perfect_values.py --env webshop --budget 2000 --folder benchmarks/results/perfect_values
    python benchmarks/perfect_values.py --folder benchmarks/results/perfect_values

Methods are 3SPO's two searches at the settings that tuning chose, on development tasks and seeds. They differ in the
score keys by which the history judges a state:

    shipped     the environment's own keys
    time        the number of steps so far, alone
    remaining   how many steps the expert of the starting point needs from here to success, and the steps so far

The policy began by imitating that expert. Nothing else knows of the expert. It is asked to play on from every new
state, and the environment is put back. Without an environment it makes the table.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import compare
from demo_world import Tasks
from report import chosen_in
from summarize import Run, area, final
from tune import SEEDS

from trl_3spo.environments.base import Environment, Key, Message, Observation, StepResult, Task, Turn
from trl_3spo.environments.demonstrations import Expert

sys.path.append(str(Path(__file__).parents[1] / "examples"))
import alfworld_warm_start
import webshop_warm_start

NewExpert = Callable[[Observation, int], Expert]

EXPERTS: dict[str, NewExpert] = {"alfworld": alfworld_warm_start.new_expert, "webshop": webshop_warm_start.new_expert}
METHODS = ("branch", "3spo")
KEYS = ("shipped", "time", "remaining")


@dataclass(frozen=True)
class _Moment:
    """A state of an episode: the environment's snapshot, and what has been observed and done until then."""

    snapshot: Any
    observations: tuple[Observation, ...]
    actions: tuple[str, ...]


class Judged(Environment):
    """An environment whose score keys are the time, and with an expert the steps that it needs from there.

    Args:
        env: The environment.
        new_expert: Makes an expert from the first observation of an episode and a seed.
    """

    def __init__(self, env: Environment, new_expert: NewExpert | None) -> None:
        self._env = env
        self._new_expert = new_expert
        self.reward_range = env.reward_range
        self._observations: tuple[Observation, ...] = ()
        self._actions: tuple[str, ...] = ()

    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the environment's tasks."""
        return self._env.tasks(split)

    def prompt(self, task: Task, observation: Observation, turns: Sequence[Turn]) -> list[Message]:
        """Return the environment's prompt."""
        return self._env.prompt(task, observation, turns)

    def parse_answer(self, task: Task, completion: str) -> str:
        """Return the action that the environment finds."""
        return self._env.parse_answer(task, completion)

    def reset(self, task: Task) -> Observation:
        """Start a task."""
        self._observations, self._actions = (), ()
        return self._judge(self._env.reset(task))

    def step(self, action: str) -> StepResult:
        """Take an action."""
        result = self._env.step(action)
        self._actions += (action,)
        return result if result.is_final else replace(result, observation=self._judge(result.observation))

    def snapshot(self) -> _Moment:
        """Return the present state."""
        return _Moment(self._env.snapshot(), self._observations, self._actions)

    def restore(self, snapshot: _Moment) -> Observation:
        """Go back to a state."""
        self._env.restore(snapshot.snapshot)
        self._observations, self._actions = snapshot.observations, snapshot.actions
        return self._observations[-1]

    def _judge(self, observation: Observation) -> Observation:
        """Add the observation of a new state, with its keys, to those of the episode, and return it."""
        time = len(self._actions)
        keys: tuple[Key, ...] = (("time", time),)
        if self._new_expert is not None:
            keys = (("remaining", self._num_remaining(observation, self._new_expert), time), *keys)
        self._observations += (replace(observation, score_keys=keys),)
        return self._observations[-1]

    def _num_remaining(self, observation: Observation, new_expert: NewExpert) -> int | None:
        """Return the steps that the expert takes from here to success; None where it has no success."""
        observations, actions = [*self._observations, observation], list(self._actions)
        here = self._env.snapshot()
        expert = new_expert(observations[0], 0)
        for number in range(len(actions)):
            expert(observations[number], _turns(observations, actions[:number]))
        try:
            while True:
                actions.append(expert(observations[-1], _turns(observations, actions)).action)
                result = self._env.step(actions[-1])
                observations.append(result.observation)
                if result.is_final:
                    return len(actions) - len(self._actions) if result.success else None
        finally:
            self._env.restore(here)


def _turns(observations: Sequence[Observation], actions: Sequence[str]) -> list[Turn]:
    return [Turn(observation.text, action) for observation, action in zip(observations, actions, strict=False)]


def judged_tasks(make_tasks: Callable[[int], Tasks], new_expert: NewExpert | None, seed: int) -> Tasks:
    """Return a world's tasks with other score keys."""
    tasks = make_tasks(seed)
    return replace(tasks, env=Judged(tasks.env, new_expert))


def add_worlds(name: str) -> None:
    """Let `compare.py` know an environment with each of the keys, as `NAME_KEYS`."""
    world = compare.WORLDS[name]
    compare.WORLDS[f"{name}_shipped"] = world
    for keys, expert in (("time", None), ("remaining", EXPERTS[name])):
        make_tasks = partial(judged_tasks, world.make_tasks, expert)
        compare.WORLDS[f"{name}_{keys}"] = replace(world, make_tasks=make_tasks)


def table(folder: Path) -> str:
    """Return mean areas and final success of every method with every key."""
    runs: dict[tuple[str, str, str], list[Run]] = {}
    for file in sorted(folder.glob("*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        name, _, keys = found["environment"].partition("_")
        runs.setdefault((name, found["method"], keys), []).append(found)
    lines = ["| environment | method | score keys | seeds | area | final |", "|---|---|---|---|---|---|"]
    for (name, method, keys), found in sorted(runs.items(), key=lambda item: (*item[0][:2], KEYS.index(item[0][2]))):
        means = f"{fmean(map(area, found)):.3f} | {fmean(map(final, found)):.1%}"
        lines.append(f"| {name} | {method} | {keys} | {len(found)} | {means} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=EXPERTS)
    parser.add_argument("--budget", type=int, help="sampled actions of a run")
    parser.add_argument("--folder", type=Path, required=True, help="one file for every finished run")
    arguments = parser.parse_args()
    if arguments.env is None:
        print(table(arguments.folder))
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    add_worlds(arguments.env)
    chosen = chosen_in(arguments.env)
    for seed, method, keys in product(SEEDS, METHODS, KEYS):
        world = f"{arguments.env}_{keys}"
        compare.run(world, method, seed, arguments.budget, arguments.folder, "development", **chosen[method]["chosen"])


if __name__ == "__main__":
    main()
