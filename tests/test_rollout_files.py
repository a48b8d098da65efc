"""An algorithm's state beside a checkpoint: what is written comes back, and ranks find the right file."""

from array import array

import numpy as np
import pytest

from trl_3spo.reliability.rollout_files import load_state, save_state

STATE = {
    "position": 7,
    "trees": [{"task": "a", "head": None, "seen": [1, 2**64 - 1]}],
    "states": array("Q", [3, 2**64 - 1]),
    "gain": {"worth": 0.1 + 0.2, "none": None},
    "shared": {"history": {"num_episodes": 3, "visits": array("d", [1.5, 0.1 + 0.2])}, "empty": {}},
}


def plain(value):
    if isinstance(value, dict):
        return {name: plain(x) for name, x in value.items()}
    return value.tolist() if isinstance(value, (array, np.ndarray)) else value


def test_what_is_written_comes_back(tmp_path):
    save_state(tmp_path, STATE, rank=0)
    state, saved_by = load_state(tmp_path, rank=0)
    assert saved_by == 0
    assert plain(state) == plain(STATE)
    assert state["states"].dtype == np.uint64


def test_nothing_is_pickled(tmp_path):
    save_state(tmp_path, STATE, rank=0)
    for file in tmp_path.iterdir():
        with np.load(file, allow_pickle=False) as saved:
            assert all(saved[name].dtype.kind in "fiuU" for name in saved.files)


@pytest.mark.parametrize(("rank", "expected"), [(0, 0), (1, 1), (2, 0), (5, 1)])
def test_more_ranks_take_the_states_of_those_there_were(tmp_path, rank, expected):
    for saved in (0, 1):
        save_state(tmp_path, STATE | {"position": saved}, rank=saved)
    state, saved_by = load_state(tmp_path, rank)
    assert (state["position"], saved_by) == (expected, expected)


def test_a_folder_without_state_has_none(tmp_path):
    assert load_state(tmp_path, rank=0) is None
    save_state(tmp_path, STATE, rank=1)
    assert load_state(tmp_path, rank=0) is None, "what all ranks share is missing"
