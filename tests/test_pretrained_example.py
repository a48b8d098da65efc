"""The example that trains a pretrained model, in pieces, with a small model in the place of the one it would fetch."""

import json
import sys
from itertools import product
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "examples"))
import pretrained
from pretrained_imitation import sequences
from pretrained_model import smollm2
from pretrained_worlds import WORLDS, World

from training import WordsEnv, tokenizer_for, untrained
from trl_3spo.environments.alfworld.assignment import KINDS
from trl_3spo.environments.alfworld.generation.generator import generate_games
from trl_3spo.environments.demonstrations import Advice, demonstrate
from trl_3spo.tiny import END, word_tokenizer

FEW = ["--world", "words", "--demonstrations", 2, "--unseen", 20, "--actions", 250]


def words(prompt_format, num_unseen):
    """Return a world of single steps in which an untrained model is right half of the time."""
    env = WordsEnv(num_unseen + 60)
    tasks = env.tasks()
    return World(
        env,
        tasks[:10],
        tasks[10:60],
        tasks[60:],
        lambda shown: demonstrate(env, shown, lambda observation, seed: lambda *_: Advice("open")),
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return a cache folder that holds a small model under the name of the real one."""
    monkeypatch.setitem(WORLDS, "words", words)
    monkeypatch.setitem(pretrained.HARDWARE, "bf16", False)  # slow with small matrices
    tokenizer = tokenizer_for(WordsEnv())
    folder = tmp_path / f"{pretrained.NAME}-float32"
    untrained(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["pretrained.py", *map(str, arguments)])
    pretrained.main()


def test_it_goes_on_until_all_is_done(cache, monkeypatch, capsys):
    file = cache / "result.json"
    options = [*FEW, "--cache", cache, "--output-dir", cache / "run", "--json", file]
    num_pieces = 0
    while not file.exists():
        run(monkeypatch, *options, "--minutes", 0)
        num_pieces += 1
        assert num_pieces < 50
    assert num_pieces >= 5  # two parts of either evaluation, two updates
    assert "The same command goes on from here" in capsys.readouterr().out
    result = json.loads(file.read_text())
    assert {"model", "environment", "before", "after", "low", "high", "sampled_actions", "hours"} <= result.keys()
    assert result["sampled_actions"] >= 250
    assert result["evaluations"]["after"]["episodes"] == 20
    assert 0 <= result["low"] <= result["after"] <= result["high"] <= 1

    run(monkeypatch, *options, "--method", "grpo")  # from the same imitation
    other = json.loads(file.read_text())
    assert (other["method"], other["evaluations"]["before"]) == ("grpo", result["evaluations"]["before"])
    assert other["sampled_actions"] >= 250


def test_an_episode_is_one_sequence_and_the_answers_that_were_given_are_learned():
    def said(*texts):
        return [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 3, texts, strict=False)]

    conversation = [said("here"), said("here", "go left", "there"), said("here", "go left", "there", "look", "nothing")]
    answers = ["go left", "open", "take it"]  # something else was done in place of the second
    steps = [{"prompt": x, "completion": said("", y)[1:]} for x, y in zip(conversation, answers, strict=True)]
    other = {"prompt": said("here you are"), "completion": said("", "open")[1:]}
    tokenizer = word_tokenizer(["here go left there look nothing open take it you are"])
    first, second = sequences([*steps, other], tokenizer)

    whole = tokenizer.apply_chat_template([*conversation[-1], *steps[-1]["completion"]], return_dict=False)
    assert first["input_ids"] == whole
    learned = [[x for x, is_learned in zip(*row.values(), strict=True) if is_learned] for row in (first, second)]
    assert [tokenizer.decode(x) for x in learned] == [f"go left {END} take it {END}", f"open {END}"]


def test_a_model_that_is_there_is_not_fetched(cache):
    assert smollm2(cache) == cache / f"{pretrained.NAME}-float32"


@pytest.mark.parametrize(("name", "prompt_format"), [("shop", "think"), ("games", "action")])
def test_what_is_shown_and_trained_on_is_not_evaluated(name, prompt_format):
    world = WORLDS[name](prompt_format, 64)
    panels = [{task.id for task in tasks} for tasks in (world.shown, world.train, world.unseen)]
    assert len(set.union(*panels)) == sum(map(len, panels))
    assert len(world.unseen) == 64
    assert len(world.train) >= 500
    assert next(world.demonstrate(world.shown[:4]))["completion"]


def test_a_part_of_the_released_games_has_all_kinds(tmp_path, monkeypatch):
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    names = product(("train", "valid_unseen"), KINDS, range(10))
    for (split, kind, number), game in zip(names, generate_games(120, seed=0, num_receptacles=(4, 8)), strict=True):
        folder = tmp_path / "json_2.1.1" / split / f"{kind}-Mug-None-Desk-{number}" / "trial"
        folder.mkdir(parents=True)
        (folder / "game.tw-pddl").write_text(json.dumps(game))
    world = WORLDS["alfworld"]("action", 30)
    for tasks in world[1:4]:
        assert len(tasks) == 30
        assert {task.kind for task in tasks} == set(KINDS)
