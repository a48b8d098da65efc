"""Groups of whole episodes: what is played together, what is counted, where a resumed algorithm goes on."""

from contextlib import nullcontext

import numpy as np
import pytest

from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.records import Sample
from trl_3spo.baselines.episodes import EpisodeAlgorithm, EpisodeGRPO, GiGPO
from trl_3spo.baselines.step_po import GroupValues, HistoryValues, StepPO
from trl_3spo.environments.corridor import CorridorEnv

ACTIONS = ("left", "right", "open", "dance")


class Rotating:
    """A policy that takes actions in rotation, and remembers how many episodes it was asked for at a time."""

    def __init__(self):
        self.asked, self.origins = [], []

    def sample(self, visits, num_samples):
        self.asked.append(len(visits))
        self.origins += visits
        chosen = [ACTIONS[(i + len(self.asked)) % len(ACTIONS)] for i in range(len(visits))]
        return [[Sample([], [], [0], action)] for action in chosen]

    def phase(self):
        return nullcontext()


class Remembering(EpisodeAlgorithm):
    """Credits every step with one, and keeps the episodes."""

    def credit(self, groups, steps):
        self.groups = groups
        return [np.ones(episode.num_steps) for group in groups for episode in group]


class Rank:
    num_ranks = 2

    def __init__(self, rank):
        self.rank = rank

    def gather(self, value):
        return [value]


def played(algorithm_class=Remembering, *, num_tasks=2, tasks=None, **settings):
    env = CorridorEnv(length=5, max_steps=6)
    algorithm = algorithm_class(env, env.tasks() if tasks is None else tasks, group_size=3, **settings)
    policy = Rotating()
    return algorithm, policy, algorithm.collect(policy, capacity=3 * num_tasks)


def test_groups_are_whole_episodes_of_one_task_each():
    algorithm, policy, _ = played()
    assert [len(group) for group in algorithm.groups] == [3, 3]
    assert [len({episode.end.task for episode in group}) for group in algorithm.groups] == [1, 1]
    assert algorithm.groups[0][0].end.task != algorithm.groups[1][0].end.task
    episodes = [episode for group in algorithm.groups for episode in group]
    assert all(episode.end.result.is_final for episode in episodes)
    longest = max(x.num_steps for x in episodes)
    assert policy.asked == [sum(x.num_steps > t for x in episodes) for t in range(longest)]


def test_every_step_of_every_episode_is_a_row_of_its_tasks_group():
    algorithm, _, rows = played()
    episodes = [episode for group in algorithm.groups for episode in group]
    assert [row.sample.action for row in rows] == [action for x in episodes for action in x.end.actions()]
    assert [row.group for row in rows] == [i // 3 for i, x in enumerate(episodes) for _ in range(x.num_steps)]
    assert sum(row.reward for row in rows) == sum(x.success for x in episodes)


def test_every_sampled_action_and_every_state_reached_is_counted():
    algorithm, policy, _ = played()
    ends = [episode.end for group in algorithm.groups for episode in group]
    reached = [visit.state_digest for end in ends for visit in end.path()[1:]]
    metrics = algorithm.metrics()
    assert metrics["sampled_actions"] == [sum(policy.asked)] == [len(reached)]
    assert metrics["unique_states"] == [len(set(reached))]
    assert metrics["success_rate"] == [end.result.success for end in ends]
    algorithm.collect(policy, capacity=6)
    assert 0 < algorithm.metrics()["frac_states_revisited"][0] < 1


def test_equal_beginnings_share_their_visits():
    _, policy, _ = played(num_tasks=1)
    first, second, third = policy.origins[:3]
    assert first is second is third
    assert first.depth == 0


METHODS = {
    "grpo": (EpisodeGRPO, dict),
    "gigpo": (GiGPO, dict),
    "group": (StepPO, lambda: {"values": GroupValues(0.9)}),
    "history": (StepPO, lambda: {"values": HistoryValues(StateHistory(), 0.9), "discount": 0.9}),
}


@pytest.mark.parametrize("name", METHODS)
def test_resumes_where_it_was(name):
    algorithm_class, settings = METHODS[name]
    one, _, _ = played(algorithm_class, seed=3, **settings())
    one.metrics()
    other, _, _ = played(algorithm_class, seed=3, **settings())
    other.load_state_dict(one.state_dict(), saved_by=0)
    other.metrics()
    continued = [(x.collect(Rotating(), capacity=6), x.metrics(), x.state_dict()) for x in (one, other)]
    assert continued[0] == continued[1]


def test_a_history_stays_where_the_saved_state_has_none():
    history = StateHistory()
    history.observe(dict.fromkeys([1], 1.0))
    HistoryValues(history, 1.0).load_state_dict({})
    assert history.num_episodes == 1


def test_ranks_share_the_tasks_out():
    tasks = []
    for rank in (0, 1):
        algorithm, _, _ = played(ranks=Rank(rank))
        tasks += [group[0].end.task.id for group in algorithm.groups]
    assert len(set(tasks)) == 4


def test_without_any_advantage_nothing_is_returned():
    env = CorridorEnv(length=5, max_steps=1)
    algorithm = EpisodeGRPO(env, env.tasks(), group_size=3, max_idle_rounds=2)
    policy = Rotating()
    assert algorithm.collect(policy, capacity=6) == []
    assert policy.asked == [6, 6]


def test_no_tasks_are_refused():
    with pytest.raises(ValueError, match="no tasks to train on"):
        played(tasks=[])
