"""What is maximised: success, or what an environment pays."""

import logging
import math
import random
from collections import defaultdict
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from search_options import FRONTIER
from training import SpokenCorridor, baseline_trainer, config_for, tokenizer_for, untrained
from trl_3spo import EpisodeGRPOTrainer, GiGPOTrainer, StepPOTrainer, ThreeSPOTrainer
from trl_3spo.algorithm.base import Alone
from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.objective import NUM_EPISODES, SUCCESS, Objective, ReturnWatch
from trl_3spo.algorithm.options import PUBLISHED, ThreeSPOOptions
from trl_3spo.algorithm.records import Episode, Sample, Visit, digest, first_visit, next_visit
from trl_3spo.algorithm.scorer import StateScorer
from trl_3spo.algorithm.tally import Tally
from trl_3spo.algorithm.three_spo import ThreeSPO
from trl_3spo.baselines.credit import gigpo, grpo, step_rewards
from trl_3spo.baselines.episodes import EpisodeGRPO, GiGPO
from trl_3spo.baselines.step_po import GroupValues, HistoryValues, StepPO
from trl_3spo.environments.base import Observation, StepResult, Task
from trl_3spo.environments.limited import LimitedEnvironment

REWARD = Objective("reward")


class TwoEnds(LimitedEnvironment):
    """A line of five places: its left end, two steps away, pays half of what its right end does. Nothing is solved."""

    reward_range = (0.0, 1.0)

    def __init__(self, toll=0.0):
        super().__init__(max_steps=8)
        self._toll = toll

    def tasks(self, split=None):
        return [Task("the line")]

    def _begin(self, task):
        return 2, Observation("2", 2, ("left", "right"))

    def _act(self, now, action):
        place = now.state + {"left": -1, "right": 1}.get(action, 0)
        shown = Observation(str(place), place, ("left", "right"))
        if place in (0, 5):
            return place, StepResult.ended(shown, success=False, reward=(0.5 if place == 0 else 1.0) - self._toll)
        return place, StepResult.going_on(shown, reward=-self._toll)


class Softmax:
    """A table of two logits a place, which climbs the advantages."""

    ACTIONS = ("left", "right")

    def __init__(self, seed, rate=0.5):
        self.logits = defaultdict(lambda: np.zeros(2))
        self._rng = random.Random(seed)
        self._rate = rate

    def phase(self):
        return nullcontext()

    def odds(self, place):
        weights = np.exp(self.logits[place] - self.logits[place].max())
        return weights / weights.sum()

    def sample(self, visits, counts):
        return [
            [self._sample(visit.observation.state_key) for _ in range(n)]
            for visit, n in zip(visits, counts, strict=True)
        ]

    def _sample(self, place):
        index = int(self._rng.random() < self.odds(place)[1])
        return Sample([], [place], [index], self.ACTIONS[index])

    def learn(self, rows):
        steps = defaultdict(lambda: np.zeros(2))
        for row in rows:
            (place,), (index,) = row.sample.prompt_ids, row.sample.completion_ids
            steps[place] += row.advantage * (np.eye(2)[index] - self.odds(place))
        for place, step in steps.items():
            self.logits[place] += self._rate * step


def end_of(env, *actions):
    visit = first_visit(env, env.tasks()[0])
    for action in actions:
        visit = next_visit(env, visit, action)
    return visit


def options(**changes):
    return ThreeSPOOptions(**({"objective": "reward"} | changes))


METHODS = {
    "branch": lambda env: ThreeSPO(env, env.tasks(), options(), max_idle_rounds=5),
    "frontier": lambda env: ThreeSPO(env, env.tasks(), options(**FRONTIER), max_idle_rounds=5),
    "grpo": lambda env: EpisodeGRPO(env, env.tasks(), group_size=8, objective="reward", max_idle_rounds=5),
    "gigpo": lambda env: GiGPO(env, env.tasks(), group_size=8, objective="reward", max_idle_rounds=5),
    "group values": lambda env: StepPO(
        env,
        env.tasks(),
        group_size=8,
        objective="reward",
        max_idle_rounds=5,
        discount=0.95,
        values=GroupValues(0.95, REWARD),
    ),
    "history values": lambda env: StepPO(
        env,
        env.tasks(),
        group_size=8,
        objective="reward",
        max_idle_rounds=5,
        discount=0.95,
        values=HistoryValues(StateHistory(half_life=100.0), 0.95, REWARD),
    ),
}

