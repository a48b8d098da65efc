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
    """Numbers of what a check compared; small numbers mean that it saw little.

    Args:
        num_tasks: Tasks that were played.
        num_steps: Steps that were taken twice and compared.
        num_ends: Random walks that reached the end of the episode.
        num_successes: Random walks that solved the task.
        num_revisits: Visits to a state key seen before, each compared with the first.
        remarks: Problems for training that the contract allows. Each is also a warning.
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
    """Take random actions in an environment and raise an error if it breaks the contract.

    It goes back to every state of every random walk, in random order. There it takes the same action again and expects
    the same result. State keys that should be equal are checked at revisits and at meaningless actions. Other keys that
    are too fine cannot be found. It warns of score keys that make training worse. It also warns of walks that never end
    or never earn a reward.

    Args:
        env: The environment. It is left in some state, not closed.
        tasks: Number of tasks of the default split to play, at least 1.
        steps: Steps per walk, at least 1.
        seed: Seed for the choice of actions.
        actions: Actions to try if an observation lists no admissible actions. Without them, such an environment only
            gets meaningless strings.

    Raises:
        EnvironmentContractError: The contract is broken. The message names the task, the actions and the rule.
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
