"""Prompts of states and actions in answers, from an environment that may fail."""

from collections.abc import Callable

from trl_3spo.algorithm.records import Visit
from trl_3spo.environments.base import Environment, Message, Task
from trl_3spo.environments.failures import PROMPT_OVERFLOW, EpisodeFailedError, NoAction

Prompt = list[Message]


def ask(env: Environment, visit: Visit, num_turns: int | None = None) -> Prompt | NoAction:
    """Return the prompt of a state, or why there is none.

    Args:
        env: Environment that writes the prompt.
        visit: Visit of the state.
        num_turns: Number of latest turns in the prompt; `None`: all turns.
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
        env: Environment that writes the prompt.
        visit: Visit whose prompt does not fit.
        fits: Function that returns whether a prompt fits.
        num_turns: Number of latest turns in the prompt that does not fit; `None`: all turns.
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
