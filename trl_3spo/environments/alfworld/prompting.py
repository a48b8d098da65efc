"""What a policy is asked in ALFWorld, and how its answer is read."""

from collections.abc import Sequence

from trl_3spo.environments.alfworld.simulator.text import HELP, without_introduction
from trl_3spo.environments.answers import Malformed, action_in, one_line
from trl_3spo.environments.base import Turn
from trl_3spo.environments.prompting import (
    MAX_ACTION_CHARACTERS,
    Writer,
    action_opening,
    action_turn,
    fill_action,
    fill_think,
)

_ROLE = "You are an agent in a household that is described to you in words, and you act by short commands."

_ANSWER = """\
Think first, between <think> and </think>: what does the task still need, what do you know of where things are, and \
which action brings you closer? Then give exactly one action, worded as above, between <action> and </action>. Your \
answer must have this form:
<think>your thoughts</think><action>your action</action>"""

_THINK = f"""\
{_ROLE}

Your task: {{task}}

Actions taken so far: {{num_steps}}.{{history}}

What you see now:
{{observation}}

{{options}}

{_ANSWER}"""

_OPENING = f"""\
{_ROLE}

Your task: {{task}}

{_ANSWER.replace("worded as above", "worded as what you can do")}"""

_DECORATION = " \t'\"`’‘“”.,;:!?*>"


def think_prompt(
    task: str, num_steps: int, turns: Sequence[Turn], observation: str, actions: Sequence[str] | None
) -> str:
    """Return a prompt for instructed language models, which asks for a thought and an action.

    Args:
        task: The task sentence.
        num_steps: Actions taken so far.
        turns: The last ones of them, oldest first, with what was seen before each.
        observation: Text of the current observation.
        actions: Admissible actions; `None` names only the forms of the commands.
    """
    return fill_think(_THINK, _show, task, num_steps, turns, observation, _list(actions))


def action_prompt(
    task: str, num_steps: int, turns: Sequence[Turn], observation: str, actions: Sequence[str] | None
) -> str:
    """Return a prompt of few tokens for small models, which asks for an action alone; see `think_prompt`."""
    return fill_action(_show, task, num_steps, turns, observation, _in_line(actions))


WRITERS: dict[str, Writer] = {"think": think_prompt, "action": action_prompt}
"""What writes the prompts of each format."""


def opening(task: str, prompt_format: str) -> str:
    """Return what a conversation begins with."""
    return _OPENING.format(task=task) if prompt_format == "think" else action_opening(task)


def turn(observation: str, actions: Sequence[str] | None, prompt_format: str) -> str:
    """Return what is said in one turn of a conversation; see `think_prompt`."""
    if prompt_format == "think":
        return f"{_show(observation)}\n\n{_list(actions)}"
    return action_turn(_show(observation), _in_line(actions))


def _list(actions: Sequence[str] | None) -> str:
    return HELP.rstrip() if actions is None else "What you can do now:\n" + "\n".join(actions)


def _in_line(actions: Sequence[str] | None) -> str | None:
    return None if actions is None else " | ".join(actions)


def _show(observation: str) -> str:
    # An action of help has its own layout, which ends in a line feed.
    return without_introduction(observation).strip()


def parse_action(completion: str, prompt_format: str) -> str:
    """Return the action a completion names, as far as possible in the game's own spelling. Total: it never raises.

    Case, surrounding quotes, punctuation and repeated blanks do not matter. If the prompt asks only for an action, the
    first line that is not empty is the action. The rest is ignored.
    """
    action = action_in(completion, is_line=prompt_format == "action", max_characters=MAX_ACTION_CHARACTERS)
    return one_line(action).lower().strip(_DECORATION) or Malformed()
