"""The environment contract as a check: `check_environment(env)` in a test of your own environment is all it takes."""

import ast
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, NoReturn

from trl_3spo.environments.base import Environment, Observation, StepResult, Task, Turn

JUNK_ACTIONS = ("", " ", "\n", "\x00\x07\x1b[2J", "x" * 10_000, "<action>", '{"name": ', "((((", "Öffne die Tür 🚪 火")
"""Strings that mean nothing in any world."""

_OBSERVED = ("state_key", "text", "admissible_actions", "score_keys")
_OUTCOME = ("reward", "terminated", "truncated", "success")


class EnvironmentContractError(AssertionError):
    """An environment does not do what `trl_3spo.environments.base` requires of it."""


class ContractReport(NamedTuple):
    """What a check went through; small numbers mean that it saw little.

    Args:
        num_tasks: Tasks walked in.
        num_steps: Steps compared with a second taking of them.
        num_ends: Walks that reached the end of the episode.
        num_successes: Walks that solved the task.
        num_revisits: Visits to a state key seen before, each compared with the first.
    """

    num_tasks: int
    num_steps: int
    num_ends: int
    num_successes: int
    num_revisits: int


@dataclass(frozen=True)
class _Visit:
    """A state on a walk, and what was done there: no action where the walk stopped."""

    task: Task
    turns: tuple[Turn, ...]
    snapshot: Any
    observation: Observation
    action: str = ""
    result: StepResult | None = None
    is_final: bool = False


def check_environment(
    env: Environment, *, tasks: int = 3, steps: int = 30, seed: int = 0, actions: Sequence[str] = ()
) -> ContractReport:
    """Walk about in an environment at random and raise if it breaks the contract.

    Goes back to every state of every walk in a random order, takes the same action again and expects the same. That two
    state keys are equal where they should be is seen at revisits and at actions that mean nothing; that a key is finer
    than the behaviour behind it cannot be seen otherwise.

    Args:
        env: The environment. It is left in some state, not closed.
        tasks: Number of tasks of the default split to walk in, at least 1.
        steps: Steps per walk, at least 1.
        seed: Of the choice of actions.
        actions: What to try where an observation lists no admissible actions. Without them such a world is only given
            strings that mean nothing.

    Raises:
        EnvironmentContractError: With what was wrong, in which task, after which actions, and what is required.
        ValueError: `tasks` or `steps` is below 1.
    """
    if tasks < 1 or steps < 1:
        raise ValueError(f"tasks={tasks}, steps={steps}: at least 1 of each is required.")
    rng = random.Random(seed)
    chosen = _check_tasks(env)[:tasks]
    visits = [visit for task in chosen for visit in _walk(env, task, steps, actions, rng)]
    _check_unknown_task(env, chosen[0])
    prompts = [env.prompt(visit.task, visit.observation, visit.turns) for visit in visits]
    for index in rng.sample(range(len(visits)), len(visits)):
        visit = visits[index]
        _check_return(env, visit)
        _check_prompt(env, visit, prompts[index])
        _check_again(env, visit)
    _check_each(env, visits)
    num_revisits = _check_revisits(env, visits, rng)
    for visit in visits:
        _check_junk(env, visit, rng.choice(JUNK_ACTIONS))
    _check_parser(env, visits)
    results = [visit.result for visit in visits if visit.result is not None]
    num_ends, num_successes = sum(result.is_final for result in results), sum(result.success for result in results)
    return ContractReport(len(chosen), len(results), num_ends, num_successes, num_revisits)


def _fail(wrong: str, required: str, visit: _Visit | None = None) -> NoReturn:
    where = ""
    if visit is not None:
        past = ", ".join(repr(_short(turn.action)) for turn in visit.turns) or "no action"
        where = f" In task {visit.task.id!r} after {past}."
    raise EnvironmentContractError(f"{wrong}{where} Required: {required}")


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def _expect(exception: type[Exception], call: Callable[[], object], what: str, visit: _Visit | None = None) -> None:
    required = f"{what} raises {exception.__name__}."
    try:
        value = call()
    except exception:
        return
    except Exception as error:
        _fail(f"{what} raised {type(error).__name__}: {error}.", required, visit)
    _fail(f"{what} returned {_short(repr(value))}.", required, visit)


def _check_tasks(env: Environment) -> Sequence[Task]:
    tasks = env.tasks()
    ids = [task.id for task in tasks]
    if not ids:
        _fail("tasks() is empty.", "the default split has a task.")
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        _fail(f"Task id {twice!r} occurs {ids.count(twice)} times.", "ids are unique.")
    if [task.id for task in env.tasks()] != ids:
        _fail("Two calls of tasks() return different tasks.", "tasks come in a fixed order.")
    _expect(ValueError, lambda: env.tasks("no such split"), "tasks() of an unknown split")
    return tasks