CAPACITY = {"branch": 64, "frontier": 32}
"""Actions of a batch, for several trees; 32 hold one of branching, and an update from one can settle for less."""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_the_better_of_two_paying_ends_is_learned(method, seed):
    env, policy = TwoEnds(), Softmax(seed)
    algorithm = METHODS[method](env)
    for _ in range(150):
        rows = algorithm.collect(policy, CAPACITY.get(method, 8))
        if not rows:  # nothing is left to learn
            break
        policy.learn(rows)
    assert all(policy.odds(place)[1] > 0.8 for place in (2, 3, 4))
    assert np.mean(algorithm.metrics()["episode_return"][-50:]) > 0.9


@pytest.mark.parametrize("method", ["3spo", "grpo", "gigpo", "steppo"])
def test_rewards_of_zero_and_one_train_as_success_does(method, tmp_path):
    trainers = {"3spo": ThreeSPOTrainer, "grpo": EpisodeGRPOTrainer, "gigpo": GiGPOTrainer, "steppo": StepPOTrainer}

    def parameters(objective):
        folder = tmp_path / objective
        settings = {"max_steps": 3, "objective": objective, "optim": "sgd", "learning_rate": 0.1}
        if method == "3spo":
            env = SpokenCorridor()
            tokenizer = tokenizer_for(env)
            trainer = ThreeSPOTrainer(
                untrained(tokenizer), env, config_for(folder, **settings), processing_class=tokenizer
            )
        else:
            trainer = baseline_trainer(trainers[method], folder, **settings)
        trainer.train()
        return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])

    assert torch.equal(parameters("success"), parameters("reward"))


def test_worths_are_discounted_returns():
    env = TwoEnds(toll=0.1)
    episode = Episode(end_of(env, "right", "right", "right"))
    worths = episode.worths(0.5, Objective("reward", (-1.0, 1.0)))
    start, first, second, end = episode.end.path()
    # In units of the range, from its least: 0.5 + G / 2 with G = 0.5 · 0.9 before the last step, and so on.
    assert worths[end.keys[0]] == pytest.approx(0.5 + 0.9 / 2)
    assert worths[second.keys[0]] == pytest.approx(0.5 + 0.45 / 2)
    assert worths[first.keys[0]] == pytest.approx(0.5 + 0.5 * (-0.1 + 0.45) / 2)
    assert worths[start.keys[0]] == pytest.approx(0.5 + 0.5 * (-0.1 + 0.5 * (-0.1 + 0.45)) / 2)
    assert episode.paid == pytest.approx(0.7)


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.floats(0.1, 1.0))
def test_worths_of_successes_are_powers_of_the_discount(moves, discount):
    visit = Visit(Task("t"), StepResult(Observation("", 0, score_keys=(0,))), None)
    for depth, _ in enumerate(moves, 1):
        is_last = depth == len(moves)
        result = StepResult(
            Observation("", depth, score_keys=(depth,)), terminated=is_last, success=is_last and moves[-1]
        )
        visit = Visit(visit.task, result, None, visit, "go", depth)
    worths = Episode(visit).worths(discount)
    for depth in range(len(moves) + 1):
        assert worths[digest(depth)] == pytest.approx(moves[-1] * discount ** (len(moves) - depth))


def test_scores_follow_what_is_paid_on_the_way():
    env = TwoEnds(toll=0.25)
    scorer = StateScorer(options(discount=0.5), StateHistory(), objective=Objective("reward", (-1.0, 1.0)))
    start, end = first_visit(env, env.tasks()[0]), end_of(env, "left", "left")
    assert scorer.value(start) == -0.5  # nothing is known: the least there is, in units of the range
    assert scorer.worth(end) == 0.125  # 0.25 of a range two wide
    assert scorer.score(end) == pytest.approx(math.exp(-2.0 * 0.625))
    assert scorer.next_score(end) == pytest.approx(math.exp(-2.0 * (0.5 * 0.125 + 0.5)))


