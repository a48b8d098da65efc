"""Many trees over one environment: group sizes, order, lag, resume."""

import json
from array import array
from functools import partial

import pytest

from search_options import STEPWISE
from trl_3spo.algorithm.credit import Credit
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.algorithm.records import Sample, digest
from trl_3spo.algorithm.scorer import StateScorer
from trl_3spo.algorithm.three_spo import ThreeSPO
from trl_3spo.environments.corridor import CorridorEnv


class Rank:
    """One of two ranks, which never hears of the other."""

    num_ranks = 2

    def __init__(self, rank):
        self.rank = rank


def answers(actions):
    """Return samples that name these actions."""
    return [[Sample([], [], [0], action) for action in group] for group in actions]


def rollout(env=None, *, max_group_size=8, tasks=None, ranks=None, min_group_size=1, **options):
    env = env or CorridorEnv(length=5, max_steps=6)
    options = STEPWISE | {"num_generations": max_group_size} | options
    return ThreeSPO(
        env,
        env.tasks() if tasks is None else tasks,
        ThreeSPOOptions(**options),
        ranks=ranks,
        make_scorer=partial(StateScorer, min_group_size=min_group_size),
    )


def advance(collecting, capacity, rng_actions=("left", "right", "open")):
    """Take one round with actions in rotation, and write its episodes back."""
    plan = collecting.forest.plan(capacity)
    actions = [[rng_actions[i % len(rng_actions)] for i in range(expansion.num_samples)] for expansion in plan]
    groups = collecting.forest.record(plan, answers(actions))
    observe(collecting)
    return plan, groups


def observe(collecting):
    ended = collecting.forest.take_ended()
    for episode in ended:
        collecting.history.observe(episode.worths())
    return ended


def test_plans_fill_the_capacity_with_whole_groups():
    collecting = rollout()
    for _ in range(30):
        plan, _ = advance(collecting, 32)
        sizes = [expansion.num_samples for expansion in plan]
        assert 32 - 8 < sum(sizes) <= 32
        assert len({id(expansion.tree) for expansion in plan}) == len(plan)


def test_unseen_states_get_the_whole_budget():
    assert [expansion.num_samples for expansion in rollout().forest.plan(20)] == [8, 8]


def test_known_states_get_less_and_never_less_than_the_floor():
    env = CorridorEnv(length=5)
    collecting = rollout(env, min_group_size=3, score_sharpness=5.0, backoff_strength=0.0)
    task = env.tasks()[0]
    keys = {digest(key) for key in env.reset(task).score_keys}
    for _ in range(50):
        collecting.history.observe(dict.fromkeys(keys, 1.0))
    sizes = {x.visit.task.id: x.num_samples for x in collecting.forest.plan(8 * len(env.tasks()))}
    # S = e^(−5) = 0.0067, n = ⌈8 · S⌉ = 1, and the floor is 3
    assert sizes[task.id] == 3
    assert 8 in sizes.values()


def test_fixed_group_sizes():
    collecting = rollout(min_group_size=8)
    for _ in range(20):
        plan, _ = advance(collecting, 32)
        assert {expansion.num_samples for expansion in plan} == {8}


def test_hopeless_states_are_pruned_and_first_states_are_not():
    env = CorridorEnv(length=5)
    collecting = rollout(env, max_failures=2.0, backoff_strength=0.0, tasks=env.tasks()[:1])
    for _ in range(60):
        plan, _ = advance(collecting, 8, rng_actions=("dance",))
        assert plan
    # Every walk dances at the first state until it is truncated: hopeless by now, and still sampled as a first state,
    # but no longer after one step.
    assert {expansion.visit.depth for expansion in plan} == {0}
    assert collecting.tally.counts["pruned"] > 10


