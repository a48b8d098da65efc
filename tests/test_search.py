"""Ranked backtracking depth-first search, in literal order on a corridor."""

import json

import pytest

from trl_3spo.algorithm.records import Episode, Group, Transition, first_visit, next_visit
from trl_3spo.algorithm.search import TreeSearch, rank
from trl_3spo.environments.corridor import CorridorEnv


@pytest.fixture
def env():
    return CorridorEnv(length=4, max_steps=4)


def start(env, place=2, door="right"):
    task = next(task for split in ("train", "test") for task in env.tasks(split) if task.data == (door, place))
    return first_visit(env, task)


def expand(env, tree, **rewards):
    """Sample each named action once at the head, with the given rewards, in the order given."""
    origin = tree.head
    transitions = [Transition(next_visit(env, origin, action), reward) for action, reward in rewards.items()]
    return tree.record(Group(origin, tuple(transitions)))


def where(visit):
    return visit.observation.text.rpartition("here: ")[2].rstrip(".")


def test_walks_on_from_the_best_and_comes_back_to_the_rest(env):
    tree = TreeSearch(start(env), max_episodes=None)
    assert where(tree.head) == "place 2 of 4"
    assert expand(env, tree, left=0.9, right=0.1) == []
    assert where(tree.head) == "place 1 of 4"
    assert [where(visit) for visit in tree.frontier] == ["place 3 of 4"]
    # The left door is the wrong one; the cellar ranks first and is a dead end.
    assert expand(env, tree, open=0.5, right=0.2) == []
    assert where(tree.head) == "cellar 1"
    # Place 2 has been seen in this tree, so the way back does not enter the frontier.
    assert [where(visit) for visit in tree.frontier] == ["place 3 of 4"]
    expand(env, tree, right=0.0)
    (lost,) = expand(env, tree, left=0.0)
    assert (lost.success, lost.num_steps) == (False, 4)
    assert lost.end.actions() == ["left", "open", "right", "left"]
    # Backtracked: the head is place 3, reached by one step from the root, and the environment goes on from there.
    assert where(tree.head) == "place 3 of 4"
    assert tree.head.actions() == ["right"]
    expand(env, tree, right=0.3)
    (won,) = expand(env, tree, open=1.0)
    assert won.success
    assert won.end.actions() == ["right", "right", "open"]
    assert tree.head is None
    assert tree.num_episodes == 2


def test_the_frontier_is_last_in_first_out(env):
    tree = TreeSearch(start(env), max_episodes=None)
    expand(env, tree, left=0.9, right=0.1)
    expand(env, tree, right=0.5, open=0.4)
    assert [where(visit) for visit in tree.frontier] == ["place 3 of 4", "cellar 1"]
    assert tree.prune() == []
    assert where(tree.head) == "cellar 1"
    assert tree.prune() == []
    assert where(tree.head) == "place 3 of 4"


def test_a_final_state_on_the_frontier_is_an_episode_when_its_turn_comes(env):
    tree = TreeSearch(start(env, place=3), max_episodes=None)
    expand(env, tree, right=1.0)
    assert expand(env, tree, left=0.9, open=0.5) == []
    (won,) = tree.prune()
    assert isinstance(won, Episode)
    assert won.success
    assert tree.head is None


def test_equal_rewards_follow_the_sampling_order(env):
    tree = TreeSearch(start(env), max_episodes=1)
    expand(env, tree, right=0.2, left=0.2)
    assert where(tree.head) == "place 3 of 4"


def test_equal_states_rank_once(env):
    origin = start(env)
    visits = [next_visit(env, origin, action) for action in ("left", "right", "left", "dance")]
    rewards = (0.1, 0.2, 0.3, 0.0)
    transitions = tuple(Transition(visit, reward) for visit, reward in zip(visits, rewards, strict=True))
    group = Group(origin, transitions)
    assert [visit.action for visit in rank(group)] == ["left", "right", "dance"]
    assert rank(group)[0] is visits[2]


def test_a_walk_of_the_policy_goes_on_where_its_first_action_led(env):
    tree = TreeSearch(start(env), max_episodes=None, follows_best=False)
    expand(env, tree, dance=0.1, left=0.9, right=0.5)
    assert where(tree.head) == "place 2 of 4"
    assert [where(visit) for visit in tree.frontier] == ["place 3 of 4", "place 1 of 4"]
    expand(env, tree, left=0.1, right=0.9)
    assert where(tree.head) == "place 1 of 4"


def test_budget_of_episodes_ends_the_tree(env):
    tree = TreeSearch(start(env, place=3), max_episodes=1)
    expand(env, tree, right=1.0, left=0.0)
    (won,) = expand(env, tree, open=1.0)
    assert won.success
    assert tree.head is None


def test_many_ended_states_in_a_row():
    """No recursion: a frontier of thousands of ended states is worked off one by one."""
    env = CorridorEnv(length=3, max_steps=1)
    root = first_visit(env, env.tasks()[0])
    end = next_visit(env, root, "dance")
    tree = TreeSearch(root, max_episodes=None)
    tree.frontier = [end] * 5000
    assert len(tree.prune()) == 5000
    assert tree.head is None


def test_without_backtracking_a_tree_is_a_walk(env):
    tree = TreeSearch(start(env), max_episodes=None, has_backtracking=False)
    expand(env, tree, left=0.9, right=0.1)
    assert tree.frontier == []
    tree.prune()
    assert tree.head is None


def test_groups_from_elsewhere_are_refused(env):
    tree = TreeSearch(start(env), max_episodes=None)
    old = tree.head
    expand(env, tree, left=0.9, right=0.1)
    with pytest.raises(ValueError, match="only at the head"):
        tree.record(Group(old, (Transition(next_visit(env, old, "left"), 0.0),)))


def test_a_saved_tree_goes_on_in_the_same_order(env):
    def replay(actions):
        visit = first_visit(env, tree.root.task)
        for action in actions:
            visit = next_visit(env, visit, action)
        return visit

    tree = TreeSearch(start(env), max_episodes=None)
    expand(env, tree, left=0.9, right=0.1)
    expand(env, tree, right=0.5, open=0.4)
    copy = TreeSearch(start(env), max_episodes=None)
    copy.load_state_dict(json.loads(json.dumps(tree.state_dict())), replay)
    while tree.head is not None:
        assert copy.head.actions() == tree.head.actions()
        assert copy.head.observation == tree.head.observation
        tree.prune()
        copy.prune()
    assert copy.head is None


def test_a_success_is_worth_less_the_longer_it_took(env):
    tree = TreeSearch(start(env), max_episodes=None)
    expand(env, tree, right=0.0)
    expand(env, tree, right=0.0)
    (won,) = expand(env, tree, open=0.0)
    worths = won.worths(0.9)
    by_depth = [{worths[key] for key in visit.keys} for visit in won.end.path()]
    assert by_depth == [{0.9**3}, {0.9**2}, {0.9}, {1.0}]
    assert set(won.worths().values()) == {1.0}


def test_an_episode_names_every_state_once(env):
    tree = TreeSearch(start(env), max_episodes=None)
    for action in ("left", "right", "left"):
        expand(env, tree, **{action: 0.0})
    (lost,) = expand(env, tree, left=0.0)
    assert set(lost.worths().values()) == {0.0}
    keys = lost.worths().keys()
    assert keys == {key for visit in lost.end.path() for key in visit.keys}
    # Five visits to two places: the finer score keys hold the time, the coarser ones do not.
    assert len(lost.end.path()) == 5
    assert len(keys) == 5 + 2
