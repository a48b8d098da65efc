"""OpenEnv environments, in this process or on a server, as environments that can go back."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trl_3spo.environments.adapters.plain_keys import digest, plain_key
from trl_3spo.environments.adapters.replay import ReplayEnvironment
from trl_3spo.environments.adapters.seeded_tasks import seeded_tasks
from trl_3spo.environments.adapters.splits import Splits
from trl_3spo.environments.base import Environment, Key, Observation, PromptStyle, StepResult, Task
from trl_3spo.environments.limited import NO_EPISODE

NOT_SHOWN = ("done", "reward", "metadata")
"""Fields of an OpenEnv observation that are not shown to the policy."""
COUNTERS = ("episode_id", "step_count")
"""Fields of an OpenEnv state that do not affect what actions do."""

NO_SESSION = (
    "The server closes the connection. It may have no free session left: raise its max_concurrent_envs or lower "
    "num_sessions."
)
"""Error message for a server without a free session."""

ReadAction = Callable[[str], Any]


class OpenEnvEnvironment(ReplayEnvironment):
    """An OpenEnv environment: an object in this process, or sessions on a server.

    Snapshots: an object in this process is copied. A session on a server is reset and its actions are replayed. This
    needs an environment that behaves the same after every reset with the same arguments. If a server can return and set
    its state, pass `save` and `load`. An object that cannot be copied is replayed too.

    With `num_sessions` above 1, `step_each` uses several sessions at once. A server allows that if its environment sets
    `SUPPORTS_CONCURRENT_SESSIONS` and the server's `max_concurrent_envs` is as large.

    The state key holds the environment's `state` without `episode_id` and `step_count`, the observation, and all
    revealed texts. Most OpenEnv environments say little about their state, and many actions only reveal something.

    Args:
        env: An environment or a client, a callable without arguments that makes one (required for several sessions),
            or the address of a server, such as `"http://localhost:8000"`.
        action: Function that makes an OpenEnv action of a text, or the environment's class of actions. A class with one
            field takes the text as that field; a class with several is read from JSON. A text that is no action never
            reaches the environment. With an address, the function returns a dictionary.
        splits: Tasks by split; a task's data are the keyword arguments of the environment's `reset`. The default has
            the seeds 0 to 99 in `"train"` and 100 to 199 in `"test"`.
        text: Function that makes a text of an observation, a dictionary. The default takes the only text field, or else
            all fields by name.
        success_reward: Least reward of the last step of an episode that counts as a success.
        reward_range: Lowest and highest return of an episode, for `objective="reward"`.
        state_key: Function that gives the exact key of a state, from the observation and `state`, two dictionaries.
        score_keys: Function that gives coarser names of an `Observation`, from fine to coarse and without the time.
        reveals: Whether revealed texts belong to the state.
        save: Function that returns a client's state, as a value that later steps do not change.
        load: Function that takes a client and such a value, and sets the client to that state.
        max_steps: Steps after which an episode is truncated, at least 1.
        num_sessions: Number of environments or sessions, at least 1.
        prompt_style: Form of the prompts, see `Environment`.
        system_prompt: System message, see `Environment`.

    Raises:
        ValueError: There is no task, a number is below 1, or only one of `save` and `load` is given.
    """

    def __init__(
        self,
        env: Any,
        action: type[Any] | ReadAction,
        splits: Mapping[str, Sequence[Task]] | None = None,
        *,
        text: Callable[[dict[str, Any]], str] | None = None,
        success_reward: float = 1.0,
        reward_range: tuple[float, float] = (0.0, 1.0),
        state_key: Callable[[dict[str, Any], dict[str, Any]], Key] | None = None,
        score_keys: Callable[[Observation], Sequence[Key]] | None = None,
        reveals: bool = True,
        save: Callable[[Any], Any] | None = None,
        load: Callable[[Any, Any], None] | None = None,
        max_steps: int = 50,
        num_sessions: int = 1,
        prompt_style: PromptStyle = Environment.prompt_style,
        system_prompt: str = "",
    ) -> None:
        if (save is None) != (load is None):
            raise ValueError("Only one of save and load is given: to put an environment back, both are required.")
        if max_steps < 1:
            raise ValueError(f"max_steps={max_steps}: at least 1 is required.")
        splits = splits or {"train": seeded_tasks(0, 100), "test": seeded_tasks(100, 200)}
        if not any(splits.values()):
            raise ValueError("There are no tasks: give at least one.")
        make, read = _maker(env, num_sessions), _reader(action)
        own = (save, load) if save and load else None

        def session() -> OpenEnvSession:
            return OpenEnvSession(make(), read, splits, text or _shown, state_key, own, success_reward, max_steps)

        super().__init__(session, num_worlds=num_sessions, score_keys=score_keys, reveals=reveals)
        self.reward_range = reward_range
        self.prompt_style = prompt_style
        self.system_prompt = system_prompt


class OpenEnvSession:
    """One OpenEnv environment or client that goes forward and, if it can, returns its state.

    Args:
        env: Environment, or a client of one.
        read: Function that makes an action of a text.
        splits: Tasks by split.
        text: Function that makes a text of an observation.
        state_key: Function that makes a key of the observation and the state, or `None`.
        own: Functions that return and set the state of `env`, or `None`.
        success_reward: Least reward of the last step of an episode that counts as a success.
        max_steps: Steps after which an episode is truncated.
    """

    def __init__(
        self,
        env: Any,
        read: ReadAction,
        splits: Mapping[str, Sequence[Task]],
        text: Callable[[dict[str, Any]], str],
        state_key: Callable[[dict[str, Any], dict[str, Any]], Key] | None,
        own: tuple[Callable[[Any], Any], Callable[[Any, Any], None]] | None,
        success_reward: float,
        max_steps: int,
    ) -> None:
        # Clients are asynchronous; each brings a loop of its own.
        self._env = env.sync() if hasattr(env, "sync") else env
        self._read = read
        self._splits = Splits(splits)
        self._text = text
        self._state_key = state_key
        self._own = own
        # A client's `state` is a method that asks the server; of a connection there is no copy.
        self._can_be_copied = not callable(getattr(type(self._env), "state", None))
        self._success_reward = success_reward
        self._max_steps = max_steps
        self._now: tuple[Task, Observation, int] | None = None

    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the tasks of a split."""
        return self._splits.tasks(split)

    def reset(self, task: Task) -> Observation:
        """Start a task.

        Raises:
            ValueError: The task is not one of this environment's.
        """
        task, self._now = self._splits.find(task), None
        observation = self._observed(task, self._begun(task.data or {}))
        self._now = task, observation, 0
        return observation

    def _begun(self, arguments: Mapping[str, Any]) -> Any:
        """Reset the environment. A lost connection is made again, which begins another session."""
        try:
            return self._env.reset(**arguments)
        except Exception as error:
            if not _is_closed(error):
                raise
        try:
            self._env.disconnect()
            return self._env.reset(**arguments)
        except Exception as error:
            if _is_closed(error):
                raise ConnectionError(NO_SESSION) from error
            raise

    def step(self, action: str) -> StepResult:
        """Take one action.

        Raises:
            RuntimeError: The episode has ended or never began, or the server refuses.
        """
        if self._now is None:
            raise RuntimeError(NO_EPISODE)
        (task, observation, num_steps), self._now = self._now, None
        reward, is_done = 0.0, False
        native = self._action(action)
        if native is not None:
            result = self._env.step(native)
            observation, reward, is_done = self._observed(task, result), float(result.reward or 0), bool(result.done)
        is_cut_off = not is_done and num_steps + 1 >= self._max_steps
        if not (is_done or is_cut_off):
            self._now = task, observation, num_steps + 1
        is_success = is_done and reward >= self._success_reward
        return StepResult(observation, reward, terminated=is_done, truncated=is_cut_off, success=is_success)

    def _action(self, text: str) -> Any:
        """Return an action, or `None` if the text is none."""
        try:
            return self._read(text)
        except ValueError:  # pydantic's and json's errors are such
            return None

    def _observed(self, task: Task, result: Any) -> Observation:
        shown = _as_dict(getattr(result, "observation", result))
        state = _as_dict(self._env.state() if callable(self._env.state) else self._env.state)
        state = {name: value for name, value in state.items() if name not in COUNTERS}
        shown = {name: value for name, value in shown.items() if name not in NOT_SHOWN}
        text = self._text(shown)
        named = (digest(text), state) if self._state_key is None else self._state_key(shown, state)
        return Observation(text, (task.id, plain_key(named)))

    def save(self) -> Any:
        """Return the state, or `None` if it can only be reached by a replay."""
        if self._own is not None:
            return self._now, self._own[0](self._env)
        if not self._can_be_copied:
            return None
        try:
            return self._now, copy.deepcopy(self._env)
        except Exception:  # whatever a class raises that holds a file, a lock or a connection
            self._can_be_copied = False
            return None

    def load(self, saved: Any) -> None:
        """Go back to a state."""
        self._now, state = saved
        if self._own is not None:
            self._own[1](self._env, state)
        else:
            self._env = copy.deepcopy(state)

    def close(self) -> None:
        """Close the environment, or the connection."""
        self._env.close()


