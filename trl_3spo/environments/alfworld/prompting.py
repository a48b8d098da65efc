"""What a policy is asked in ALFWorld, and how its answer is read."""

from collections.abc import Sequence

from trl_3spo.environments import base
from trl_3spo.environments.alfworld.simulator.text import HELP, without_introduction
from trl_3spo.environments.base import Turn

PROMPT_FORMATS = ("think", "action")

_THINK = """\
You are an agent in a household that is described to you in words, and you act by short commands.

Your task: {task}

Actions taken so far: {num_steps}.{history}

What you see now:
{observation}

{options}

Think first, between <think> and </think>: what does the task still need, what do you know of where things are, and \
which action brings you closer? Then give exactly one action, worded as above, between <action> and </action>. Your \
answer must have this form:
<think>your thoughts</think><action>your action</action>"""

_DECORATION = " \t'\"`’‘“”.,;:!?*>"


def think_prompt(
    task: str, num_steps: int, turns: Sequence[Turn], observation: str, actions: Sequence[str] | None
) -> str:
    """Return a prompt for instructed language models, which asks for a thought and an action.

    Args:
        task: The task sentence.
        num_steps: Actions taken so far.
        turns: The last ones of them, oldest first, with what was seen before each.
        observation: What is seen now.
        actions: What can be done now, or `None` to name only the forms of the commands.
    """
    history = "".join(f"\n\nYou saw:\n{_show(turn.observation)}\nYou did: {turn.action}" for turn in turns)
    options = HELP.rstrip() if actions is None else "What you can do now:\n" + "\n".join(actions)
    introduction = "" if not turns else " The latest, each after what you saw before it:"
    return _THINK.format(
        task=task,
        num_steps=num_steps,
        history=introduction + history,
        observation=_show(observation),
        options=options,
    )


def action_prompt(
    task: str, num_steps: int, turns: Sequence[Turn], observation: str, actions: Sequence[str] | None
) -> str:
    """Return a prompt of few tokens for small models, which asks for an action alone; see `think_prompt`."""
    lines = [f"Task: {task}", f"Step: {num_steps}"]
    for turn in turns:
        lines += [_show(turn.observation), f"> {turn.action}"]
    lines.append(_show(observation))
    if actions is not None:
        lines.append("Actions: " + " | ".join(actions))
    return "\n".join([*lines, "Answer with one action."])


def _show(observation: str) -> str:
    # An action of help has its own layout, which ends in a line feed.
    return without_introduction(observation).strip()


def parse_action(completion: str, prompt_format: str) -> str:
    """Return the action a completion names, as far as possible in the game's own spelling. Total: it never raises.

    Case, surrounding quotes and punctuation, and repeated blanks are evened out. Where an action alone is asked for,
    the first line that is not empty is the action: what follows it is no part of the answer.
    """
    if prompt_format == "action" and "<action>" not in completion:
        completion = next((line for line in completion.splitlines() if line.strip()), "")
    return base.parse_action(completion).lower().strip(_DECORATION)
