"""Gymnasium environments that speak text, as environments that can be rewound."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trl_3spo.environments.adapters.copying import CopyingEnvironment
from trl_3spo.environments.adapters.plain_keys import coarse_keys, digest, plain_key, timed_keys, told_by
from trl_3spo.environments.adapters.seeded_tasks import seeded_tasks
from trl_3spo.environments.base import Key, Observation, StepResult, Task
from trl_3spo.environments.limited import Snapshot

if TYPE_CHECKING:
    import gymnasium


@dataclass
class Episode:
    """What is copied with a snapshot.

    Args:
        world: The environment.
        known: Digests of what the policy has been told.
    """

    world: Any
    known: tuple[int, ...] = ()


class GymnasiumEnvironment(CopyingEnvironment):
    """A Gymnasium environment whose observations are text and whose actions have names.

    Observations are strings, or mappings with a string under `text_field`. Actions are a `Text` space, or a `Discrete`
    one with a name for each action. An action outside the space, or outside the admissible ones where `info` lists
    them, never reaches the environment.

    Chance: a snapshot holds the environment's generator, `np_random`. The same action from the same snapshot therefore
    has the same result. With `is_stochastic`, the generator's state also belongs to the state key. A task without a
    seed gets one made of its id. Other generators, such as the module `random`, are not stored.

    Limits: without `state_key`, states with the same text count as one state. `trl_3spo.testing.check_environment`
    finds such pairs. Snapshots are deep copies of the whole environment. If it cannot be copied, put it into a
    `ReplayEnvironment`. It must then behave the same after every reset with the same seed.

    Args:
        env: The environment, or a callable without arguments that makes it.
        splits: Tasks by split; a task's data are the keyword arguments of the environment's `reset`, `seed` and
            `options`. The default has the seeds 0 to 99 in `"train"` and 100 to 199 in `"test"`.
        action_names: Names of the actions of a `Discrete` space, in its order.
        text_field: Key of the text in a mapping.
        admissible_field: Key of the admissible actions in `info`, if any.
        success_field: Key in `info` that says whether the task is solved, if any.
        success_reward: Least reward of a terminated step that is a success, if there is no such key. `None`: no step
            is.
        reward_range: Lowest and highest return of an episode, for `objective="reward"`.
        state_key: Function that gives the exact key of the environment's state, without the task.
        score_keys: Function that gives coarser names of the state, from fine to coarse and without the time. The
            defaults are the text without the task, and the task type with the number of revealed texts. The exact state
            and the time are added.
        reveals: Whether revealed texts belong to the state. Set it if actions only reveal something, such as
            questions.
        is_stochastic: Whether the effect of an action depends on chance. This is not detected, because many
            environments draw random numbers that change nothing.
        max_steps: Steps after which an episode is truncated. Meaningless actions count.

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
        reward_range: tuple[float, float] = (0.0, 1.0),
        state_key: Callable[[Any], Key] | None = None,
        score_keys: Callable[[Any], Sequence[Key]] | None = None,
        reveals: bool = False,
        is_stochastic: bool = False,
        max_steps: int = 100,
    ) -> None:
        splits = splits or {"train": seeded_tasks(0, 100), "test": seeded_tasks(100, 200)}
        world = env() if callable(env) else env
        super().__init__(Episode(world), splits, max_steps)
        self._actions = _actions_by_name(world.action_space, action_names)
        self._text_field = text_field
        self._admissible_field = admissible_field
        self._success_field = success_field
        self._success_reward = success_reward
        self.reward_range = reward_range
        self._state_key = state_key
        self._score_keys = score_keys
        self._reveals = reveals
        self._is_stochastic = is_stochastic

    def _start(self, task: Task) -> Observation:
        arguments = {"seed": digest(task.id) % 2**32} | dict(task.data or {})
        shown, info = self._world.world.reset(**arguments)
        self._world.known = ()
        return self._observed(task, self._text(shown), self._admissible(info), 0)

    def _play(self, now: Snapshot[Any], action: str) -> StepResult:
        before, num_steps, episode = now.observation, now.num_steps + 1, self._world
        native, admissible = self._actions.get(action, action), before.admissible_actions
        if (admissible and action not in admissible) or not episode.world.action_space.contains(native):
            return StepResult.going_on(self._observed(now.task, before.text, admissible, num_steps))
        shown, reward, terminated, truncated, info = episode.world.step(native)
        text = self._text(shown)
        episode.known = told_by(episode.known, before, action, text)
        return StepResult(
            self._observed(now.task, text, self._admissible(info), num_steps),
            reward=float(reward),
            terminated=bool(terminated),
            truncated=bool(truncated),
            success=bool(terminated) and self._is_success(float(reward), info),
            info=info,
        )

    def close(self) -> None:
        """Close the environment."""
        self._world.world.close()

    def _text(self, shown: Any) -> str:
        text = shown.get(self._text_field) if isinstance(shown, Mapping) else shown
        if not isinstance(text, str):
            raise TypeError(
                f"The observation {shown!r} has no text: a string is required, or a mapping with a string under "
                f"{self._text_field!r}. Set text_field, or wrap the environment in a TransformObservation."
            )
        return text

    def _admissible(self, info: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(info.get(self._admissible_field, self._actions))

    def _observed(self, task: Task, text: str, admissible: tuple[str, ...], num_steps: int) -> Observation:
        world, known = self._world.world, self._world.known
        state = text if self._state_key is None else plain_key(self._state_key(world))
        luck = [_luck(world)] if self._is_stochastic else []
        key: Key = (task.id, state, *luck, *([known] if self._reveals else []))
        coarser: Sequence[Key] = coarse_keys(task, text, len(known))
        if self._score_keys is not None:
            coarser = [plain_key(name) for name in self._score_keys(world)]
        return Observation(text, key, admissible, timed_keys(key, coarser, num_steps))

    def _is_success(self, reward: float, info: Mapping[str, Any]) -> bool:
        if self._success_field in info:
            return bool(info[self._success_field])
        return self._success_reward is not None and reward >= self._success_reward


def _luck(world: Any) -> int:
    """Return a key of the state of the environment's random generator."""
    generator = world.unwrapped.np_random
    return digest(repr(plain_key(generator.bit_generator.state)))


def _actions_by_name(space: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the environment's value of each named action; empty for a space of free text."""
    from gymnasium import spaces  # here, so that environments without it need no gymnasium

    if isinstance(space, spaces.Text):
        return {}
    if not isinstance(space, spaces.Discrete):
        raise ValueError(f"The action space is {space}: a Text or a Discrete space is required. Wrap the environment.")
    if len(names) != space.n or len(set(names)) != space.n:
        raise ValueError(f"action_names is {tuple(names)}: {space.n} different names are required, one per action.")
    return {name: space.start + index for index, name in enumerate(names)}
