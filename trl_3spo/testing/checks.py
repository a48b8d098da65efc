"""The single points of the contract: each function raises EnvironmentContractError where an environment breaks one."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from trl_3spo.environments.base import Environment, StepResult, Task
from trl_3spo.testing.walk import JUNK_ACTIONS, Visit, fail, restored_step, short, step

_OBSERVED = ("state_key", "text", "admissible_actions", "score_keys")
_OUTCOME = ("reward", "terminated", "truncated", "success")


def _expect(exception: type[Exception], call: Callable[[], object], what: str, visit: Visit | None = None) -> None:
    required = f"{what} raises {exception.__name__}."
    try:
        value = call()
    except exception:
        return
    except Exception as error:
        fail(f"{what} raised {type(error).__name__}: {error}.", required, visit)
    fail(f"{what} returned {short(repr(value))}.", required, visit)


def check_tasks(env: Environment) -> Sequence[Task]:
    """Return the tasks of the default split, which must be some, unique and in a fixed order."""
    tasks = env.tasks()
    ids = [task.id for task in tasks]
    if not ids:
        fail("tasks() is empty.", "the default split has a task.")
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        fail(f"Task id {twice!r} occurs {ids.count(twice)} times.", "ids are unique.")
    if [task.id for task in env.tasks()] != ids:
        fail("Two calls of tasks() return different tasks.", "tasks come in a fixed order.")
    _expect(ValueError, lambda: env.tasks("no such split"), "tasks() of an unknown split")
    return tasks


def check_unknown_task(env: Environment, task: Task) -> None:
    """Expect a task that is not the environment's to be refused."""
    stranger = replace(task, id=f"{task.id}, but not a task of this environment", data=None)
    _expect(ValueError, lambda: env.reset(stranger), "reset() to an unknown task")


def check_return(env: Environment, visit: Visit) -> None:
    """Expect a snapshot to lead back to its state; the environment is there then."""
    required = "a snapshot keeps its state, whatever steps and tasks come after it."
    _compare("restore()", _OBSERVED, env.restore(visit.snapshot), visit.observation, required, visit)


def _compare(call: str, names: Sequence[str], now: Any, then: Any, required: str, visit: Visit) -> None:
    for name in names:
        if getattr(now, name) != getattr(then, name):
            values = f"{short(repr(getattr(now, name)), 200)}, not {short(repr(getattr(then, name)), 200)}"
            fail(f"{call} gives another {name}: {values}.", required, visit)


def check_prompt(env: Environment, visit: Visit, earlier: Any) -> None:
    """Expect chat messages, the same as `earlier`, when they were asked for in another state."""
    prompt = env.prompt(visit.task, visit.observation, visit.turns)
    is_chat = isinstance(prompt, list) and all(isinstance(message, dict) for message in prompt) and prompt
    if not is_chat or not all(isinstance(message.get(key), str) for message in prompt for key in ("role", "content")):
        fail(f"prompt() returned {short(repr(prompt))}.", "a list of messages with role and content.", visit)
    if prompt != earlier:
        fail("Two calls of prompt() differ.", "prompt() depends on its arguments alone.", visit)


def check_again(env: Environment, visit: Visit) -> None:
    """Take the visit's step a second time; the environment is in its state."""
    if visit.is_final:
        _expect(RuntimeError, lambda: env.step("look"), "step() after the end of the episode", visit)
    if visit.result is None:
        return
    result = step(env, visit.action, visit)
    call = f"step({short(visit.action)!r}) after restore()"
    required = "the same action from the same snapshot gives the same result."
    _compare(call, _OBSERVED, result.observation, visit.result.observation, required, visit)
    _compare(call, _OUTCOME, result, visit.result, required, visit)


def check_each(env: Environment, visits: Sequence[Visit]) -> None:
    """Take all steps of all walks at once."""
    required = "step_each() gives for each move what restore() and step() give, and where it led: None after the end."
    moved = [(visit, visit.result) for visit in visits if visit.result is not None]
    reached = env.step_each([(visit.snapshot, visit.action) for visit, _ in moved])
    if len(reached) != len(moved):
        fail(f"step_each() returned {len(reached)} results for {len(moved)} moves.", required)
    for (visit, expected), (result, snapshot) in zip(moved, reached, strict=True):
        _compare("step_each()", _OBSERVED, result.observation, expected.observation, required, visit)
        _compare("step_each()", _OUTCOME, result, expected, required, visit)
        if (snapshot is None) != expected.is_final:
            fail(f"step_each() led to the snapshot {short(repr(snapshot))}.", required, visit)
        if snapshot is not None:
            _compare("step_each()", _OBSERVED, env.restore(snapshot), expected.observation, required, visit)


def check_junk(env: Environment, visit: Visit, junk: str) -> None:
    """Expect an action that means nothing to change nothing. One that is admissible may: there are walls."""
    if visit.is_final:
        return
    result = restored_step(env, visit, junk)
    admissible = visit.observation.admissible_actions
    if admissible and junk not in admissible and result.observation.state_key != visit.observation.state_key:
        fail(
            f"The state key changes with {short(junk)!r}, which is not admissible: "
            f"{short(repr(visit.observation.state_key))} becomes {short(repr(result.observation.state_key))}.",
            "an action that means nothing leaves the state as it is, and its key counts neither steps nor the past.",
            visit,
        )
    env.restore(visit.snapshot)
    check_again(env, visit)


def _differ(results: Sequence[StepResult]) -> bool:
    """Whether steps have other consequences, without what a limit pays: time is no part of a state."""
    is_cut_off = any(result.truncated for result in results)
    outcomes = {(x.observation.state_key, 0 if is_cut_off else x.reward, x.terminated, x.success) for x in results}
    return len(outcomes) > 1


def check_revisits(env: Environment, visits: Sequence[Visit], rng: random.Random) -> int:
    """Compare visits that share a state key: whatever is done there has to have the same consequences."""
    first: dict[Any, Visit] = {}
    num_revisits = 0
    for visit in visits:
        known = first.setdefault(visit.observation.state_key, visit)
        if known is visit or visit.is_final or known.is_final:
            continue
        num_revisits += 1
        if set(known.observation.admissible_actions) != set(visit.observation.admissible_actions):
            _fail_alike(known, visit, "other actions are admissible")
        for action in (known.action, visit.action, rng.choice(visit.observation.admissible_actions or JUNK_ACTIONS)):
            if _differ([restored_step(env, each, action) for each in (known, visit)]):
                _fail_alike(known, visit, f"{short(action)!r} has other consequences")
    return num_revisits


def _fail_alike(known: Visit, visit: Visit, difference: str) -> NoReturn:
    past = ", ".join(repr(short(turn.action)) for turn in known.turns) or "no action"
    fail(
        f"The state key {short(repr(visit.observation.state_key))} was seen in task {known.task.id!r} after {past}, "
        f"but {difference} now.",
        "states with equal keys are one state, with the same consequences of every action.",
        visit,
    )


def check_parser(env: Environment, visits: Sequence[Visit]) -> None:
    """Expect one string for any text."""
    texts = {visit.action for visit in visits} | {f"<action>{visit.action}</action>" for visit in visits}
    for text in [*JUNK_ACTIONS, *sorted(texts)]:
        try:
            parsed = [env.parse_action(text), env.parse_action(text)]
        except Exception as error:
            fail(f"parse_action({short(text)!r}) raised {type(error).__name__}: {error}.", "it never raises.")
        if not isinstance(parsed[0], str) or parsed[0] != parsed[1]:
            fail(f"parse_action({short(text)!r}) returned {short(repr(parsed))}.", "one string for one text.")
