"""Credit of whole episodes, in a corridor of three places, against numbers worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.records import Episode, first_visit, next_visit
from trl_3spo.baselines.credit import gigpo, group_values, grpo, history_values, step_po
from trl_3spo.environments.corridor import CorridorEnv

ENV = CorridorEnv(length=3, max_steps=3)
(LEFT,) = [task for task in ENV.tasks() if task.kind == "left"]


def play(*actions, task=LEFT):
    visit = first_visit(ENV, task)
    for action in actions:
        visit = next_visit(ENV, visit, action)
    assert visit.result.is_final
    return Episode(visit)


# Both begin in the middle and go to the left end. One opens the door there; the other walks on until it is truncated.
WON = play("left", "open")
CUT_OFF = play("left", "right", "left")
GROUP = [WON, CUT_OFF]
walks = st.lists(st.sampled_from(["left", "right", "open"]), min_size=3, max_size=3)


def flat(steps):
    return np.concatenate(steps).tolist()


def play_as_far_as_it_goes(actions):
    visit = first_visit(ENV, LEFT)
    for action in actions:
        if not visit.result.is_final:
            visit = next_visit(ENV, visit, action)
    return Episode(visit)


def test_grpo_worked():
    assert flat(grpo([GROUP], is_scaled=False)) == pytest.approx([0.5, 0.5, -0.5, -0.5, -0.5])
    # the unbiased standard deviation of 1 and 0 is 0.70711, and δ is 1e-4
    assert flat(grpo([GROUP])) == pytest.approx(np.array([1, 1, -1, -1, -1]) * 0.70701, abs=1e-5)


def test_gigpo_worked():
    # Discounted by 0.5 a step, WON earns 0.5 from the middle and 1 from the end; CUT_OFF earns nothing.
    # middle: 0.5, 0, 0, mean 1/6; end: 1, 0, mean 1/2. Where an episode ends nobody acts.
    in_state = [1 / 3, 0.5, -1 / 6, -0.5, -1 / 6]
    expected = np.array([0.5, 0.5, -0.5, -0.5, -0.5]) + in_state
    assert flat(gigpo([GROUP], discount=0.5, is_scaled=False)) == pytest.approx(expected)
    halved = np.array([0.5, 0.5, -0.5, -0.5, -0.5]) + np.array(in_state) / 2
    assert flat(gigpo([GROUP], discount=0.5, step_weight=0.5, is_scaled=False)) == pytest.approx(halved)


def test_gigpo_with_standard_deviation_worked():
    # std of 0.5, 0, 0 is 0.288675; of 1, 0 it is 0.707107
    in_state = [1.154302, 0.707007, -0.577151, -0.707007, -0.577151]
    expected = np.array([1, 1, -1, -1, -1]) * 0.707007 + in_state
    assert flat(gigpo([GROUP], discount=0.5)) == pytest.approx(expected, abs=1e-5)


def test_gigpo_without_its_steps_is_grpo():
    assert flat(gigpo([GROUP], step_weight=0.0)) == flat(grpo([GROUP]))


def test_states_of_other_groups_are_not_equal():
    alone = gigpo([GROUP], discount=0.5)
    together = gigpo([GROUP, [WON, WON]], discount=0.5)
    assert flat(together[:2]) == flat(alone)
    assert flat(together[2:]) == pytest.approx([0, 0, 0, 0])


def test_group_values_worked():
    # From either place WON's return is 1 and CUT_OFF's 0, and each is judged by the other.
    assert [x.tolist() for x in group_values([GROUP], discount=1.0)] == [[0, 0, 0], [1, 1, 1, 1]]


def test_step_po_worked():
    values = group_values([GROUP], discount=1.0)
    bootstrapped = step_po([GROUP], values, discount=1.0, gae_lambda=1.0)
    # CUT_OFF stopped where WON went on to win: nothing is lost yet. Without bootstrapping it has lost 1 at every step.
    assert [x.tolist() for x in bootstrapped] == [[1, 1], [0, 0, 0]]
    cut = step_po([GROUP], values, discount=1.0, gae_lambda=1.0, bootstraps=False)
    assert [x.tolist() for x in cut] == [[1, 1], [-1, -1, -1]]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(-2, 2))
def test_truncated_episodes_bootstrap_and_terminated_ones_do_not(gamma, lam, last):
    values = [np.array([0.2, 0.4, 0.0]), np.array([0.1, 0.3, 0.5, 0.0])]
    moved = [np.append(x[:-1], last) for x in values]
    before, after = (step_po([GROUP], x, discount=gamma, gae_lambda=lam) for x in (values, moved))
    assert flat([after[0]]) == flat([before[0]])
    assert after[1][-1] - before[1][-1] == pytest.approx(gamma * last)
    never = step_po([GROUP], moved, discount=gamma, gae_lambda=lam, bootstraps=False)
    assert flat(never) == pytest.approx(flat(before))


@given(st.lists(walks, min_size=2, max_size=6), st.randoms())
def test_the_order_of_episodes_and_groups_changes_nothing(plans, rng):
    episodes = [play_as_far_as_it_goes(actions) for actions in plans]
    order = list(range(len(episodes)))
    rng.shuffle(order)
    shuffled = [episodes[i] for i in order]

    def estimates(groups):
        values = group_values(groups, discount=0.9)
        return [grpo(groups), gigpo(groups), step_po(groups, values, discount=0.9, gae_lambda=0.8)]

    for one, other in zip(estimates([episodes, GROUP]), estimates([GROUP, shuffled]), strict=True):
        assert flat(other[2:]) == pytest.approx(flat([one[i] for i in order]))
        assert flat(other[:2]) == pytest.approx(flat(one[-2:]))


def test_history_values_are_the_rates_of_success_before():
    history = StateHistory(backoff_strength=0.0)
    history.observe(dict.fromkeys(WON.worths(), 1.0))
    history.observe(dict.fromkeys(CUT_OFF.worths(), 0.0))
    won, cut_off = history_values([GROUP], history)
    # Keys hold the time: both began alike and were at the left end after a step; from there on each was alone.
    assert won == pytest.approx([0.5, 0.5, 1.0])
    assert cut_off == pytest.approx([0.5, 0.5, 0.0, 0.0])
