"""Reward functions of texts, with GRPOTrainer's signature, for example for the format or length of an answer."""

import asyncio
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from trl_3spo.algorithm.records import Sample, Visit
from trl_3spo.environments.failures import NoAction

RewardFunction = Callable[..., Any]


class TextRewards:
    """Scores answers; a score counts for the answer's own step.

    A function is called with lists over answers: `prompts` and `completions` as chat messages, `completion_ids`, `task`
    (ids) and `action`, and with `trainer_state`, `log_metric` and `log_extra`. It returns a list of numbers or `None`s,
    and may be asynchronous. Columns of `log_extra` are ignored, because rows are chosen only later.

    Args:
        functions: One or several functions, as GRPOTrainer takes them.
        weights: One weight per function; by default 1.
        state: Function that returns the trainer's state.
        log_metric: Function that logs a number by its name.

    Raises:
        TypeError: An entry is not a function; reward models are not supported.
        ValueError: The number of weights is not the number of functions.
    """

    def __init__(
        self,
        functions: RewardFunction | Sequence[RewardFunction] | None,
        weights: Sequence[float] | None,
        *,
        state: Callable[[], Any] = lambda: None,
        log_metric: Callable[[str, float], None] = lambda name, value: None,
    ) -> None:
        given = [] if functions is None else functions
        self._functions: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
        for function in self._functions:
            if not (inspect.isroutine(function) or hasattr(function, "func")):
                raise TypeError(
                    f"reward_funcs holds {function!r}: functions are required, which may ask a model themselves. "
                    "Rewards of the environment are trained on with objective='reward'."
                )
        self._weights = [1.0] * len(self._functions) if weights is None else list(weights)
        if len(self._weights) != len(self._functions):
            raise ValueError(f"There are {len(self._weights)} reward_weights for {len(self._functions)} reward_funcs.")
        self._common = {"log_metric": log_metric, "log_extra": lambda column, values: None}
        self._state = state
        self._values: defaultdict[str, list[float]] = defaultdict(list)

    def __bool__(self) -> bool:
        """Whether there are any functions."""
        return bool(self._functions)

    def rewarded(self, visits: Sequence[Visit], samples: Sequence[Sample]) -> list[Sample]:
        """Return the answers at some visits with their scores."""
        real = [i for i, sample in enumerate(samples) if not isinstance(sample.action, NoAction)]
        if not (self and real):
            return list(samples)
        rewards = self._rewards([visits[i] for i in real], [samples[i] for i in real])
        rewarded = list(samples)
        for i, reward in zip(real, rewards, strict=True):
            rewarded[i] = replace(samples[i], text_reward=reward)
        return rewarded

    def _rewards(self, visits: Sequence[Visit], samples: Sequence[Sample]) -> list[float]:
        columns = {
            "prompts": [sample.prompt for sample in samples],
            "completions": [[{"role": "assistant", "content": sample.text}] for sample in samples],
            "completion_ids": [sample.completion_ids for sample in samples],
            "task": [visit.task.id for visit in visits],
            "action": [str(sample.action) for sample in samples],
            "trainer_state": self._state(),
        }
        totals = [0.0] * len(samples)
        for function, weight in zip(self._functions, self._weights, strict=True):
            name = getattr(function, "__name__", None) or function.func.__name__
            for i, value in enumerate(self._called(function, name, columns, len(samples))):
                if value is not None:
                    totals[i] += weight * float(value)
                    self._values[f"text_rewards/{name}"].append(float(value))
        return totals

    def _called(self, function: RewardFunction, name: str, columns: dict[str, Any], count: int) -> list[Any]:
        values = function(**columns, **self._common)
        if inspect.isawaitable(values):
            values = asyncio.run(_awaited(values))
        if len(values) != count:
            raise ValueError(f"{name} returned {len(values)} rewards for {count} answers; one for each is required.")
        return list(values)

    def metrics(self) -> dict[str, list[float]]:
        """Return the functions' scores since the last call, without weights, by `text_rewards/NAME`."""
        values, self._values = self._values, defaultdict(list)
        return dict(values)


@contextmanager
def without_weights(args: Any) -> Iterator[None]:
    """Hide `reward_weights` from GRPOTrainer, which would apply them to its own reward function."""
    weights, args.reward_weights = args.reward_weights, None
    try:
        yield
    finally:
        args.reward_weights = weights


async def _awaited(value: Any) -> Any:
    return await value
