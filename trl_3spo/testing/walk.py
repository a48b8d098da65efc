"""Random walks in an environment, on which every observation and result is checked by itself."""

import ast
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from trl_3spo.environments.base import Environment, Observation, StepResult, Task, Turn

JUNK_ACTIONS = ("", " ", "\n", "\x00\x07\x1b[2J", "x" * 10_000, "<action>", '{"name": ', "((((", "Öffne die Tür 🚪 火")
"""Strings that mean nothing in any environment."""


class EnvironmentContractError(AssertionError):
    """An environment does not do what `trl_3spo.environments.base` requires of it."""


@dataclass(frozen=True)
class Visit:
    """A state on a walk, and what was done there: no action where the walk stopped."""

    task: Task
    turns: tuple[Turn, ...]
    snapshot: Any
    observation: Observation
    action: str = ""
    result: StepResult | None = None
    is_final: bool = False


def fail(wrong: str, required: str, visit: Visit | None = None) -> NoReturn:
    """Raise an error that says what is wrong, where, and what is required.

    Raises:
        EnvironmentContractError: Always.
    """
    where = ""
    if visit is not None:
        past = ", ".join(repr(short(turn.action)) for turn in visit.turns) or "no action"
        where = f" In task {visit.task.id!r} after {past}."
    raise EnvironmentContractError(f"{wrong}{where} Required: {required}")


def short(text: str, limit: int = 60) -> str:
    """Return a text cut to a length that a message bears."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def walk(env: Environment, task: Task, steps: int, actions: Sequence[str], rng: random.Random) -> Iterator[Visit]:
    """Yield the states of a random walk, each with the step taken there, the last one without.

    Raises:
        EnvironmentContractError: A state or a result is not well-formed, or a second reset differs.
    """
    observation = env.reset(task)
    visit = Visit(task, (), env.snapshot(), observation)
    _check_observation(visit)
    if env.reset(task) != observation:
        fail("A second reset() shows something else than the first.", "reset() of one task gives one state.", visit)
    for _ in range(steps):
        action = rng.choice(visit.observation.admissible_actions or tuple(actions) or JUNK_ACTIONS)
        result = step(env, action, visit)
        yield replace(visit, action=action, result=result)
        turns = (*visit.turns, Turn.at(visit.observation, action))
        visit = Visit(task, turns, env.snapshot(), result.observation, is_final=result.is_final)
        if visit.is_final:
            break
    yield visit


def step(env: Environment, action: str, visit: Visit) -> StepResult:
    """Take a step whose result must be well-formed.

    Raises:
        EnvironmentContractError: The environment raises, or the result is not.
    """
    try:
        result = env.step(action)
    except Exception as error:
        fail(
            f"step({short(action)!r}) raised {type(error).__name__}: {error}.",
            "an action is any string; one that means nothing here leaves the state as it is.",
            visit,
        )
    after = replace(visit, turns=(*visit.turns, Turn.at(visit.observation, action)))
    _check_result(result, after)
    _check_observation(replace(after, observation=result.observation))
    return result


def restored_step(env: Environment, visit: Visit, action: str) -> StepResult:
    """Go back to a visit and take a step there; see `step`."""
    env.restore(visit.snapshot)
    return step(env, action, visit)


def _check_result(result: StepResult, visit: Visit) -> None:
    if not isinstance(result, StepResult):
        fail(f"step() returned {type(result).__name__}.", "step() returns a StepResult.", visit)
    if not isinstance(result.reward, int | float) or not math.isfinite(result.reward):
        fail(f"The reward is {result.reward!r}.", "a reward is a finite number.", visit)
    for name in ("terminated", "truncated", "success"):
        if not isinstance(getattr(result, name), bool):
            fail(f"{name} is {getattr(result, name)!r}.", f"{name} is True or False.", visit)
    if result.success and not result.terminated:
        fail("A step is a success but not terminated.", "only a terminated step is a success.", visit)


def _check_observation(visit: Visit) -> None:
    shown = visit.observation
    if not isinstance(shown, Observation) or not isinstance(shown.text, str):
        fail(f"The state is shown as {short(repr(shown))}.", "an Observation with a text of type str.", visit)
    admissible = shown.admissible_actions
    if not isinstance(admissible, tuple) or not all(isinstance(action, str) for action in admissible):
        fail(f"admissible_actions is {short(repr(admissible))}.", "admissible_actions is a tuple of strings.", visit)
    if len(set(admissible)) < len(admissible):
        fail(f"admissible_actions repeats one: {short(repr(admissible))}.", "each action is listed once.", visit)
    _check_key("state_key", shown.state_key, visit)
    if not isinstance(shown.score_keys, tuple):
        fail(f"score_keys is {short(repr(shown.score_keys))}.", "score_keys is a tuple of keys.", visit)
    for key in shown.score_keys:
        _check_key("A score key", key, visit)


def _check_key(name: str, key: Any, visit: Visit) -> None:
    try:
        hash(key)
        is_plain = ast.literal_eval(repr(key)) == key
    except (TypeError, ValueError, SyntaxError, MemoryError, RecursionError):
        is_plain = False
    if not is_plain:
        required = "a key consists of strings, bytes, numbers, booleans, None and tuples, and repr() says all of it."
        fail(f"{name} is {short(repr(key))} of type {type(key).__name__}.", required, visit)
