"""3SPO without a language model: what it returns and logs, and that ranks agree, in threads in place of processes."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import chain

import pytest

from search_options import FRONTIER, STEPWISE
from trl_3spo.algorithm.options import PUBLISHED, ThreeSPOOptions
from trl_3spo.algorithm.records import Sample
from trl_3spo.algorithm.three_spo import ThreeSPO
from trl_3spo.environments.corridor import CorridorEnv


class Rotating:
    """A policy that takes the actions of a list in rotation."""

    def __init__(self, *actions):
        self.actions = actions
        self.num_samples = 0

    def sample(self, visits, num_samples):
        return [[self._next() for _ in range(count)] for count in num_samples]

    def _next(self):
        self.num_samples += 1
        return Sample([], [], [0], self.actions[self.num_samples % len(self.actions)])

    def phase(self):
        return nullcontext()


def algorithm(*, tasks=None, ranks=None, max_idle_rounds=5, **options):
    env = CorridorEnv(length=4, max_steps=5)
    return ThreeSPO(env, tasks or env.tasks(), ThreeSPOOptions(**options), ranks=ranks, max_idle_rounds=max_idle_rounds)


@pytest.mark.parametrize("options", [{}, FRONTIER, STEPWISE, PUBLISHED])
def test_rows_fit_and_have_signal(options):
    three_spo = algorithm(**options)
    policy = Rotating("left", "right", "open", "right")
    for _ in range(10):
        rows = three_spo.collect(policy, capacity=40)
        assert 0 < len(rows) <= 40
        by_group = {row.group: [x.advantage for x in rows if x.group == row.group] for row in rows}
        assert any(any(advantages) for advantages in by_group.values())
        three_spo.metrics()


@pytest.mark.parametrize("options", [{}, FRONTIER, STEPWISE])
def test_every_sampled_action_is_counted(options):
    three_spo = algorithm(**options)
    policy = Rotating("left", "right", "open", "right")
    counted = 0
    for _ in range(5):
        three_spo.collect(policy, capacity=40)
        counted += three_spo.metrics()["sampled_actions"][0]
    assert counted == policy.num_samples


@pytest.mark.parametrize(("capacity", "num_warnings"), [(16, 1), (400, 0)])
def test_batches_of_one_task_are_pointed_out_once(capacity, num_warnings, caplog):
    three_spo = algorithm(tasks=CorridorEnv(length=4, max_steps=5).tasks()[:1])
    policy = Rotating("left", "right", "left", "right")
    for _ in range(4):
        assert len(three_spo.collect(policy, capacity=capacity)) <= capacity
        num_trees = three_spo.metrics()["trees"]
    assert (num_trees == [1]) == bool(num_warnings)
    assert caplog.text.count("has room for a single tree") == num_warnings


def test_groups_without_signal_are_those_left_out():
    """By the batch's own judgement, which knows the outcomes, not by that of the moment the actions were taken."""
    three_spo = algorithm(max_idle_rounds=1, baseline="state", advantage_scaling="none", **FRONTIER)
    policy = Rotating("left", "right", "open", "right")
    shares = []
    for _ in range(8):
        kept = len({row.group for row in three_spo.collect(policy, capacity=1000)})
        metrics = three_spo.metrics()
        if metrics["rows_left_out"] != [0.0]:
            continue  # groups with signal were left out as well: more of them than were expected
        single, double = metrics["group_size/1"][0], metrics["group_size/2"][0]
        num_groups = metrics["sampled_actions"][0] / (single + 2 * double)
        assert metrics["frac_sampled_groups_without_signal"][0] == pytest.approx(1 - kept / num_groups)
        shares.append(1 - kept / num_groups)
    assert len(shares) >= 4
    assert max(shares) > 0


@pytest.mark.parametrize("options", [{}, FRONTIER, STEPWISE])
def test_without_signal_nothing_is_returned(options):
    three_spo = algorithm(max_idle_rounds=3, **options)
    assert three_spo.collect(Rotating("dance"), capacity=40) == []
    assert three_spo.metrics()["frac_sampled_groups_without_signal"] == [1.0]


def test_a_resumed_algorithm_goes_on_as_if_nothing_had_been():
    one, other = algorithm(), algorithm()
    policy = Rotating("left", "right", "open", "right")
    for _ in range(4):
        one.collect(policy, capacity=40)
        one.metrics()
    other.load_state_dict(one.state_dict(), saved_by=0)
    continued = []
    for three_spo in (one, other):
        policy.num_samples = 0
        continued.append((three_spo.collect(policy, capacity=40), three_spo.metrics(), three_spo.state_dict()))
    assert continued[0] == continued[1]


class Threads:
    """Ranks that are threads of this process."""

    def __init__(self, num_ranks):
        self.num_ranks = num_ranks
        self._barrier = threading.Barrier(num_ranks, timeout=20)
        self._values = [None] * num_ranks
        self._own = threading.local()
        self.num_gathered = [0] * num_ranks

    @property
    def rank(self):
        return self._own.rank

    def gather(self, value):
        self._values[self.rank] = value
        self.num_gathered[self.rank] += 1
        self._barrier.wait()
        values = list(self._values)
        self._barrier.wait()
        return values

    def run(self, work):
        def as_rank(rank):
            self._own.rank = rank
            return work()

        with ThreadPoolExecutor(self.num_ranks) as pool:
            return list(pool.map(as_rank, range(self.num_ranks)))


@pytest.mark.parametrize("options", [{"novelty_weight": 0.0}, FRONTIER, STEPWISE])
def test_ranks_gather_equally_often_and_share_a_history(options):
    ranks = Threads(3)

    def work():
        three_spo = algorithm(ranks=ranks, **options)
        policy = Rotating(*[("left", "right", "open"), ("right", "open"), ("dance",)][ranks.rank])
        collected = [(three_spo.collect(policy, capacity=24), three_spo.metrics()) for _ in range(4)]
        return three_spo.history.state_dict(), [metrics for _, metrics in collected], [rows for rows, _ in collected]

    histories, metrics, rows = zip(*ranks.run(work), strict=True)
    assert len(set(ranks.num_gathered)) == 1
    assert histories[0] == histories[1] == histories[2]
    assert metrics[0] == metrics[1] == metrics[2]
    assert any(chain.from_iterable(rows[0]))
    assert rows[2][0] == [], "who only dances has no signal at first, and goes on with the others"
