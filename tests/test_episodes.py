"""Groups of whole episodes: what is played together, what is counted, where a resumed run goes on."""

import pytest

from trl_3spo.algorithm.history import StateHistory
from trl_3spo.baselines.episodes import EpisodeRollout
from trl_3spo.environments.corridor import CorridorEnv

ACTIONS = ("left", "right", "open", "dance")


def rollout(**settings):
    env = CorridorEnv(length=5, max_steps=6)
    return EpisodeRollout(env, settings.pop("tasks", env.tasks()), group_size=3, **settings)


def play(collecting, num_tasks=2):
    """Play episodes with actions in rotation; return how many waited each time."""
    collecting.begin(num_tasks)
    waits = []
    while waiting := collecting.waiting():
        waits.append(len(waiting))
        collecting.record([ACTIONS[(i + len(waits)) % len(ACTIONS)] for i in waiting])
    return waits


def test_groups_are_whole_episodes_of_one_task_each():
    collecting = rollout()
    waits = play(collecting)
    groups = collecting.groups()
    assert [len(group) for group in groups] == [3, 3]
    assert [len({episode.end.task for episode in group}) for group in groups] == [1, 1]
    assert groups[0][0].end.task != groups[1][0].end.task
    episodes = [episode for group in groups for episode in group]
    assert all(episode.end.result.is_final for episode in episodes)
    assert waits == [sum(x.num_steps > t for x in episodes) for t in range(max(x.num_steps for x in episodes))]


def test_every_sampled_action_and_every_state_reached_is_counted():
    collecting = rollout()
    waits = play(collecting)
    ends = [episode.end for group in collecting.groups() for episode in group]
    reached = [visit.state_digest for end in ends for visit in end.path()[1:]]
    assert collecting.counts["sampled_actions"] == sum(waits) == len(reached)
    assert collecting.num_states == len(set(reached))
    play(collecting)
    assert 0 < collecting.counts["revisits"] < collecting.counts["sampled_actions"]


def test_equal_beginnings_share_their_visits():
    collecting = rollout()
    collecting.begin(1)
    collecting.record(["left", "left", "right"])
    first, second, third = collecting.waiting().values()
    assert first is second
    assert first.parent is third.parent


@pytest.mark.parametrize("history", [None, StateHistory])
def test_resumes_where_it_was(history):
    one, other = rollout(seed=3), rollout(seed=3)
    for collecting in (one, other):
        collecting.history = history and history()
    play(one)
    if one.history:
        one.history.observe(dict.fromkeys([1, 2], 1.0))
    other.load_state_dict(one.state_dict())
    for collecting in (one, other):
        collecting.counts.clear()
        play(collecting)
    tasks = [[group[0].end.task.id for group in collecting.groups()] for collecting in (one, other)]
    assert tasks[0] == tasks[1]
    assert one.counts == other.counts
    assert one.state_dict() == other.state_dict()


def test_a_history_stays_where_the_saved_state_has_none():
    collecting = rollout()
    collecting.history = StateHistory()
    collecting.history.observe(dict.fromkeys([1], 1.0))
    collecting.load_state_dict(rollout().state_dict() | {"history": {}})
    assert collecting.history.num_episodes == 1


def test_ranks_share_the_tasks_out():
    tasks = []
    for rank in (0, 1):
        collecting = rollout(rank=rank, num_ranks=2)
        play(collecting, num_tasks=2)
        tasks += [group[0].end.task.id for group in collecting.groups()]
    assert len(set(tasks)) == 4


def test_no_tasks_are_refused():
    with pytest.raises(ValueError, match="no tasks to train on"):
        rollout(tasks=[])
