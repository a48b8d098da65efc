"""What the policy is asked in a state, and what it answered: here a guarded environment may fail as well."""

from collections.abc import Callable

from trl_3spo.algorithm.records import Visit
from trl_3spo.environments.base import Environment, Message, Task
from trl_3spo.environments.failures import PROMPT_OVERFLOW, EpisodeFailedError, NoAction

Prompt = list[Message]


def ask(env: Environment, visit: Visit, num_turns: int | None = None) -> Prompt | NoAction:
    """Return the prompt of a state, or why there is none.

    Args:
        env: Writes it.
        visit: The state.
        num_turns: Number of past turns that it is written with, the latest; `None` is all of them.
    """
    turns = visit.turns()
    try:
        return env.prompt(
            visit.task, visit.observation, turns if num_turns is None else turns[len(turns) - num_turns :]
        )
    except EpisodeFailedError as error:
        return NoAction(str(error), is_failure=True)


def ask_briefly(
    env: Environment, visit: Visit, fits: Callable[[Prompt], bool], num_turns: int | None = None
) -> Prompt | NoAction:
    """Return the prompt of a state with as many of the latest turns as fit, or why there is none.

    Args:
        env: Writes it.
        visit: A state whose prompt does not fit.
        fits: Says of a prompt whether it fits.
        num_turns: Number of past turns that it was written with; `None` is all of them.
    """
    found: Prompt | NoAction = NoAction(PROMPT_OVERFLOW, is_failure=False)
    fewest, most = 0, min(visit.depth, visit.depth if num_turns is None else num_turns) - 1
    while fewest <= most:
        middle = (fewest + most) // 2
        prompt = ask(env, visit, middle)
        if isinstance(prompt, NoAction):
            return prompt
        if fits(prompt):
            found, fewest = prompt, middle + 1
        else:
            most = middle - 1
    return found


def parse(env: Environment, task: Task, completion: str) -> str:
    """Return the action that an environment reads in a completion, or why there is none."""
    try:
        return env.parse_answer(task, completion)
    except EpisodeFailedError as error:
        return NoAction(str(error), is_failure=True)
