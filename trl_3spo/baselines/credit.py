"""Credit of the steps of whole episodes: GRPO's, GiGPO's and StepPO's, from the estimators on arrays.

The objective defines the reward of a step, as in 3SPO: 1 if it solves the task and 0 otherwise, or the environment's
reward. Episodes are grouped by task. Results have one array per episode, group after group; entry t belongs to step t.
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from trl_3spo.algorithm.credit import group_relative
from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.objective import SUCCESS, Objective
from trl_3spo.algorithm.records import Episode
from trl_3spo.baselines.estimators import discounted_returns, gae, relative_to_equals, values_of_others

TaskEpisodes = Sequence[Sequence[Episode]]
Steps = list[NDArray[np.float64]]


def step_rewards(episode: Episode, objective: Objective = SUCCESS) -> NDArray[np.float64]:
    """Return the (T,) rewards of an episode's steps."""
    return np.array([objective.reward(visit.result) for visit in episode.end.path()[1:]])


def grpo(groups: TaskEpisodes, *, is_scaled: bool = True, objective: Objective = SUCCESS) -> Steps:
    """GRPO over episodes: every step has the advantage of its episode's return within the group."""
    returns = [[step_rewards(x, objective).sum() for x in group] for group in groups]
    advantages = [group_relative(group, is_scaled=is_scaled).tolist() for group in returns]
    pairs = zip(chain.from_iterable(groups), chain.from_iterable(advantages), strict=True)
    return [np.full(episode.num_steps, advantage) for episode, advantage in pairs]


def gigpo(
    groups: TaskEpisodes,
    *,
    discount: float = 0.95,
    step_weight: float = 1.0,
    is_scaled: bool = True,
    objective: Objective = SUCCESS,
) -> Steps:
    """GiGPO: the episode's advantage, plus ω times the step's advantage among the group's steps from the same state.

    A^S compares the discounted returns from that state on. It is 0 if only one step of the group starts there.
    """
    in_state = [relative for group in groups for relative in _in_state(group, discount, is_scaled, objective)]
    by_episode = grpo(groups, is_scaled=is_scaled, objective=objective)
    return [a + step_weight * b for a, b in zip(by_episode, in_state, strict=True)]


def _in_state(group: Sequence[Episode], discount: float, is_scaled: bool, objective: Objective) -> Steps:
    returns = [discounted_returns(step_rewards(episode, objective), discount) for episode in group]
    states = chain.from_iterable(_states(episode)[:-1] for episode in group)
    relative = relative_to_equals(np.concatenate(returns), list(states), is_scaled=is_scaled)
    return np.split(relative, np.cumsum([len(x) for x in returns])[:-1])


def step_po(
    groups: TaskEpisodes,
    values: Steps,
    *,
    discount: float,
    gae_lambda: float,
    bootstraps: bool = True,
    objective: Objective = SUCCESS,
) -> Steps:
    """StepPO before whitening: generalized advantages over the steps of each episode.

    Args:
        groups: Episodes by task.
        values: V of the T + 1 states of every episode; the last value counts only if the episode was truncated.
        discount: γ in [0, 1], per step.
        gae_lambda: λ in [0, 1].
        bootstraps: Whether the last value counts then. The source treats a step limit as an end without reward.
        objective: Objective that defines the reward of a step.
    """
    advantages = []
    for episode, state_values in zip(chain.from_iterable(groups), values, strict=True):
        goes_on = bootstraps and not episode.end.result.terminated
        known = np.append(state_values[:-1], state_values[-1] if goes_on else 0.0)
        advantages.append(gae(step_rewards(episode, objective), known, discount=discount, gae_lambda=gae_lambda))
    return advantages


def group_values(groups: TaskEpisodes, *, discount: float, objective: Objective = SUCCESS) -> Steps:
    """V from the other episodes of the group: their mean return from the same exact state on."""
    return [values for group in groups for values in _group_values(group, discount, objective)]


def _group_values(group: Sequence[Episode], discount: float, objective: Objective) -> Steps:
    returns = [discounted_returns(step_rewards(episode, objective), discount) for episode in group]
    return values_of_others([_states(episode) for episode in group], returns)


def history_values(groups: TaskEpisodes, history: StateHistory, objective: Objective = SUCCESS) -> Steps:
    """V from 3SPO's history: the expected return by earlier completed episodes, with back-off."""
    return [
        np.array([history.estimate(visit.keys).value + objective.floor for visit in episode.end.path()])
        for episode in chain.from_iterable(groups)
    ]


def _states(episode: Episode) -> list[int]:
    return [visit.state_digest for visit in episode.end.path()]
