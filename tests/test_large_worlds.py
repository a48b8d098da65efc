"""The comparison's larger environments have the originals' sizes."""

import importlib
import sys
from pathlib import Path
from statistics import fmean

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))
large_worlds = importlib.import_module("large_worlds")


def test_games_have_as_many_places_as_the_released_ones():
    env = large_worlds.make_games(30, seed=5)
    assert env.max_steps == 50
    assert fmean(len(env.game(task.id).receptacles) for task in env.tasks()) > 15


def test_the_shop_has_a_thousand_products_and_unseen_ones():
    tasks = large_worlds.WORLDS["webshop_large"].make_tasks(3)
    assert tasks.env.describe()["products"] == 1000
    assert len(tasks.unseen) == 200
    assert not {task.id for task in tasks.train} & {task.id for task in tasks.unseen}