@pytest.mark.parametrize("baseline", ["group", "state", "both"])
def test_groups_are_judged_by_the_history_before_their_round(baseline):
    env = CorridorEnv(length=3, max_steps=2)
    collecting = rollout(env, tasks=env.tasks()[:1], baseline=baseline, advantage_scaling="none")
    plan = collecting.forest.plan(8)
    (door,) = {expansion.visit.task.kind for expansion in plan}
    collecting.forest.record(plan, answers([[door] * 8]))
    observe(collecting)
    plan = collecting.forest.plan(8)
    before = collecting.history.num_episodes
    (group,) = collecting.forest.record(plan, answers([["open"] * 4 + ["dance"] * 4]))
    assert collecting.history.num_episodes == before
    won, lost = group.transitions[0], group.transitions[-1]
    # S(s) = 1 for the unseen state; 0.05 + 0.45 · (1 − e^(−2 · 0.95)) for the way out, 0.45 · (1 − 1) for staying.
    assert (won.reward, lost.reward) == (pytest.approx(0.432694), pytest.approx(0.0))
    # Four of eight actions won; two different ones tell half of their mean.
    of_the_mean = {"group": 1.0, "state": 0.0, "both": 0.5}[baseline]
    credit = Credit(collecting.options, collecting.scorer)
    (rows,) = credit.rows(samples_of([group]), [group])
    assert [row.reward for row in rows] == [x.reward for x in group.transitions]
    assert rows[0].advantage == pytest.approx(won.reward - of_the_mean * won.reward / 2)
    assert rows[-1].advantage == pytest.approx(lost.reward - of_the_mean * won.reward / 2)
    assert observe(collecting)
    assert collecting.history.num_episodes > before


def test_equal_actions_share_their_consequence():
    collecting = rollout()
    plan = collecting.forest.plan(8)
    (group,) = collecting.forest.record(plan, answers([["left"] * 4 + ["right"] * 4]))
    assert len({id(transition.visit) for transition in group.transitions}) == 2


def samples_of(groups):
    """Return samples that say what a policy would have said to take these groups' actions."""
    return [[Sample([], [], [0], x.visit.action) for x in group.transitions] for group in groups]


def walk(collecting, num_trees, actions=("left", "right", "open")):
    """Search trees to their ends with actions in rotation; return groups and episodes, not yet written back."""
    collecting.forest.start(num_trees)
    groups = []
    while plan := collecting.forest.plan_living():
        groups += collecting.forest.record(
            plan, answers([[actions[i % 3] for i in range(x.num_samples)] for x in plan])
        )
    return groups, collecting.forest.take_ended()


def test_trees_are_searched_to_their_ends():
    collecting = rollout(max_episodes_per_tree=3)
    groups, episodes = walk(collecting, 4)
    roots = {group.origin.path()[0] for group in groups}
    assert len(roots) == 4
    assert all(1 <= sum(x.end.path()[0] is root for x in episodes) <= 3 for root in roots)
    assert (len(collecting.forest.trees), collecting.forest.num_waiting) == (0, 0)


def test_judged_groups_know_what_became_of_their_walks():
    options = {"outcome_weight": 1.0, "discount": 0.9, "novelty_weight": 0.0, "baseline": "state"}
    env = CorridorEnv(length=3, max_steps=2)
    (task,) = [task for task in env.tasks() if task.kind == "right"]
    collecting = rollout(env, max_group_size=2, tasks=[task], max_episodes_per_tree=1, update_after="walks", **options)
    collecting.forest.start(1)
    groups = []
    for first, second in (("right", "left"), ("open", "right")):
        plan = collecting.forest.plan_living()
        groups += collecting.forest.record(plan, answers([[first, second]]))
    episodes = collecting.forest.take_ended()
    assert [episode.success for episode in episodes] == [True]
    assert [x.reward for x in groups[0].transitions] == [0.0, 0.0]
    credit = Credit(collecting.options, collecting.scorer)
    first, second = credit.rows(samples_of(groups), groups, episodes)
    # Nothing is known, S = 1 everywhere, λ = 2. The state before the last step turned out to be worth 0.9, a step away
    # 0.81: R = 0.5 · (1 − (1 − 2 · 0.81)). The way not taken stays unknown; a success is S(0.9 · 1), known beforehand.
    assert [x.reward for x in first] == pytest.approx([0.81, 0.0])
    assert second[0].reward == pytest.approx(0.5 * (1 - 0.165299), abs=1e-6)
    assert [x.advantage for x in first] == [x.reward for x in first]
    assert [x.sample.action for x in first] == ["right", "left"]
    assert [x.group for x in (*first, *second)] == [0, 0, 1, 1]


