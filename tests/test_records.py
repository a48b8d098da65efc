"""Episodes on disk: what is written, that it makes up the trees again, and that it changes nothing."""

import json
from collections import Counter

import pytest
import torch

from rank_training import UnevenEnv, on_ranks, settings
from search_options import FRONTIER
from training import SpokenCorridor, baseline_trainer, config_for, corridor_trainer, tokenizer_for, untrained
from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
from trl_3spo.algorithm.options import PUBLISHED
from trl_3spo.baselines.trainers import EpisodeGRPOTrainer, GiGPOTrainer, StepPOTrainer
from trl_3spo.recording.files import EpisodeFile, lines_of, place
from trl_3spo.recording.reading import read_run, trees_of

STEPWISE = {name: x for name, x in PUBLISHED.items() if name != "num_generations"}
WALKED = {"branch": {}, "frontier": FRONTIER, "published": STEPWISE}
HOSTILE = "</script><script>alert(1)</script>\u2028\x1b[2J\ud800 <!-- & " + "x" * 1_000_000


def records(folder, phase="train"):
    return [record for file in sorted((folder / "episodes").glob(f"*-{phase}-*.jsonl")) for record in lines_of(file)]


def watched(trainer):
    """Return the rounds that the trainer's algorithm will show, in a list that grows."""
    rounds, record = [], trainer.algorithm.on_round

    def both(found):
        rounds.append(found)
        record(found)

    trainer.algorithm.on_round = both
    return rounds


def spoken(folder, **changes):
    return corridor_trainer(folder, env=SpokenCorridor(), **changes)


@pytest.mark.parametrize("changes", WALKED.values(), ids=WALKED)
def test_the_records_make_up_the_trees_again(changes, tmp_path):
    trainer = spoken(tmp_path, max_steps=3, num_generations=4, **changes)
    rounds = watched(trainer)
    trainer.train()
    roots, trees = {}, read_run(tmp_path).trees
    for found in rounds:
        for group, samples in zip(found.groups, found.samples, strict=True):
            pairs = zip(samples, group.transitions, strict=True)
            roots.setdefault(group.origin.root, []).extend((sample, x.visit) for sample, x in pairs)
    assert {x.first["tree"] for x in trees} == {x.first["tree"] for x in trees if "root" in x.episodes[0]}
    told = Counter(way for tree in trees for way in ways(tree))
    sampled = Counter(
        ((visit.root.task.id, *map(str, visit.actions())), sample.text)
        for root, taken in roots.items()
        for sample, visit in taken
    )
    assert sampled
    assert told == sampled, "every sample is told, and none twice"
    ended = Counter(episode.stop_reason for found in rounds for episode in found.ended)
    reasons = Counter(x["stop_reason"] for tree in trees for x in tree.episodes)
    assert {name: x for name, x in reasons.items() if name not in ("pruned", "unfinished")} == ended


def ways(tree):
    """Yield the way to every answer from the root, with its text."""
    for node in tree.nodes.values():
        for answer in node.answers:
            actions = [x.answers[0]["action"] for x in tree.path(node.visit)[1:]]
            yield (tree.first["task"]["id"], *actions), answer["completion"]


def test_a_record_says_what_the_step_earned(tmp_path):
    trainer = spoken(tmp_path, max_steps=1, num_generations=4)
    rounds = watched(trainer)
    trainer.train()
    told = {}
    for record in records(tmp_path):
        for step in record["steps"]:
            for entry in (step, *step["others"]):
                told.setdefault((step["group_size"], entry["completion"], entry["state"]), []).append(entry)
    rows = [row for row in trainer._rows if not row.is_padding]
    trained = [x for entries in told.values() for x in entries if x["is_trained_on"]]
    assert sorted(x["advantage"] for x in trained) == pytest.approx(sorted(row.advantage for row in rows), rel=1e-5)
    for entry in trained:
        assert sum(entry["reward_parts"].values()) == pytest.approx(entry["reward"], abs=1e-4)
    first = records(tmp_path)[0]
    judged = rounds[0].judge
    assert first["root"]["score"] == 1.0
    assert first["steps"][0]["group_size"] == len(rounds[0].samples[0])
    assert first["steps"][0]["value"] == 0.0
    assert judged is not None
    assert [x["role"] for x in first["messages"]] == ["user"] * len(first["messages"])
    assert all(first["messages"][i] for step in first["steps"] for i in step["prompt"])


