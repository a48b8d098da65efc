"""A part of a split as a panel: every type of task in its share, the same in every process, named by a hash."""

import random
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import config_for
from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.base import Task
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.evaluation import panel_hash
from trl_3spo.evaluation.panel_sample import sample_panel, shares
from trl_3spo.training.task_choice import panels

VALID_UNSEEN = {
    "pick_and_place_simple": 24,
    "look_at_obj_in_light": 18,
    "pick_clean_then_place_in_recep": 31,
    "pick_heat_then_place_in_recep": 23,
    "pick_cool_then_place_in_recep": 21,
    "pick_two_obj_and_place": 17,
}
"""Types of ALFWorld's 134 games for evaluation."""


def split_of(counts):
    return [Task(f"{kind} {i}", kind) for kind, count in counts.items() for i in range(count)]


def hash_of(tasks):
    return panel_hash(task.id for task in tasks)


def test_shares_worked():
    # 10 · 5/8 = 6.25, 10 · 2/8 = 2.5, 10 · 1/8 = 1.25: floors 6, 2, 1, and the largest remainder gets the last seat.
    assert shares({"a": 50, "b": 20, "c": 10}, 10) == {"a": 6, "b": 3, "c": 1}
    # 4 · 1/100 and 4 · 2/100 are below one: one seat each, and the other two are a's.
    assert shares({"a": 97, "b": 2, "c": 1}, 4) == {"a": 2, "b": 1, "c": 1}
    # No room for all three: the two largest.
    assert shares({"a": 3, "b": 2, "c": 1}, 2) == {"a": 1, "b": 1, "c": 0}


def test_shares_of_the_real_split():
    """100/134 of 24, 18, 31, 23, 21, 17 is 17.91, 13.43, 23.13, 17.16, 15.67, 12.69: floors are 97 in all."""
    assert list(shares(VALID_UNSEEN, 100).values()) == [18, 13, 23, 17, 16, 13]
    drawn = Counter(task.kind for task in sample_panel(split_of(VALID_UNSEEN), 100))
    assert drawn == shares(VALID_UNSEEN, 100)
    assert min(Counter(task.kind for task in sample_panel(split_of(VALID_UNSEEN), 6)).values()) == 1


def test_generated_games_of_all_kinds():
    env = AlfworldEnv(generated=24, seed=3)
    first = Counter(task.kind for task in sample_panel(env.tasks(), 12))
    assert (len(first), set(first.values())) == (6, {2})
    assert sample_panel(env.tasks(), 12, seed=1) != sample_panel(env.tasks(), 12)


counts = st.dictionaries(st.text("abc", min_size=1, max_size=2), st.integers(1, 40), min_size=1, max_size=8)


@given(counts, st.data())
def test_every_kind_has_its_share(counts, data):
    total = data.draw(st.integers(1, sum(counts.values())))
    seats = shares(counts, total)
    assert sum(seats.values()) == total
    assert all(0 <= seats[kind] <= counts[kind] for kind in counts)
    if total >= len(counts):
        assert min(seats.values()) >= 1
    by_size = sorted(counts, key=counts.get)
    assert all(seats[x] <= seats[y] for x, y in pairwise(by_size) if counts[x] < counts[y])


@given(counts, st.integers(1, 100), st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_of_the_split_does_not_matter(counts, size, seed, rng):
    tasks = split_of(counts)
    drawn = sample_panel(tasks, min(size, len(tasks) - 1) or 1, seed=seed)
    shuffled = rng.sample(tasks, len(tasks))
    if len(tasks) > 1:
        assert drawn == sample_panel(shuffled, len(drawn), seed=seed)
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("size", [None, 134, 1000])
def test_a_whole_split_stays_as_it_is(size):
    tasks = random.Random(0).sample(split_of(VALID_UNSEEN), 134)
    assert sample_panel(tasks, size) == tasks


def test_other_processes_draw_the_same():
    command = (
        "from trl_3spo.environments.base import Task; from trl_3spo.evaluation import panel_hash;"
        "from trl_3spo.evaluation.panel_sample import sample_panel;"
        "tasks = [Task(f'task {i}', 'abc'[i % 3]) for i in range(50)];"
        "print(panel_hash(task.id for task in sample_panel(tasks, 20, seed=4)))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", command], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    tasks = [Task(f"task {i}", "abc"[i % 3]) for i in range(50)]
    assert found == {hash_of(sample_panel(tasks, 20, seed=4))}


def test_a_trainer_draws_its_panels(tmp_path):
    env = CorridorEnv(length=8)
    for changes, size in [({"num_eval_tasks": 3}, 3), ({"num_eval_tasks": None}, len(env.tasks()))]:
        (panel,) = panels(env, None, config_for(tmp_path, **changes)).values()
        assert panel == sample_panel(env.tasks(), size)
    args = config_for(tmp_path, num_eval_tasks=3, panel_seed=2)
    by_name = panels(env, {"seen": "train", "unseen": "test"}, args)
    assert by_name == {
        name: sample_panel(env.tasks(split), 3, seed=2) for name, split in {"seen": "train", "unseen": "test"}.items()
    }


def test_a_panel_without_tasks_is_refused(tmp_path):
    class Empty(CorridorEnv):
        def tasks(self, split=None):
            return super().tasks(split) if split != "empty" else []

    env = Empty(length=4)
    with pytest.raises(ValueError, match=r"The evaluation panel has no tasks.*'empty'"):
        panels(env, None, config_for(tmp_path, eval_split="empty"))
    with pytest.raises(ValueError, match="names no panel"):
        panels(env, {}, config_for(tmp_path))
