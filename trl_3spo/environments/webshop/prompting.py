"""What a policy is asked in WebShop, and how its answer is read."""

import re
from collections.abc import Sequence
from functools import partial

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
from trl_3spo.environments.webshop.state import read_action

_ROLE = """\
You are shopping on a website for a customer. You read its pages as text, parts separated by [SEP], and act by short \
commands."""

_ANSWER = """\
Think first, between <think> and </think>: what does the customer want, which products come close, and which options \
have to be chosen before you buy? Then give exactly one action between <action> and </action>. Your answer must have \
this form:
<think>your thoughts</think><action>your action</action>"""

_THINK = f"""\
{_ROLE}

The customer says: {{task}}

Actions taken so far: {{num_steps}}.{{history}}

The page you see now:
{{observation}}

{{options}}

{_ANSWER}"""

_OPENING = f"""\
{_ROLE}

The customer says: {{task}}

{_ANSWER}"""

_FORMS = (
    "You can write search[keywords] where there is a search bar, and click[text] for any button, product or option."
)
_SEARCH = "You can write search[keywords]."

_ACTION = re.compile(r"(search|click)\s*\[([^\[\]]*)\]")


def think_prompt(
    instruction: str, num_steps: int, turns: Sequence[Turn], observation: str, actions: Sequence[str] | None
) -> str:
    """Return a prompt for instructed language models, which asks for a thought and an action.

    Args:
        instruction: Instruction of the customer.
        num_steps: Number of actions so far.
        turns: The last ones of them, oldest first, with what was seen before each.
        observation: The page that is seen now.
        actions: Things to click, empty if only a search is possible; `None` names only the forms.
    """
    show = partial(_shorten, instruction=instruction)
    return fill_think(_THINK, show, instruction, num_steps, turns, observation, _list(actions))


def action_prompt(
    instruction: str, num_steps: int, turns: Sequence[Turn], observation: str, actions: Sequence[str] | None
) -> str:
    """Return a prompt of few tokens for small models, which asks for an action alone; see `think_prompt`."""
    show = partial(_shorten, instruction=instruction)
    return fill_action(show, instruction, num_steps, turns, observation, _in_line(actions))


WRITERS: dict[str, Writer] = {"think": think_prompt, "action": action_prompt}
"""What writes the prompts of each format."""


def opening(instruction: str, prompt_format: str) -> str:
    """Return what a conversation begins with."""
    return _OPENING.format(task=instruction) if prompt_format == "think" else action_opening(instruction)


def turn(instruction: str, observation: str, actions: Sequence[str] | None, prompt_format: str) -> str:
    """Return what is said in one turn of a conversation; see `think_prompt`."""
    page = _shorten(observation, instruction)
    if prompt_format == "think":
        return f"{page}\n\n{_list(actions)}"
    return action_turn(page, _in_line(actions))


def _list(actions: Sequence[str] | None) -> str:
    if actions is None:
        return _FORMS
    return "What you can do now:\n" + "\n".join(actions) if actions else _SEARCH


def _in_line(actions: Sequence[str] | None) -> str | None:
    return None if actions is None else " | ".join(actions) or "search[keywords]"


def _shorten(observation: str, instruction: str) -> str:
    """Leave out the instruction, which the prompt has said."""
    label, separator, page = observation.partition("Instruction:")
    for said in (f" [SEP] {instruction.strip()} [SEP] ", f"\n{instruction}\n", f" \n{instruction}\n"):
        page = page.removeprefix(said)
    return f"{label}{page}".strip() if separator else observation.strip()


def parse_action(completion: str, prompt_format: str) -> str:
    """Return the action a completion names, as far as possible in the shop's spelling. Total: it never raises.

    The first `search[…]` or `click[…]` is taken out of whatever surrounds it, in lower case and without blanks at the
    brackets. Where an action alone is asked for, the first line that is not empty is the action.
    """
    text = action_in(completion, is_line=prompt_format == "action", max_characters=MAX_ACTION_CHARACTERS)
    if isinstance(text, Malformed):
        return text
    text = text.strip().lower()
    # An action by itself may have brackets within its brackets, by the shop's own rule.
    action = read_action(text) if text.endswith("]") else None
    found = [action] if action else _ACTION.findall(text)
    return f"{found[0][0]}[{found[0][1].strip()}]" if found else one_line(text) or Malformed()
