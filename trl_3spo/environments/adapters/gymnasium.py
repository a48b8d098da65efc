"""Gymnasium environments that speak text, as environments that can be rewound."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trl_3spo.environments.adapters.copying import CopyingEnvironment
from trl_3spo.environments.base import Key, Observation, StepResult, Task
from trl_3spo.environments.limited import Snapshot

if TYPE_CHECKING:
    import gymnasium


def seeded_tasks(first: int, last: int) -> list[Task]:
    """Return one task per seed, `last` excluded."""
    return [Task(f"seed {seed}", data={"seed": seed}) for seed in range(first, last)]


class GymnasiumEnvironment(CopyingEnvironment):
    """A Gymnasium environment whose observations are text and whose actions have names.

    Observations are strings, or mappings with a string under `text_field`. Actions are a `Text` space, or a `Discrete`
    one with a name for each action. An action outside the space, or outside the admissible ones where `info` lists
    them, never reaches the environment.

    Limits: without `state_key` the text is all that is known of a state, so states that look alike are taken for one.
    `trl_3spo.testing.check_environment` finds such pairs. Snapshots are deep copies of the whole environment; one that
    cannot be copied goes into a `ReplayEnvironment` and has to repeat itself after a reset with the same seed.

    Args:
        env: The environment, or a callable without arguments that makes it.
        splits: Tasks by split; a task's data are the keyword arguments of the environment's `reset`, `seed` and
            `options`. The default has the seeds 0 to 99 in `"train"` and 100 to 199 in `"test"`.
        action_names: Names of the actions of a `Discrete` space, in its order.
        text_field: Where a mapping's text stands.
        admissible_field: Where `info` lists the admissible actions, if it does.
        success_field: Where `info` says whether the task is solved, if it does.
        success_reward: Without that, a terminated step with at least this reward is a success. `None`: none is.
        state_key: Gives the exact key of the state the environment is in, without the task.
        max_steps: Steps after which an episode is truncated, actions that mean nothing included.

    Raises:
        ValueError: The action space is of another kind, or names are missing.
    """

    def __init__(
        self,
        env: "gymnasium.Env[Any, Any] | Callable[[], gymnasium.Env[Any, Any]]",
        *,
        splits: Mapping[str, Sequence[Task]] | None = None,
        action_names: Sequence[str] = (),
        text_field: str = "text",
        admissible_field: str = "admissible_actions",
        success_field: str = "success",
        success_reward: float | None = None,
        state_key: Callable[[Any], Key] | None = None,
        max_steps: int = 100,
    ) -> None:
        splits = splits or {"train": seeded_tasks(0, 100), "test": seeded_tasks(100, 200)}
        super().__init__(env() if callable(env) else env, splits, max_steps)
        self._actions = _actions_by_name(self._world.action_space, action_names)
        self._text_field = text_field
        self._admissible_field = admissible_field
        self._success_field = success_field
        self._success_reward = success_reward
        self._state_key = state_key

    def _start(self, task: Task) -> Observation:
        shown, info = self._world.reset(**(task.data or {}))
        return self._observation(task, shown, info)

    def _play(self, now: Snapshot[Any], action: str) -> StepResult:
        native, admissible = self._actions.get(action, action), now.observation.admissible_actions
        if (admissible and action not in admissible) or not self._world.action_space.contains(native):
            return StepResult.going_on(now.observation)
        shown, reward, terminated, truncated, info = self._world.step(native)
        return StepResult(
            self._observation(now.task, shown, info),
            reward=float(reward),
            terminated=bool(terminated),
            truncated=bool(truncated),
            success=bool(terminated) and self._is_success(float(reward), info),
            info=info,
        )

    def _observation(self, task: Task, shown: Any, info: Mapping[str, Any]) -> Observation:
        text = shown.get(self._text_field) if isinstance(shown, Mapping) else shown
        if not isinstance(text, str):
            raise TypeError(
                f"The observation {shown!r} has no text: a string is required, or a mapping with a string under "
                f"{self._text_field!r}. Set text_field, or wrap the environment in a TransformObservation."
            )
        state = text if self._state_key is None else self._state_key(self._world)
        admissible = tuple(info.get(self._admissible_field, self._actions))
        return Observation(text, (task.id, state), admissible)

    def _is_success(self, reward: float, info: Mapping[str, Any]) -> bool:
        if self._success_field in info:
            return bool(info[self._success_field])
        return self._success_reward is not None and reward >= self._success_reward


def _actions_by_name(space: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return what the environment calls each named action; empty for a space of free text."""
    from gymnasium import spaces  # here, so that environments without it need no gymnasium

    if isinstance(space, spaces.Text):
        return {}
    if not isinstance(space, spaces.Discrete):
        raise ValueError(f"The action space is {space}: a Text or a Discrete space is required. Wrap the environment.")
    if len(names) != space.n or len(set(names)) != space.n:
        raise ValueError(f"action_names is {tuple(names)}: {space.n} different names are required, one per action.")
    return {name: space.start + index for index, name in enumerate(names)}
