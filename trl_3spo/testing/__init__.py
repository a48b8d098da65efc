"""The environment contract as a check: `check_environment(env)` in a test of your own environment is all it takes."""

import random
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from trl_3spo.environments.base import Environment
from trl_3spo.testing.checks import (
    check_again,
    check_each,
    check_junk,
    check_parser,
    check_prompt,
    check_return,
    check_revisits,
    check_tasks,
    check_unknown_task,
)
from trl_3spo.testing.remarks import remarks_on_ends, remarks_on_score_keys
from trl_3spo.testing.walk import JUNK_ACTIONS, EnvironmentContractError, walk

__all__ = ["JUNK_ACTIONS", "ContractReport", "EnvironmentContractError", "check_environment"]


class ContractReport(NamedTuple):
    """What a check went through; small numbers mean that it saw little.

    Args:
        num_tasks: Tasks walked in.
        num_steps: Steps compared with a second taking of them.
        num_ends: Walks that reached the end of the episode.
        num_successes: Walks that solved the task.
        num_revisits: Visits to a state key seen before, each compared with the first.
        remarks: What the contract allows and training suffers from. Each is a warning as well.
    """

    num_tasks: int
    num_steps: int
    num_ends: int
    num_successes: int
    num_revisits: int
    remarks: tuple[str, ...] = ()


def check_environment(
    env: Environment, *, tasks: int = 3, steps: int = 30, seed: int = 0, actions: Sequence[str] = ()
) -> ContractReport:
    """Walk about in an environment at random and raise if it breaks the contract.

    Goes back to every state of every walk in a random order, takes the same action again and expects the same. That two
    state keys are equal where they should be is seen at revisits and at actions that mean nothing; that a key is finer
    than the behaviour behind it cannot be seen otherwise. Warns of score keys that a policy learns badly with, and of
    walks that never end or never earn anything.

    Args:
        env: The environment. It is left in some state, not closed.
        tasks: Number of tasks of the default split to walk in, at least 1.
        steps: Steps per walk, at least 1.
        seed: Of the choice of actions.
        actions: What to try where an observation lists no admissible actions. Without them such a world is only given
            strings that mean nothing.

    Raises:
        EnvironmentContractError: With what was wrong, in which task, after which actions, and what is required.
        ValueError: `tasks` or `steps` is below 1.
    """
    if tasks < 1 or steps < 1:
        raise ValueError(f"tasks={tasks}, steps={steps}: at least 1 of each is required.")
    rng = random.Random(seed)
    chosen = check_tasks(env)[:tasks]
    visits = [visit for task in chosen for visit in walk(env, task, steps, actions, rng)]
    check_unknown_task(env, chosen[0])
    prompts = [env.prompt(visit.task, visit.observation, visit.turns) for visit in visits]
    for index in rng.sample(range(len(visits)), len(visits)):
        visit = visits[index]
        check_return(env, visit)
        check_prompt(env, visit, prompts[index])
        check_again(env, visit)
    check_each(env, visits)
    num_revisits = check_revisits(env, visits, rng)
    for visit in visits:
        check_junk(env, visit, rng.choice(JUNK_ACTIONS))
    check_parser(env, visits)
    results = [visit.result for visit in visits if visit.result is not None]
    num_ends, num_successes = sum(result.is_final for result in results), sum(result.success for result in results)
    remarks = (*remarks_on_score_keys(env, visits), *remarks_on_ends(visits, steps))
    for remark in remarks:
        warnings.warn(f"{type(env).__name__}: {remark}", stacklevel=2)
    return ContractReport(len(chosen), len(results), num_ends, num_successes, num_revisits, remarks)
