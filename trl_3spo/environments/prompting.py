"""Common parts of the benchmarks' prompts: two formats, and a few past turns or all of them."""

from collections.abc import Callable, Sequence
from typing import get_args

from trl_3spo.environments.base import Message, Observation, PromptStyle, Turn
from trl_3spo.environments.conversation import conversation

MAX_ACTION_CHARACTERS = 1000
"""Limit on an action, in characters. No benchmark has an action of a tenth of this length."""

PROMPT_FORMATS = ("think", "action")
"""`think` asks for `<think>…</think><action>…</action>`, `action` for an action alone in few tokens."""

Writer = Callable[[str, int, Sequence[Turn], str, Sequence[str] | None], str]
"""Function that writes a prompt: from the task, number of actions, last turns, observation and admissible actions."""

Show = Callable[[str], str]
"""Shortens an observation to what the prompt has not said yet."""


def check_prompt_options(prompt_format: str, history_length: int, prompt_style: str) -> None:
    """Check an environment's options for its prompts.

    Raises:
        ValueError: An option is out of its range.
    """
    if prompt_style not in get_args(PromptStyle):
        raise ValueError(f"prompt_style is {prompt_style!r}; required is {' or '.join(get_args(PromptStyle))}.")
    if prompt_format not in PROMPT_FORMATS:
        raise ValueError(f"prompt_format is {prompt_format!r}; required is {' or '.join(PROMPT_FORMATS)}.")
    if history_length < 0:
        raise ValueError(f"history_length is {history_length}; it must be at least 0 turns.")


def ask(
    write: Writer,
    task: str,
    turns: Sequence[Turn],
    history_length: int,
    observation: str,
    actions: Sequence[str] | None,
) -> list[Message]:
    """Return one user message that asks for the next action.

    Args:
        write: Writer of the prompt format.
        task: Text of the task.
        turns: Turns so far, oldest first.
        history_length: Number of past turns to show.
        observation: Text of the current observation.
        actions: Admissible actions; `None` lists none.
    """
    recent = turns[max(0, len(turns) - history_length) :]
    return [{"role": "user", "content": write(task, len(turns), recent, observation, actions)}]


def converse(opening: str, observation: Observation, turns: Sequence[Turn]) -> list[Message]:
    """Return the whole episode as a conversation, which begins with what is said once, as the system's message."""
    return conversation([{"role": "system", "content": opening}], observation, turns)


def told(text: str) -> tuple[Message, ...]:
    """Return what the environment says in a conversation, as an observation's messages."""
    return ({"role": "user", "content": text},)


def action_opening(task: str) -> str:
    """Return the short form of what a conversation begins with, for prompts that ask only for an action."""
    return f"Task: {task}\nAnswer with one action."


def action_turn(shown: str, options: str | None) -> str:
    """Return the short form of one turn of a conversation. `None` lists no options."""
    return shown if options is None else f"{shown}\nActions: {options}"


def fill_think(
    template: str, show: Show, task: str, num_steps: int, turns: Sequence[Turn], observation: str, options: str
) -> str:
    """Return a prompt that asks for a thought and an action.

    Args:
        template: Template of the benchmark, with `{task}`, `{num_steps}`, `{history}`, `{observation}`, `{options}`.
        show: Function that shortens observations.
        task: Text of the task.
        num_steps: Number of actions taken so far.
        turns: Last turns, oldest first.
        observation: Text of the current observation.
        options: Text of the admissible actions.
    """
    introduction = " The latest, each after what you saw before it:" if turns else ""
    history = "".join(f"\n\nYou saw:\n{show(turn.observation)}\nYou did: {turn.action}" for turn in turns)
    return template.format(
        task=task,
        num_steps=num_steps,
        history=introduction + history,
        observation=show(observation),
        options=options,
    )


def fill_action(
    show: Show, task: str, num_steps: int, turns: Sequence[Turn], observation: str, options: str | None
) -> str:
    """Return a short prompt that asks only for an action; see `fill_think`. `None` lists no options."""
    lines = [f"Task: {task}", f"Step: {num_steps}"]
    for turn in turns:
        lines += [show(turn.observation), f"> {turn.action}"]
    lines.append(show(observation))
    if options is not None:
        lines.append(f"Actions: {options}")
    return "\n".join([*lines, "Answer with one action."])
