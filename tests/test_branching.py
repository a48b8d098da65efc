"""Branch and finish: where walks start, and what their steps are credited with, worked by hand."""

import math
import random
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from controls import BranchInTurn, undecided
from hypothesis import given
from hypothesis import strategies as st

from search_options import FRONTIER
from trl_3spo.algorithm.base import Alone
from trl_3spo.algorithm.branching import BranchSearch, anywhere, at_the_root
from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.algorithm.records import Episode, Group, Sample, Transition, first_visit, next_visit
from trl_3spo.algorithm.scorer import StateScorer
from trl_3spo.algorithm.three_spo import ThreeSPO
from trl_3spo.algorithm.walk_credit import RunningScale, WalkCredit
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.environments.guarded import GuardedEnvironment


class Drawing:
    """A policy that draws its actions."""

    def __init__(self, seed=0):
        self._random = random.Random(seed)

    def sample(self, visits, num_samples):
        assert set(num_samples) == {1}
        return [[Sample([], [], [0], self._random.choice(["left", "right", "open"]))] for _ in visits]

    def phase(self):
        return nullcontext()


def judge(history=None):
    return StateScorer(ThreeSPOOptions(), history or StateHistory())


@pytest.fixture
def env():
    return CorridorEnv(length=4, max_steps=6)


def walked(env, tree, rng):
    """Search a tree and its branches with drawn actions; return the groups and the episodes."""
    groups, episodes = [], []
    while tree.head is not None:
        origin = tree.head
        reached = next_visit(env, origin, rng.choice(["left", "right", "open"]))
        groups.append(Group(origin, (Transition(reached, 0.0),)))
        episodes += tree.record(groups[-1])
    for branch in tree.branches:
        more_groups, more_episodes = walked(env, branch, rng)
        groups, episodes = groups + more_groups, episodes + more_episodes
    return groups, episodes


@given(st.integers(1, 6), st.integers(0, 1000))
def test_walks_start_on_the_first_and_are_finished(num_walks, seed):
    env = CorridorEnv(length=4, max_steps=6)
    rng = random.Random(seed)
    tree = BranchSearch(
        first_visit(env, env.tasks()[0]), max_episodes=num_walks, choose=anywhere, scorer=judge(), rng=rng
    )
    groups, episodes = walked(env, tree, rng)
    assert len(episodes) == num_walks
    assert all(episode.end.result.is_final for episode in episodes)
    first, known = episodes[0].end.path(), {tree.root}
    for episode in episodes:
        start = max((visit for visit in episode.end.path() if visit in known), key=lambda visit: visit.depth)
        assert not start.result.is_final
        assert start in first
        known.update(episode.end.path())
    # Every step was taken once, and is on the walk that took it.
    assert len(groups) == len(known) - 1


