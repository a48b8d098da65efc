"""The demo's worlds, with few tasks, and what its command refuses."""

import dataclasses
import importlib
import json
import random
import sys
from pathlib import Path

import pytest

from trl_3spo.environments.demonstrations import demonstrate
from trl_3spo.environments.webshop.scoring.matching import is_match, normalize_color

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = {"per_device_train_batch_size": 16, "num_generations": 4}


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("demo")


def with_few_tasks(world):
    def make_tasks(seed):
        tasks = world.make_tasks(seed)
        return dataclasses.replace(tasks, train=tasks.train[:20], unseen=tasks.unseen[:6])

    return dataclasses.replace(world, make_tasks=make_tasks, options=world.options | SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alfworld", "webshop"])
def test_the_demo_measures_before_and_after(name, demo, tmp_path, monkeypatch):
    monkeypatch.setitem(demo.WORLDS, name, with_few_tasks(demo.WORLDS[name]))
    monkeypatch.setattr(sys, "argv", ["demo.py", "--env", name, "--max-steps", "2", "--output-dir", str(tmp_path)])
    demo.main()
    record = json.loads((tmp_path / "results.json").read_text())
    assert [point["step"] for point in record["curve"]] == [0, 1, 2, 2]
    assert record["before"]["success"]["num_episodes"] == record["after"]["success"]["num_episodes"] == 6
    assert record["before"]["panel"] == record["after"]["panel"] != ""
    assert record["sampled_actions"] > 0
    assert f"| all | 6 | {record['before']['success']['rate']:.1%} |" in (tmp_path / "results.md").read_text()
    assert (tmp_path / "success_rate.png").stat().st_size > 0
    assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["alfworld", "webshop"])
def test_unseen_tasks_are_not_trained_on(name, demo):
    tasks = demo.WORLDS[name].make_tasks(0)
    assert len(tasks.unseen) == 200
    assert {task.id for task in tasks.unseen}.isdisjoint(task.id for task in tasks.train)


@pytest.mark.parametrize("arguments", [[], ["--env", "corridor"]])
def test_the_world_has_to_be_one_of_the_demos(arguments, demo, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["demo.py", *arguments])
    with pytest.raises(SystemExit):
        demo.main()
    assert "--env" in capsys.readouterr().err


@pytest.fixture
def lessons(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("webshop_warm_start").LESSONS


def test_unseen_products_are_not_trained_on(demo):
    tasks = demo.WORLDS["webshop"].make_tasks(0)
    wanted = [{tasks.env.world.goals.product(task.data).asin for task in part} for part in (tasks.train, tasks.unseen)]
    assert wanted[0].isdisjoint(wanted[1])


def test_every_purchase_in_the_small_shop_can_be_judged(lessons):
    world = lessons.make_env(720, 1).world
    assert world.unattainable == ()
    values = {value for product in world.products for values in product.options.values() for value in values}
    for value in values:
        assert [x for x in values if is_match(normalize_color(x), normalize_color(value))] == [value]


def finish(env, expert, observation):
    """Play on to the end and return the last result."""
    result = None
    while result is None or not result.is_final:
        result = env.step(expert(observation, []).action)
        observation = result.observation
    return result


def test_the_customer_of_the_small_shop_buys_right(lessons):
    env = lessons.make_env(360, 1)
    expert = lessons.new_expert(None, 0)
    assert all(finish(env, expert, env.reset(task)).success for task in env.tasks())
    assert len(list(demonstrate(env, env.tasks(), lessons.new_expert))) == 5 * len(env.tasks())


def test_the_customer_of_the_small_shop_finds_back_from_anywhere(lessons):
    env = lessons.make_env(360, 1)
    expert = lessons.new_expert(None, 0)
    rng = random.Random(0)
    for task in env.tasks():
        observation = env.reset(task)
        for _ in range(6):  # which leaves nine: back over two pages, a new search, and the purchase with two options
            actions = [action for action in observation.admissible_actions if action != "click[buy now]"]
            observation = env.step(rng.choice(actions) if actions else "search[boots]").observation
        assert finish(env, expert, observation).success
