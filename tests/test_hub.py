"""Policies are pushed to a stand-in of the Hub on this machine, and loaded back from it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard

from hub_stand_in import environment, hub_stand_in, metadata_errors
from trl_3spo.recording.files import lines_of
from trl_3spo.reliability.checkpoints import why_torn

HERE = Path(__file__).parent
MODEL = {
    "README.md",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "policy.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "training_args.bin",
}
STEPS = {
    "end": [],
    "every_save": ["step 1", "step 2"],
    "checkpoint": ["step 1", "step 1, checkpoint", "step 2", "step 2, checkpoint"],
    "all_checkpoints": ["step 1", "step 1, checkpoint", "step 2", "step 2, checkpoint"],
}
FOLDERS = {
    "end": set(),
    "every_save": set(),
    "checkpoint": {"last-checkpoint"},
    "all_checkpoints": {"checkpoint-1", "checkpoint-2"},
}


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """What a process of its own pushed and loaded back: nothing here knows of another Hub."""
    folder = tmp_path_factory.mktemp("hub")
    with hub_stand_in() as hub:
        variables = os.environ | environment(hub, folder / "home")
        variables["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), str(HERE)])
        command = [sys.executable, str(HERE / "hub_training.py"), str(folder)]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        yield SimpleNamespace(hub=hub, folder=folder, found=json.loads((folder / "found.json").read_text()))


def written(hub, repo, folder):
    """Write what a repository holds to a folder, which is returned."""
    for path, content in hub.files(repo).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.mark.parametrize("strategy", STEPS)
def test_each_strategy_pushes_what_the_docs_say(pushed, strategy):
    messages = [commit.message for commit in pushed.hub.repos[f"somebody/{strategy}"]]
    expected = [*(f"Training in progress, {step}" for step in STEPS[strategy]), "End of training"]
    assert messages[1 : len(expected) + 1] == expected
    files = pushed.hub.files(f"somebody/{strategy}")
    assert {path for path in files if "/" not in path} == MODEL
    assert {path.split("/")[0] for path in files if "/" in path} == {"episodes", *FOLDERS[strategy]}


@pytest.mark.parametrize("strategy", STEPS)
def test_the_episodes_go_with_it(pushed, strategy, tmp_path):
    folder = written(pushed.hub, f"somebody/{strategy}", tmp_path)
    for phase, steps in {"train": {0, 1}, "eval": {0, 2}}.items():
        (file,) = (folder / "episodes").glob(f"*-{phase}-0.jsonl")
        assert {record["step"] for record in lines_of(file)} == steps
    assert file.read_bytes() == (pushed.folder / strategy / "episodes" / file.name).read_bytes()


@pytest.mark.parametrize("strategy", [name for name, folders in FOLDERS.items() if folders])
def test_pushed_checkpoints_are_whole(pushed, strategy, tmp_path):
    folder = written(pushed.hub, f"somebody/{strategy}", tmp_path)
    assert {name: why_torn(folder / name) for name in FOLDERS[strategy]} == dict.fromkeys(FOLDERS[strategy])


@pytest.mark.parametrize("name", [*STEPS, "named"])
def test_loaded_back_it_is_the_same_policy(pushed, name):
    found = pushed.found[name]
    assert len(found["loaded"]["ids"]) > 10
    assert found["loaded"] == {key: found["pushed"][key] for key in ("ids", "next", "answer")}


def test_a_name_on_the_hub_is_evaluated_as_its_trainer_did(pushed):
    assert pushed.found["evaluation"] == pushed.found["end"]["pushed"]["evaluation"]


def test_a_revision_of_a_policy_is_asked_as_that_was(pushed):
    assert pushed.found["revisions"] == [1, 3, 1, 3]


def card_of(pushed, repo):
    return ModelCard(pushed.hub.files(repo)["README.md"].decode())


def test_the_card_has_the_result(pushed):
    card = card_of(pushed, "somebody/end")
    evaluation = pushed.found["end"]["pushed"]["evaluation"]
    of_all, *of_kinds = card.data.eval_results
    assert of_all.metric_value == pytest.approx(evaluation["success"]["rate"], abs=1e-5)
    assert of_all.metric_args["high"] == pytest.approx(evaluation["success"]["high"], abs=1e-5)
    assert of_all.dataset_revision == evaluation["panel"]
    assert of_all.dataset_args == {"length": 4, "max_steps": 8}
    assert {x.dataset_config for x in of_kinds} == {"left", "right"}
    assert (card.data.license, card.data.library_name, card.data.base_model) == ("apache-2.0", "transformers", None)
    assert {"trl", "3spo", "corridor"} <= set(card.data.tags)
    assert "licence" not in card.data
    assert "Before training the success rate was " in card.text
    assert "| learning_rate | 0.001 |" in card.text
    assert "None" not in card.text


@pytest.mark.parametrize("repo", ["somebody/end", "somebody/named"])
def test_the_code_of_the_card_asks_the_policy(pushed, repo):
    answer = pushed.found[repo.split("/")[1]]["loaded"]["answer"]
    assert answer
    assert pushed.found["printed"][repo].splitlines() == [answer, answer]


def test_an_adapter_names_its_base(pushed):
    card = card_of(pushed, "somebody/named")
    assert (card.data.library_name, card.data.base_model) == ("peft", "somebody/base")
    assert card.data.base_model_relation == "adapter"
    assert "adapter_model.safetensors" in pushed.hub.files("somebody/named")
    assert pushed.found["named"]["pushed"]["said"] == ""


def test_an_adapter_whose_base_has_no_name_says_what_to_do(pushed):
    said = pushed.found["unnamed"]["pushed"]["said"]
    assert f"names the folder {pushed.folder / 'base'} of this machine as its base" in said
    assert "trl-3spo merge --adapter" in said
    assert card_of(pushed, "somebody/unnamed").data.base_model is None


def test_the_stand_in_answers_all_that_is_asked(pushed):
    assert pushed.hub.unknown == []


@pytest.mark.parametrize(
    ("head", "error"),
    [
        ("base_model: /home/me/model", '"base_model" with value "/home/me/model" is not valid'),
        ("tags: [1]", '"tags" must be strings'),
        ("model-index: [{results: [{task: {type: a}, dataset: {type: b, name: c}, metrics: [{}]}]}]", "lacks a metric"),
    ],
)
def test_the_stand_in_refuses_cards_as_the_hub_does(head, error):
    (found,) = metadata_errors(f"---\n{head}\n---\ntext")
    assert error in found