def _is_closed(error: Exception) -> bool:
    return type(error).__module__.startswith("websockets")  # which is loaded with a client, not before


def _maker(env: Any, num_sessions: int) -> Callable[[], Any]:
    if isinstance(env, str):
        return lambda: _client(env)
    if callable(env):
        made: Callable[[], Any] = env
        return made
    if num_sessions > 1:
        raise ValueError(f"num_sessions={num_sessions} needs a callable that makes an environment, or an address.")
    return lambda: env


def _client(address: str) -> Any:
    from openenv.core.generic_client import GenericEnvClient  # brings a web server along

    return GenericEnvClient(base_url=address)


def _reader(action: type[Any] | ReadAction) -> ReadAction:
    fields = [name for name in getattr(action, "model_fields", ()) if name != "metadata"]
    if not fields:
        return action
    validate: Callable[[Any], Any] = action.model_validate  # type: ignore[union-attr]
    if len(fields) > 1:
        return lambda text: validate(json.loads(text))
    (field,) = fields
    return lambda text: validate({field: text})


def _as_dict(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else value.model_dump()


def _shown(observed: dict[str, Any]) -> str:
    texts = [value for value in observed.values() if isinstance(value, str)]
    if len(texts) == 1 and len(observed) == 1:
        return texts[0]
    return "\n".join(f"{name}: {_plain(value)}" for name, value in observed.items())


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