def test_baselines_are_paid_what_the_environment_pays():
    env = TwoEnds(toll=0.1)
    left, right = Episode(end_of(env, "left", "left")), Episode(end_of(env, "right", "right", "right"))
    assert step_rewards(right, REWARD) == pytest.approx([-0.1, -0.1, 0.9])
    assert step_rewards(right) == pytest.approx([0.0, 0.0, 0.0])
    # Returns 0.3 and 0.7.
    worse, better = grpo([[left, right]], is_scaled=False, objective=REWARD)
    assert worse == pytest.approx([-0.2] * 2)
    assert better == pytest.approx([0.2] * 3)
    # From the first state, which both passed: −0.1 + 0.5 · 0.4 and −0.1 + 0.5 · (−0.1 + 0.45).
    worse, better = gigpo([[left, right]], discount=0.5, is_scaled=False, objective=REWARD)
    assert worse[0] == pytest.approx(-0.2 + (0.1 - 0.075) / 2)
    assert better[0] == pytest.approx(0.2 - (0.1 - 0.075) / 2)


@pytest.mark.parametrize("bounds", [(0.0, 0.0), (0.5, 1.0), (-1.0, -0.5), (0.0, math.inf), (1.0, 0.0)])
def test_a_range_that_means_nothing_is_refused(bounds):
    with pytest.raises(ValueError, match=r"reward_range is .*low ≤ 0 ≤ high"):
        Objective("reward", bounds)


def test_an_objective_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="objective is 'score'"):
        config_for(tmp_path, objective="score")


def test_rewards_without_any_success_are_spoken_of(caplog):
    watch = ReturnWatch(SUCCESS)
    with caplog.at_level(logging.WARNING):
        for _ in range(2 * NUM_EPISODES):
            watch.observe([0.5], [False])
    assert [record.message for record in caplog.records] == [
        "No episode of the first 100 was a success, yet the environment pays rewards. Set objective='reward' to train "
        "on them, or have the environment report success."
    ]


@pytest.mark.parametrize(("returns", "successes"), [([0.0], [False]), ([1.0], [True])])
def test_an_environment_that_succeeds_or_pays_nothing_is_not_spoken_of(returns, successes, caplog):
    watch = ReturnWatch(SUCCESS)
    for _ in range(2 * NUM_EPISODES):
        watch.observe(returns, successes)
    assert not caplog.records


@pytest.mark.parametrize(("paid", "is_over"), [(1.0, False), (1.5, True), (-0.5, True)])
def test_returns_outside_of_the_range_are_spoken_of_once(paid, is_over, caplog):
    watch = ReturnWatch(REWARD)
    for _ in range(3):
        watch.observe([paid], [False])
    assert len(caplog.records) == int(is_over)


def test_returns_and_their_parts_are_logged():
    tally = Tally(Alone())
    visit = first_visit(TwoEnds(), Task("the line"))
    result = StepResult.ended(visit.observation, success=True, reward=0.75, info={"reward_parts": {"price": 0.25}})
    tally.end([Episode(Visit(visit.task, result, None, visit, "buy", 1))])
    metrics = tally.metrics()
    assert metrics["episode_return"] == [0.75]
    assert metrics["reward_parts/price"] == [0.25]
    assert metrics["success_rate"] == [1.0]


@pytest.mark.parametrize("search", [{}, FRONTIER | {"num_generations": 1}])
def test_text_rewards_belong_to_their_own_step(search):
    env = TwoEnds()
    settings = options(advantage_scaling="none", **search | {"max_episodes_per_tree": 1})
    plain = partial(Sample, [], [2], [0])

    def rewards(text_reward):
        class Scripted(Softmax):
            def _sample(self, place):
                return plain("left", text_reward=text_reward if place == 2 else 0.0)

        rows = ThreeSPO(env, env.tasks(), settings).collect(Scripted(0), 4)
        return [row.reward for row in rows[:2]]

    (first, second), (first_paid, second_paid) = rewards(0.0), rewards(0.25)
    assert first_paid - first == pytest.approx(0.25)
    assert second_paid == second


def test_the_papers_numbers_can_be_had_with_rewards():
    assert ThreeSPOOptions(**(PUBLISHED | {"objective": "reward"})).check_options() is None
