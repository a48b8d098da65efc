"""All that a game's file says, compiled: what is left to do is to play."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trl_3spo.environments.alfworld.simulator.goal import Condition, Goal, compile_goal
from trl_3spo.environments.alfworld.simulator.pddl import read_problem
from trl_3spo.environments.alfworld.simulator.rules import check_predicates, read_rules
from trl_3spo.environments.alfworld.simulator.scene import read_scene
from trl_3spo.environments.alfworld.simulator.state import GameState, Receptacle, Thing
from trl_3spo.environments.alfworld.simulator.text import TASK_PREFIX

_TASK = re.compile(re.escape(TASK_PREFIX) + r'([^"]*)"')
_PLACING = re.compile(r'action\s+PutObject\s*\{\s*template\s*::\s*"([^"]*)"')

OLD_RELEASE = (
    "It is of an older ALFWorld release, where one says 'put X in/on Y'; required is the current one, where one says "
    "'move X to Y': fetch it with `alfworld-download --force` of alfworld 0.4 or newer."
)


class Definition(NamedTuple):
    """A game.

    Args:
        task: The task sentence.
        walkthrough: Actions that win, if there are any in the file.
        receptacles: Receptacles by index.
        objects: Objects by index.
        accepts: Indices of the objects that may be put into each receptacle.
        initial: First state.
        goal: When it is won.
        examines_contents: See `Rules`.
    """

    task: str
    walkthrough: tuple[str, ...] | None
    receptacles: tuple[Receptacle, ...]
    objects: tuple[Thing, ...]
    accepts: tuple[frozenset[int], ...]
    initial: GameState
    goal: Goal
    examines_contents: bool


def read_definition(data: Mapping[str, Any]) -> Definition:
    """Read the content of a `game.tw-pddl` file.

    Raises:
        ValueError: It is no ALFWorld game, or one of an older release.
    """
    problem = read_problem(_read_text(data, "pddl_problem"))
    check_predicates("problem", problem.facts)
    rules = read_rules(_read_text(data, "pddl_domain") if "pddl_domain" in data else None)
    scene = read_scene(problem, rules)
    return Definition(
        task=_read_task(data),
        walkthrough=_read_walkthrough(data.get("walkthrough")),
        receptacles=scene.receptacles,
        objects=scene.objects,
        accepts=scene.accepts,
        initial=scene.initial,
        goal=compile_goal(problem, scene.numbering),
        examines_contents=rules.examines_contents,
    )


def to_json(definition: Definition) -> str:
    """Write a definition down."""
    receptacles = [dataclasses.astuple(receptacle) for receptacle in definition.receptacles]
    objects = [dataclasses.astuple(thing) for thing in definition.objects]
    # Receptacles of one type accept the same, which is written and read once.
    accepted = list(dict.fromkeys(definition.accepts))
    accepts = [accepted.index(things) for things in definition.accepts], [sorted(things) for things in accepted]
    task, walkthrough, _, _, _, initial, goal, examines_contents = definition
    plain = [task, walkthrough, receptacles, objects, accepts, initial, goal.sentences, examines_contents]
    return json.dumps(plain, separators=(",", ":"))


def from_json(text: str | bytes) -> Definition:
    """Read what `to_json` wrote.

    Raises:
        TypeError: It is something else.
        ValueError: Likewise.
    """
    task, walkthrough, receptacles, objects, accepts, initial, sentences, examines_contents = _tuples(json.loads(text))
    accepted = [frozenset(things) for things in accepts[1]]
    return Definition(
        task=task,
        walkthrough=walkthrough,
        receptacles=tuple(Receptacle(*row) for row in receptacles),
        objects=tuple(Thing(*row) for row in objects),
        accepts=tuple(accepted[i] for i in accepts[0]),
        initial=GameState(*initial),
        goal=Goal(tuple(tuple(tuple(Condition(*row) for row in rows) for rows in sentence) for sentence in sentences)),
        examines_contents=examines_contents,
    )


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _read_text(data: Any, name: str) -> str:
    value = data.get(name) if isinstance(data, Mapping) else None
    if not isinstance(value, str):
        raise ValueError(
            f"The game data has no text {name!r} but {_outline(data)}; the content of a game.tw-pddl file of the "
            "current ALFWorld release is required, which `alfworld-download` fetches."
        )
    return value


def _outline(data: Any) -> str:
    if isinstance(data, Mapping):
        return f"the keys {', '.join(sorted(map(str, data))) or '(none)'}"
    return f"is of type {type(data).__name__}"


def _read_walkthrough(actions: Any) -> tuple[str, ...] | None:
    return tuple(map(str, actions)) if isinstance(actions, Sequence) and actions else None


def _read_task(data: Mapping[str, Any]) -> str:
    if isinstance(data.get("task"), str):
        return str(data["task"]).removeprefix(TASK_PREFIX)
    grammar = _read_text(data, "grammar")
    placing = _PLACING.search(grammar)
    if placing and placing.group(1) != "move {o} to {r}":
        raise ValueError(OLD_RELEASE)
    match = _TASK.search(grammar)
    if match is None:
        raise ValueError(f"The game's grammar does not say {TASK_PREFIX!r}; the task must be there or in 'task'.")
    return match.group(1)