@pytest.mark.parametrize("trainer_class", [EpisodeGRPOTrainer, GiGPOTrainer, StepPOTrainer])
def test_baselines_record_their_episodes(trainer_class, tmp_path):
    trainer = baseline_trainer(trainer_class, tmp_path, max_steps=1)
    trainer.train()
    found = records(tmp_path)
    assert len(found) == 32
    assert all(x["score_before"] is None for r in found for x in r["steps"]), "no state is scored"
    advantages = [x["advantage"] for r in found for s in r["steps"] for x in (s, *s["others"]) if x["is_trained_on"]]
    rows = [row.advantage for row in trainer._rows if not row.is_padding]
    assert sorted(advantages) == pytest.approx(sorted(rows), rel=1e-5, abs=1e-6)


def weights(trainer):
    return {name: x.detach().clone() for name, x in trainer.model.named_parameters()}


@pytest.mark.parametrize("changes", WALKED.values(), ids=WALKED)
def test_records_change_nothing(changes, tmp_path):
    found = []
    for megabytes in (0.0, 100.0):
        folder = tmp_path / str(megabytes)
        trainer = spoken(
            folder, max_steps=3, record_megabytes=megabytes, eval_strategy="steps", eval_steps=1, **changes
        )
        trainer.train()
        found.append(weights(trainer))
        assert (folder / "episodes").exists() == (megabytes > 0)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_evaluations_are_recorded_whole(tmp_path):
    env = SpokenCorridor()
    tokenizer = tokenizer_for(env)
    config = config_for(tmp_path, num_generations_eval=2, per_device_eval_batch_size=2)
    panels = {"seen": env.tasks()[:2], "unseen": env.tasks()[:1]}
    trainer = ThreeSPOTrainer(untrained(tokenizer), env, config, eval_tasks=panels, processing_class=tokenizer)
    metrics = trainer.evaluate()
    found = records(tmp_path, "eval")
    assert [(x["panel"], x["episode"]) for x in found] == [
        *(("seen", i) for i in range(4)),
        ("unseen", 0),
        ("unseen", 1),
    ]
    for panel in panels:
        own = [x["success"] for x in found if x["panel"] == panel]
        assert sum(own) / len(own) == metrics[f"eval_{panel}_success_rate"]
    assert all(x["return"] == float(x["success"]) and x["num_steps"] == len(x["steps"]) for x in found)
    (log,) = lines_of(next((tmp_path / "episodes").glob("*-log-0.jsonl")))
    assert log["metrics"]["eval_seen_success_rate"] == metrics["eval_seen_success_rate"]


def test_a_policy_that_was_not_asked_has_no_action(tmp_path):
    trainer = spoken(tmp_path, max_prompt_tokens=1)
    trainer.evaluate()
    (step,) = records(tmp_path, "eval")[0]["steps"]
    assert (step["action"], step["unasked"]) == (None, "prompt_overflow")
    assert records(tmp_path, "eval")[0]["stop_reason"] == "prompt_overflow"


