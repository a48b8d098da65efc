"""The examples with a tiny model: the whole way in seconds, and what they promise of their tasks."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from trl_3spo.algorithm.records import first_visit, next_visit
from trl_3spo.testing import check_environment

EXAMPLES = Path(__file__).parents[1] / "examples"
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


@pytest.fixture(params=["sql_agent", "wordle"])
def name(request):
    return request.param


@pytest.fixture
def example(name, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module(name)


def test_an_example_writes_success_before_and_after(example, name, tmp_path, monkeypatch, capsys):
    result = tmp_path / "result.json"
    arguments = ["--json", result, "--output-dir", tmp_path / "run", "--max-steps", 1, "--share", 0.15]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments), "--num-unseen", "4"])
    example.main()
    record = json.loads(result.read_text())
    assert record["before"]["panel"] == record["after"]["panel"] != ""
    assert record["before"]["malformed_share"] < 1
    assert record["minutes"] > 0
    assert f"before: {record['before']['success']['rate']:.1%}" in capsys.readouterr().out


def test_the_committed_result_shows_learning(name):
    record = json.loads((RESULTS / f"{name}.json").read_text())
    assert record["after"]["success"]["low"] > record["before"]["success"]["high"]


def test_a_sql_agent_of_the_right_queries_solves_all_questions(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    sql = importlib.import_module("sql_agent")
    env = sql.make_env(0, 40, 40)
    for task in [*env.tasks(), *env.tasks("test")]:
        prompt = task.data["prompt"]
        function = next(function for part, function in sql.QUESTIONS.items() if part in prompt)
        column, value = next(place for part, place in sql.FILTERS.items() if part in prompt)
        env.reset(task)
        env.step(env.parse_action(sql.call("query", function, column, value)))
        assert env.step(env.parse_action(sql.call("submit", function, column, value))).success, prompt
    calls = [sql.call(tool, "count(*)", "item", "egg") for tool in ("query", "submit")]
    check_environment(env, actions=calls)


def test_questions_of_the_evaluation_are_not_trained_on(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    sql = importlib.import_module("sql_agent")
    env = sql.make_env(0, 400, 200)
    asked, unseen = ({task.data["prompt"] for task in env.tasks(split)} for split in ("train", "test"))
    assert unseen
    assert asked.isdisjoint(unseen)


@pytest.mark.parametrize(
    ("word", "guess", "signs"),
    [("bad", "bad", "+++"), ("bad", "dab", "?+?"), ("bad", "dad", "-++"), ("pub", "bib", "--+")],
)
def test_marks_are_those_of_wordle(word, guess, signs, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    assert importlib.import_module("wordle").marks(word, guess) == signs


def test_a_game_pays_a_third_for_each_letter_of_its_best_guess(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    wordle = importlib.import_module("wordle")
    env = wordle.Wordle()
    task = env.tasks("test")[0]
    visit, (first, second, third) = first_visit(env, task), task.data
    paid = []
    wrong = next(x for x in wordle.CONSONANTS if x not in task.data)
    for letters in (f"{first} {wrong} {wrong}", f"{wrong} {second} {third}", f"{first}{second}{wrong}", task.data):
        visit = next_visit(env, visit, env.parse_action(letters))
        paid.append(round(3 * visit.result.reward))
    assert paid == [1, 1, 0, 1]
    assert visit.result.success
    check_environment(env, actions=["bad", "tug", "pet", "ten"])
    seen, unseen = ({task.data for task in env.tasks(split)} for split in ("train", "test"))
    assert seen.isdisjoint(unseen)