def _check_unknown_task(env: Environment, task: Task) -> None:
    stranger = replace(task, id=f"{task.id}, but not a task of this environment", data=None)
    _expect(ValueError, lambda: env.reset(stranger), "reset() to an unknown task")


def _walk(env: Environment, task: Task, steps: int, actions: Sequence[str], rng: random.Random) -> Iterator[_Visit]:
    observation = env.reset(task)
    visit = _Visit(task, (), env.snapshot(), observation)
    _check_observation(visit)
    if env.reset(task) != observation:
        _fail("A second reset() shows something else than the first.", "reset() of one task gives one state.", visit)
    for _ in range(steps):
        action = rng.choice(visit.observation.admissible_actions or tuple(actions) or JUNK_ACTIONS)
        result = _step(env, action, visit)
        yield replace(visit, action=action, result=result)
        turns = (*visit.turns, Turn(visit.observation.text, action))
        visit = _Visit(task, turns, env.snapshot(), result.observation, is_final=result.is_final)
        if visit.is_final:
            break
    yield visit


def _step(env: Environment, action: str, visit: _Visit) -> StepResult:
    try:
        result = env.step(action)
    except Exception as error:
        _fail(
            f"step({_short(action)!r}) raised {type(error).__name__}: {error}.",
            "an action is any string; one that means nothing here leaves the state as it is.",
            visit,
        )
    after = replace(visit, turns=(*visit.turns, Turn(visit.observation.text, action)))
    _check_result(result, after)
    _check_observation(replace(after, observation=result.observation))
    return result


def _check_result(result: StepResult, visit: _Visit) -> None:
    if not isinstance(result, StepResult):
        _fail(f"step() returned {type(result).__name__}.", "step() returns a StepResult.", visit)
    if not isinstance(result.reward, int | float) or not math.isfinite(result.reward):
        _fail(f"The reward is {result.reward!r}.", "a reward is a finite number.", visit)
    for name in ("terminated", "truncated", "success"):
        if not isinstance(getattr(result, name), bool):
            _fail(f"{name} is {getattr(result, name)!r}.", f"{name} is True or False.", visit)
    if result.success and not result.terminated:
        _fail("A step is a success but not terminated.", "only a terminated step is a success.", visit)


def _check_observation(visit: _Visit) -> None:
    shown = visit.observation
    if not isinstance(shown, Observation) or not isinstance(shown.text, str):
        _fail(f"The state is shown as {_short(repr(shown))}.", "an Observation with a text of type str.", visit)
    admissible = shown.admissible_actions
    if not isinstance(admissible, tuple) or not all(isinstance(action, str) for action in admissible):
        _fail(f"admissible_actions is {_short(repr(admissible))}.", "admissible_actions is a tuple of strings.", visit)
    if len(set(admissible)) < len(admissible):
        _fail(f"admissible_actions repeats one: {_short(repr(admissible))}.", "each action is listed once.", visit)
    _check_key("state_key", shown.state_key, visit)
    if not isinstance(shown.score_keys, tuple):
        _fail(f"score_keys is {_short(repr(shown.score_keys))}.", "score_keys is a tuple of keys.", visit)
    for key in shown.score_keys:
        _check_key("A score key", key, visit)


def _check_key(name: str, key: Any, visit: _Visit) -> None:
    try:
        hash(key)
        is_plain = ast.literal_eval(repr(key)) == key
    except (TypeError, ValueError, SyntaxError, MemoryError, RecursionError):
        is_plain = False
    if not is_plain:
        required = "a key consists of strings, bytes, numbers, booleans, None and tuples, and repr() says all of it."
        _fail(f"{name} is {_short(repr(key))} of type {type(key).__name__}.", required, visit)


def _check_return(env: Environment, visit: _Visit) -> None:
    required = "a snapshot keeps its state, whatever steps and tasks come after it."
    _compare("restore()", _OBSERVED, env.restore(visit.snapshot), visit.observation, required, visit)


def _compare(call: str, names: Sequence[str], now: Any, then: Any, required: str, visit: _Visit) -> None:
    for name in names:
        if getattr(now, name) != getattr(then, name):
            values = f"{_short(repr(getattr(now, name)), 200)}, not {_short(repr(getattr(then, name)), 200)}"
            _fail(f"{call} gives another {name}: {values}.", required, visit)


def _check_prompt(env: Environment, visit: _Visit, earlier: Any) -> None:
    prompt = env.prompt(visit.task, visit.observation, visit.turns)
    is_chat = isinstance(prompt, list) and all(isinstance(message, dict) for message in prompt) and prompt
    if not is_chat or not all(isinstance(message.get(key), str) for message in prompt for key in ("role", "content")):
        _fail(f"prompt() returned {_short(repr(prompt))}.", "a list of messages with role and content.", visit)
    if prompt != earlier:
        _fail("Two calls of prompt() differ.", "prompt() depends on its arguments alone.", visit)


