"""`trl-3spo play`: a task by hand, in the terminal, with what a policy would be asked."""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from trl_3spo.algorithm.asking import ask, parse
from trl_3spo.algorithm.records import Episode, Visit, first_visit, next_visit
from trl_3spo.cli.arguments import add_environment_options
from trl_3spo.cli.names import ALFWORLD, make_environment
from trl_3spo.environments.base import Environment, Task
from trl_3spo.environments.failures import NoAction
from trl_3spo.environments.guarded import GuardedEnvironment
from trl_3spo.environments.plain_text import printable

HELP = """Type an answer as the policy would give it, or the number of an action.
  :prompt  what the policy is asked here
  :back    one step back
  :keys    the names under which success is counted here
  :quit    end"""


def add_command(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to a parser's."""
    play = commands.add_parser(
        "play",
        parents=[common],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="play a task by hand and see what the policy would see",
        description=HELP,
    )
    play.add_argument("environment", nargs="?", default=ALFWORLD, metavar="MODULE:NAME", help="default: ALFWorld")
    add_environment_options(play)
    play.add_argument("--task", help="its id; default: the first")
    play.add_argument("--show_prompt", action="store_true", help="show at every step what the policy is asked")
    play.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Play until the task or the input ends."""
    with GuardedEnvironment(make_environment(options.environment, options.environment_options)) as env:
        task = _chosen(env.tasks(), options.task)
        print(
            f"Task {printable(task.id)}{f', {printable(task.kind)}' if task.kind else ''}. :help says what to type.\n"
        )
        visit = _play(env, first_visit(env, task), options.show_prompt)
    if visit.result.is_final:
        episode = Episode(visit)
        print(f"\n{episode.stop_reason} after {episode.num_steps} steps, paid {episode.paid:g}")


def _chosen(tasks: Sequence[Task], wanted: str | None) -> Task:
    found = [task for task in tasks if wanted is None or task.id == wanted]
    if not found:
        ids = ", ".join(printable(task.id) for task in tasks[:3])
        raise ValueError(f"There is no task {wanted!r} among the {len(tasks)}; ids look like {ids}.")
    return found[0]


def _play(env: Environment, visit: Visit, shows_prompt: bool) -> Visit:
    _show(env, visit, shows_prompt)
    for line in _lines():
        if line == ":quit":
            break
        if line.startswith(":"):
            visit = _command(env, visit, line)
            continue
        visit = next_visit(env, visit, parse(env, visit.task, _answer(visit, line)))
        _show(env, visit, shows_prompt)
        if visit.result.is_final:
            break
    return visit


def _lines() -> Iterator[str]:
    while True:
        try:
            yield input("> ").strip()
        except EOFError:
            return


def _command(env: Environment, visit: Visit, command: str) -> Visit:
    if command == ":back" and visit.parent is not None:
        _show(env, visit.parent, False)
        return visit.parent
    if command == ":prompt":
        _show_prompt(env, visit)
    elif command == ":keys":
        print("\n".join(printable(str(key)) for key in visit.observation.score_keys or (visit.observation.state_key,)))
    else:
        print(HELP)
    return visit


def _answer(visit: Visit, line: str) -> str:
    """Return what was typed, or the action that a number stands for."""
    actions = visit.observation.admissible_actions
    is_number = line.isdigit() and line not in actions and 1 <= int(line) <= len(actions)
    return actions[int(line) - 1] if is_number else line


def _show(env: Environment, visit: Visit, shows_prompt: bool) -> None:
    if visit.result.failure:
        print(f"The environment failed: {printable(visit.result.failure)}")
    if shows_prompt and not visit.result.is_final:
        _show_prompt(env, visit)
    else:
        print(printable(visit.observation.text))
    for number, action in enumerate(() if visit.result.is_final else visit.observation.admissible_actions, 1):
        print(f"  {number:>3}  {printable(action)}")


def _show_prompt(env: Environment, visit: Visit) -> None:
    prompt = ask(env, visit)
    if isinstance(prompt, NoAction):
        print(f"There is no prompt here: {prompt}")
        return
    for message in prompt:
        print(f"[{message['role']}]\n{printable(str(message['content']))}")