def test_batches_of_trees_follow_the_size_of_trees():
    collecting = rollout(max_group_size=4, max_episodes_per_tree=1)
    assert collecting.forest.num_trees_for(200) == 5  # 10 steps of 4 samples, as long as nothing is known
    assert collecting.forest.num_trees_for(10) == 1
    groups, _ = walk(collecting, 5)
    size = sum(len(group.transitions) for group in groups) / 5
    collecting.forest.expect(size)
    assert collecting.forest.num_trees_for(round(3.5 * size)) == 3
    copy = rollout(max_group_size=4)
    copy.load_state_dict(collecting.state_dict(), saved_by=0)
    assert copy.forest.num_trees_for(round(3.5 * size)) == 3


def test_the_first_batch_expects_every_walk_of_a_tree():
    branching = rollout(search="branch", update_after="walks", max_episodes_per_tree=4, outcome_weight=0.9)
    assert branching.forest.num_trees_for(200) == 5  # 4 walks of 10 steps of one sample
    searching = rollout(max_group_size=2, update_after="walks", max_episodes_per_tree=2)
    assert searching.forest.num_trees_for(200) == 5  # 2 walks of 10 steps of at most 2 samples


def test_every_pass_takes_every_task_once_in_a_new_order():
    env = CorridorEnv(length=9)
    collecting = rollout(env)
    count = len(env.tasks())
    passes = [[collecting.order.at(position).id for position in range(n * count, (n + 1) * count)] for n in range(3)]
    assert all(sorted(one) == sorted(task.id for task in env.tasks()) for one in passes)
    assert passes[0] != passes[1] != passes[2]


def test_ranks_share_the_tasks_out():
    forests = [rollout(CorridorEnv(length=9), ranks=Rank(rank)).forest for rank in (0, 1)]
    roots = [{x.visit.task.id for x in forest.plan(8 * 3)} for forest in forests]
    assert len(roots[0] | roots[1]) == 6


@pytest.mark.parametrize("novelty", ["episode", "changed", "training"])
def test_senses_of_novelty(novelty):
    env = CorridorEnv(length=5)
    tasks = [task for task in env.tasks() if task.data[1] == 3][:1]
    options = {"novelty": novelty, "novelty_weight": 0.5, "novelty_decay_rate": 0.0}
    collecting = rollout(env, tasks=tasks, max_episodes_per_tree=1, **options)
    plan = collecting.forest.plan(8)
    collecting.forest.record(plan, answers([["left"] * 8]))
    plan = collecting.forest.plan(8)
    (group,) = collecting.forest.record(plan, answers([["right"] * 4 + ["dance"] * 4]))
    back, stayed = group.transitions[0].reward, group.transitions[-1].reward
    # Going back is a change, but the place has been on this path; no episode has ended, so all is new in training.
    expected = {"episode": (0.0, 0.0), "changed": (0.5, 0.0), "training": (0.5, 0.5)}
    assert (back, stayed) == expected[novelty]


def test_resumes_where_it_was():
    def state_of(collecting):
        return json.dumps(collecting.state_dict(), default=lambda value: value.tolist())

    one = rollout(max_failures=5.0)
    for _ in range(15):
        advance(one, 32)
    saved = one.state_dict()
    plain = json.loads(json.dumps({name: value for name, value in saved.items() if name not in ("shared", "states")}))
    other = rollout(max_failures=5.0)
    other.load_state_dict(plain | {"shared": saved["shared"], "states": saved["states"]}, saved_by=0)
    assert state_of(other) == state_of(one)
    for _ in range(10):
        plans = [advance(collecting, 32)[0] for collecting in (one, other)]
        seen = [[(x.visit.task.id, x.visit.actions(), x.num_samples) for x in plan] for plan in plans]
        assert seen[0] == seen[1]
    assert state_of(other) == state_of(one)
    assert isinstance(saved["shared"]["history"]["visits"], array)


def test_trees_of_other_tasks_are_refused():
    one = rollout(CorridorEnv(length=9))
    advance(one, 32)
    with pytest.raises(ValueError, match=r"not among the 5 tasks"):
        rollout(CorridorEnv(length=5)).load_state_dict(one.state_dict(), saved_by=0)


def test_no_tasks_are_refused():
    with pytest.raises(ValueError, match="no tasks to train on"):
        rollout(tasks=[])