class Counting(Drawing):
    """Counts the states that are sampled from together."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.rounds = []

    def sample(self, visits, num_samples):
        self.rounds.append(visits)
        return super().sample(visits, num_samples)


def test_branches_are_sampled_together(env):
    three_spo = ThreeSPO(env, env.tasks()[:1], ThreeSPOOptions(max_episodes_per_tree=5))
    policy = Counting()
    three_spo.collect(policy, capacity=5)
    sizes = [len(visits) for visits in policy.rounds]
    length = sizes.index(4)
    assert sizes[:length] == [1] * length, "the first walk comes first"
    assert set(policy.rounds[length]) <= {visits[0] for visits in policy.rounds[:length]}
    assert sizes[length:] == sorted(sizes[length:], reverse=True), "and the others never wait for one another"


@given(st.integers(1, 6), st.integers(0, 1000))
def test_the_control_starts_walks_on_any_walk_before_them(num_walks, seed):
    env = CorridorEnv(length=4, max_steps=6)
    rng = random.Random(seed)
    tree = BranchInTurn(first_visit(env, env.tasks()[0]), max_episodes=num_walks, rng=rng)
    groups, episodes = walked(env, tree, rng)
    assert len(episodes) == num_walks
    assert all(episode.end.result.is_final for episode in episodes)
    # Every step was taken once: walks start on those before them.
    assert len(groups) == len({visit for episode in episodes for visit in episode.end.path()}) - 1


@pytest.fixture
def walk(env):
    """A walk of two steps."""
    root = first_visit(env, env.tasks()[0])
    between = next_visit(env, root, "right")
    return [root, between, next_visit(env, between, "open")]


def shares(choose, walk, scorer, count=4000):
    rng = random.Random(0)
    return {visit: n / count for visit, n in Counter(choose(walk, scorer, rng) for _ in range(count)).items()}


def test_branch_points_are_drawn_whatever_became_of_the_walk(walk):
    root, between, _ = walk
    assert shares(anywhere, walk, judge()) == pytest.approx({root: 1 / 2, between: 1 / 2}, abs=0.03)
    assert shares(at_the_root, walk, judge()) == {root: 1.0}


def test_the_control_starts_walks_where_success_is_undecided(walk):
    """In proportion to p(1 − p): 0.09 for the root, and 0.25 for the state between."""
    root, between, _ = walk
    history = StateHistory()
    for visit, p in ((root, 0.1), (between, 0.5)):
        for _ in range(2000):
            history.observe(dict.fromkeys(visit.keys[:1], p))
    judged = judge(history)
    drawn = shares(undecided, walk, judged)
    assert drawn == pytest.approx({root: 0.09 / 0.34, between: 0.25 / 0.34}, abs=0.03)


def test_where_nothing_is_known_walks_start_anywhere(walk):
    root, between, _ = walk
    assert shares(undecided, walk, judge()) == pytest.approx({root: 1 / 2, between: 1 / 2}, abs=0.03)


@pytest.mark.parametrize("scaling", ["none", "batch"])
def test_credit_worked(env, scaling):
    """Two walks from one state: one succeeds at once, the other wanders; nothing is known before."""
    (task,) = [x for split in ("train", "test") for x in env.tasks(split) if x.data == ("right", 3)]
    root = first_visit(env, task)
    door = next_visit(env, root, "right")
    out = next_visit(env, door, "open")
    assert out.result.success
    back = next_visit(env, door, "left")
    lost = back
    while not lost.result.is_final:
        lost = next_visit(env, lost, "dance")
    options = ThreeSPOOptions(discount=0.5, outcome_weight=1.0, novelty_weight=0.3, advantage_scaling=scaling)
    credit = WalkCredit(options, StateScorer(options, StateHistory()), Alone(), RunningScale())
    groups = [Group(before, (Transition(after, 0.0),)) for before, after in ((root, door), (door, out), (door, back))]
    samples = [[Sample([], [], [0], group.transitions[0].visit.action)] for group in groups]
    rows = [row for (row,) in credit.rows(samples, groups, [Episode(out), Episode(lost)])]
    # G(out) = 1, so G(door) = 0.5 in the first walk and 0 in the second: 0.25 on average.
    # Both walks went through the door's state, so nothing but p(root) = 0 is compared with.
    # At the door: the other walk returned 0, and p is 0, so V = 0; the way out is worth 0.5 · 1.
    # The way back: the other walk returned 0.5 from the door, p counts as one walk: V = 0.25.
    credits = [0.5 * 0.25, 0.5 * 1.0, 0.0 - (0.0 + 0.5) / 2]
    # Door and outside are new, the place gone back to is not: 0.2 on average.
    bonuses = [0.3 - 0.2, 0.3 - 0.2, 0.0 - 0.2]
    scale = 1.0 if scaling == "none" else math.sqrt((0.125**2 + 0.5**2 + 0.25**2) / 3)
    assert [row.reward for row in rows] == pytest.approx([0.125 + 0.3, 0.5 + 0.3, 0.0])
    expected = [credit / scale + bonus for credit, bonus in zip(credits, bonuses, strict=True)]
    assert [row.advantage for row in rows] == pytest.approx(expected)


def test_a_batch_of_small_credits_makes_a_small_update():
    """A failure where 0.1 was expected does not count as much as a success: by its own size it would."""
    scale = RunningScale()
    assert scale.of(0.25) == 0.5
    assert scale.of(0.01) == 0.5  # and the mean square falls to 0.25 - 0.1 · 0.24 = 0.226
    assert scale.of(0.01) == pytest.approx(math.sqrt(0.226))
    assert scale.of(1.0) == 1.0, "no advantage is blown up"


def test_without_any_success_the_bonus_stays_as_small_as_it_is(env):
    root = first_visit(env, env.tasks()[0])
    new = next_visit(env, root, "left")
    same = next_visit(env, root, "dance")
    options = ThreeSPOOptions(novelty_weight=0.3)
    groups = [Group(root, (Transition(visit, 0.0),)) for visit in (new, same)]
    samples = [[Sample([], [], [0], visit.action)] for visit in (new, same)]
    credit = WalkCredit(options, StateScorer(options, StateHistory()), Alone(), RunningScale())
    rows = [row for (row,) in credit.rows(samples, groups, [Episode(new), Episode(same)])]
    assert [row.advantage for row in rows] == pytest.approx([0.15, -0.15])


def test_an_end_is_new_to_its_path():
    """Otherwise answering costs what asking once more earns, where every question is a state of its own."""
    env = CorridorEnv(length=3, max_steps=6)
    (task,) = [x for split in ("train", "test") for x in env.tasks(split) if x.data == ("right", 2)]
    out = next_visit(env, next_visit(env, first_visit(env, task), "right"), "open")
    options = ThreeSPOOptions()
    assert out.result.terminated
    again = replace(out, result=replace(out.result, observation=out.root.observation))
    assert not again.is_new_on_path
    assert StateScorer(options, StateHistory()).is_novel(out.parent, again)


def test_no_action_is_compared_with_its_own_outcome(env):
    """A single walk has the history alone to be compared with."""
    rng = random.Random(3)
    tree = BranchSearch(first_visit(env, env.tasks()[0]), max_episodes=1, choose=anywhere, scorer=judge(), rng=rng)
    groups, episodes = walked(env, tree, rng)
    options = ThreeSPOOptions(novelty_weight=0.0)
    history = StateHistory()
    for visit in episodes[0].end.path():
        history.observe(dict.fromkeys(visit.keys, 0.25))
    scorer = StateScorer(options, history)
    samples = [[Sample([], [], [0], "")] for _ in groups]
    credit = WalkCredit(replace(options, advantage_scaling="none"), scorer, Alone(), RunningScale())
    for group, (row,) in zip(groups, credit.rows(samples, groups, episodes), strict=True):
        assert row.reward - row.advantage == pytest.approx(scorer.value(group.origin))


def test_the_same_walks_are_drawn_after_resuming(env):
    def continued(algorithm):
        policy = Drawing(7)
        rows = algorithm.collect(policy, capacity=60)
        return [(row.sample.action, row.advantage, row.group) for row in rows]

    options = ThreeSPOOptions()
    one = ThreeSPO(env, env.tasks(), options, seed=5)
    policy = Drawing()
    for _ in range(3):
        one.collect(policy, capacity=60)
    other = ThreeSPO(env, env.tasks(), options, seed=5)
    other.load_state_dict(one.state_dict(), saved_by=0)
    assert continued(one) == continued(other)


class Breaking(CorridorEnv):
    """A corridor whose door to the left cannot be opened without breaking everything."""

    def step(self, action):
        if action == "open" and self.snapshot().state.place == 1:
            raise OSError("the floor gave way")
        return super().step(action)


def test_walks_that_fail_are_given_up_and_credit_nothing():
    guard = GuardedEnvironment(Breaking(length=3, max_steps=4))
    three_spo = ThreeSPO(guard, guard.tasks(), ThreeSPOOptions(novelty_weight=0.0))
    num_ended = num_rows = num_sampled = 0
    for seed in range(10):
        num_rows += len(three_spo.collect(Drawing(seed), capacity=200))
        metrics = three_spo.metrics()
        num_ended += len(metrics.get("success_rate", []))
        num_sampled += metrics["sampled_actions"][0]
    assert guard.counts["failed_episodes"] > 0
    assert three_spo.history.num_episodes == num_ended > 0
    assert 0 < num_rows < num_sampled - guard.counts["failed_episodes"]


def test_inadmissible_actions_pay_their_penalty(env):
    root = first_visit(env, env.tasks()[0])
    visits = [next_visit(env, root, action) for action in ("left", "dance")]
    assert [visit.is_inadmissible for visit in visits] == [False, True]
    for changes in (FRONTIER, {}):
        rewards = []
        for penalty in (0.0, 0.3):
            options = ThreeSPOOptions(invalid_action_penalty=penalty, **changes)
            scorer = StateScorer(options, StateHistory())
            if options.search == "branch":
                groups = [Group(root, (Transition(visit, 0.0),)) for visit in visits]
                samples = [[Sample([], [], [0], "")] for _ in groups]
                rows = WalkCredit(options, scorer, Alone(), RunningScale()).rows(
                    samples, groups, [Episode(visit) for visit in visits]
                )
                rewards.append([row.reward for (row,) in rows])
            else:
                rewards.append([scorer.reward(root, visit) for visit in visits])
        assert [one - other for one, other in zip(*rewards, strict=True)] == pytest.approx([0.0, 0.3])


def test_learns_in_a_table(monkeypatch):
    """The policy's own success rises; the world is the tabular benchmark's."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import tabular_methods
    import tabular_worlds

    env = tabular_worlds.TabularEnv(tabular_worlds.WORLDS["reversible"], 0)
    policy = tabular_worlds.TablePolicy(env, 0, 6.0)
    sampler = tabular_methods.TableSampler(policy)
    algorithm = ThreeSPO(env, env.tasks(), ThreeSPOOptions(advantage_scaling="none", novelty_weight=0.05))
    before = policy.success_rate()
    for _ in range(200):
        sampler.learn(algorithm.collect(sampler, 60))
    assert before < 0.1
    assert policy.success_rate() > 0.9