def _check_again(env: Environment, visit: _Visit) -> None:
    """Take the visit's step a second time; the environment is in its state."""
    if visit.is_final:
        _expect(RuntimeError, lambda: env.step("look"), "step() after the end of the episode", visit)
    if visit.result is None:
        return
    result = _step(env, visit.action, visit)
    call = f"step({_short(visit.action)!r}) after restore()"
    required = "the same action from the same snapshot gives the same result."
    _compare(call, _OBSERVED, result.observation, visit.result.observation, required, visit)
    _compare(call, _OUTCOME, result, visit.result, required, visit)


def _check_each(env: Environment, visits: Sequence[_Visit]) -> None:
    """Take all steps of all walks at once."""
    required = "step_each() gives for each move what restore() and step() give, and where it led: None after the end."
    moved = [(visit, visit.result) for visit in visits if visit.result is not None]
    reached = env.step_each([(visit.snapshot, visit.action) for visit, _ in moved])
    if len(reached) != len(moved):
        _fail(f"step_each() returned {len(reached)} results for {len(moved)} moves.", required)
    for (visit, expected), (result, snapshot) in zip(moved, reached, strict=True):
        _compare("step_each()", _OBSERVED, result.observation, expected.observation, required, visit)
        _compare("step_each()", _OUTCOME, result, expected, required, visit)
        if (snapshot is None) != expected.is_final:
            _fail(f"step_each() led to the snapshot {_short(repr(snapshot))}.", required, visit)
        if snapshot is not None:
            _compare("step_each()", _OBSERVED, env.restore(snapshot), expected.observation, required, visit)


def _check_junk(env: Environment, visit: _Visit, junk: str) -> None:
    if visit.is_final:
        return
    result = _restored_step(env, visit, junk)
    admissible = visit.observation.admissible_actions
    if admissible and junk not in admissible and result.observation.state_key != visit.observation.state_key:
        _fail(
            f"The state key changes with {_short(junk)!r}, which is not admissible: "
            f"{_short(repr(visit.observation.state_key))} becomes {_short(repr(result.observation.state_key))}.",
            "an action that means nothing leaves the state as it is, and its key counts neither steps nor the past.",
            visit,
        )
    if visit.result is not None and visit.action in admissible and _is_same(result, visit.result):
        required = "admissible actions are those that do something."
        _fail(f"{visit.action!r} is admissible and does the same as {_short(junk)!r}.", required, visit)
    env.restore(visit.snapshot)
    _check_again(env, visit)


def _is_same(result: StepResult, other: StepResult) -> bool:
    return result.observation.text == other.observation.text and _consequences(result) == _consequences(other)


def _consequences(result: StepResult) -> tuple[Any, ...]:
    return result.observation.state_key, result.reward, result.terminated, result.success


def _check_revisits(env: Environment, visits: Sequence[_Visit], rng: random.Random) -> int:
    """Compare visits that share a state key: whatever is done there has to have the same consequences."""
    first: dict[Any, _Visit] = {}
    num_revisits = 0
    for visit in visits:
        known = first.setdefault(visit.observation.state_key, visit)
        if known is visit or visit.is_final or known.is_final:
            continue
        num_revisits += 1
        if set(known.observation.admissible_actions) != set(visit.observation.admissible_actions):
            _fail_alike(known, visit, "other actions are admissible")
        for action in (known.action, visit.action, rng.choice(visit.observation.admissible_actions or JUNK_ACTIONS)):
            outcomes = {_consequences(_restored_step(env, each, action)) for each in (known, visit)}
            if len(outcomes) > 1:
                _fail_alike(known, visit, f"{_short(action)!r} has other consequences")
    return num_revisits


def _restored_step(env: Environment, visit: _Visit, action: str) -> StepResult:
    env.restore(visit.snapshot)
    return _step(env, action, visit)


def _fail_alike(known: _Visit, visit: _Visit, difference: str) -> NoReturn:
    past = ", ".join(repr(_short(turn.action)) for turn in known.turns) or "no action"
    _fail(
        f"The state key {_short(repr(visit.observation.state_key))} was seen in task {known.task.id!r} after {past}, "
        f"but {difference} now.",
        "states with equal keys are one state, with the same consequences of every action.",
        visit,
    )


def _check_parser(env: Environment, visits: Sequence[_Visit]) -> None:
    texts = {visit.action for visit in visits} | {f"<action>{visit.action}</action>" for visit in visits}
    for text in [*JUNK_ACTIONS, *sorted(texts)]:
        try:
            parsed = [env.parse_action(text), env.parse_action(text)]
        except Exception as error:
            _fail(f"parse_action({_short(text)!r}) raised {type(error).__name__}: {error}.", "it never raises.")
        if not isinstance(parsed[0], str) or parsed[0] != parsed[1]:
            _fail(f"parse_action({_short(text)!r}) returned {_short(repr(parsed))}.", "one string for one text.")