def test_a_resumed_run_has_every_episode_once(tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
    spoken(tmp_path, max_steps=6, **settings).train()
    before = without_time(records(tmp_path)), without_time(records(tmp_path, "eval"))
    file = next((tmp_path / "episodes").glob("*-train-0.jsonl"))
    with file.open("ab") as torn:
        torn.write(b'{"schema":1,"run":"half of a li')
    trainer = spoken(tmp_path, max_steps=6, **settings)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    after = without_time(records(tmp_path)), without_time(records(tmp_path, "eval"))
    assert {x["step"] for x in after[0]} == set(range(6))
    assert [x["step"] for x in after[1]] == [x["step"] for x in before[1]]
    assert after[0] == before[0], "the same trees by the same names"


def without_time(found):
    return [{name: x for name, x in record.items() if name not in ("time", "evaluation")} for record in found]


def test_a_second_training_takes_the_place_of_the_first(tmp_path):
    trainer = spoken(tmp_path, max_steps=2)
    trainer.train()
    trainer.train()
    names = [(x["tree"], x["episode"]) for x in records(tmp_path)]
    assert len(set(names)) == len(names)


@pytest.mark.slow
def test_every_process_writes_a_file_of_its_own(tmp_path):
    on_ranks(2, train_and_evaluate, tmp_path)
    files = sorted(x.name.split("-", 1)[1] for x in (tmp_path / "episodes").iterdir())
    assert files == [
        f"{phase}-{rank}.jsonl" for phase in ("eval", "log", "train") for rank in (0, 1) if (phase, rank) != ("log", 1)
    ]
    assert len({x["run"] for x in records(tmp_path)}) == 1
    assert {x["tree"].split("-")[1] for x in records(tmp_path)} == {"0", "1"}
    played = records(tmp_path, "eval")
    assert sorted(x["episode"] for x in played) == list(range(len(UnevenEnv().tasks())))
    assert {x["task"]["id"] for x in played} == {task.id for task in UnevenEnv().tasks()}


def train_and_evaluate(rank, folder):
    trainer = corridor_trainer(folder, env=UnevenEnv(), **settings(max_steps=1))
    trainer.train()
    trainer.evaluate()


def record(tree, text="", episode=0):
    return {"schema": 1, "tree": tree, "step": 0, "episode": episode, "task": {"id": "a"}, "text": text}


def test_hostile_text_comes_back_as_it_was(tmp_path):
    file = EpisodeFile(tmp_path / "x-train-0.jsonl", 10**8, seed=0)
    file.append([record("1", HOSTILE)])
    assert len(file.path.read_bytes().splitlines()) == 1
    assert [x["text"] for x in lines_of(file.path)] == [HOSTILE]


def test_a_file_is_thinned_by_whole_trees(tmp_path):
    file = EpisodeFile(tmp_path / "x-train-0.jsonl", 50_000, seed=0)
    for number in range(400):
        file.append([record(str(number), "y" * 300, episode) for episode in range(2)])
        assert file.path.stat().st_size <= 50_000
    kept = Counter(x["tree"] for x in lines_of(file.path))
    assert set(kept.values()) == {2}, "a whole tree or nothing"
    assert {int(tree) < 200 for tree in kept} == {True, False}, "spread over the whole run"
    assert set(kept) == {str(i) for i in range(400) if place(0, str(i)) < file.share}
    assert all(x["share"] == file.share for x in lines_of(file.path))
    again = EpisodeFile(file.path, 50_000, seed=0)
    again.go_back(lambda x: int(x["tree"]) < 200)
    assert again.share == file.share
    assert {int(x["tree"]) for x in lines_of(file.path)} == {int(tree) for tree in kept if int(tree) < 200}


def test_a_torn_line_is_passed_over(tmp_path, caplog):
    file = tmp_path / "x-train-0.jsonl"
    whole = json.dumps(record("1")).encode()
    for torn in (whole[:-3], whole, b"\x00\xff", b"[1]\n"):
        file.write_bytes(whole + b"\n" + torn)
        assert [x["tree"] for x in lines_of(file)] == ["1"]
    assert "not whole" in caplog.text


def test_a_later_version_is_refused(tmp_path):
    file = tmp_path / "x-train-0.jsonl"
    file.write_text(json.dumps(record("1") | {"schema": 2}) + "\n")
    with pytest.raises(ValueError, match="version 2"):
        list(lines_of(file))


def test_a_full_disk_ends_the_records_and_not_the_training(tmp_path, caplog):
    trainer = spoken(tmp_path, max_steps=2)
    (tmp_path / "episodes").write_text("no folder")
    trainer.train()
    assert trainer.state.global_step == 2
    assert "no longer recorded" in caplog.text


def test_a_folder_without_records_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="record_megabytes"):
        read_run(tmp_path)


def test_trees_that_lack_their_beginning_are_left_out():
    assert list(trees_of([record("1") | {"steps": []}])) == []


def test_the_option_has_a_range(tmp_path):
    with pytest.raises(ValueError, match="record_megabytes is -1"):
        ThreeSPOConfig(str(tmp_path), record_megabytes=-1, use_cpu=True, bf16=False)
