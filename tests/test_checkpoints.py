"""A checkpoint is whole or absent, whatever interrupts its writing, and only a run's own are gone on from."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers.trainer_utils import get_last_checkpoint

from rank_training import UnevenEnv, on_ranks, resumes_on_ranks
from resume_training import trainer_of
from training import SpokenCorridor
from trl_3spo.environments.base import Task
from trl_3spo.reliability import checkpoints as files
from trl_3spo.reliability import run as runs
from trl_3spo.reliability.checkpoints import newest_whole, publish, recover, remove_surplus, why_torn
from trl_3spo.reliability.run_folder import resolve

SAVING = {"save_strategy": "steps", "save_steps": 1}


def trained(folder, method="grpo", **changes):
    trainer = trainer_of(method, folder, **(SAVING | {"max_steps": 2} | changes))
    trainer.train()
    return trainer


def resumed(folder, wanted=True, method="grpo", **changes):
    trainer = trainer_of(method, folder, **(SAVING | {"max_steps": 3} | changes))
    trainer.train(resume_from_checkpoint=wanted)
    return trainer


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return an output folder with two checkpoints."""
    folder = tmp_path_factory.mktemp("run") / "out"
    trained(folder)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


# -- writing -----------------------------------------------------------------------------------------------------------


def written(folder, step, content="x"):
    staged = folder / files.STAGING / f"checkpoint-{step}"
    staged.mkdir(parents=True)
    (staged / "model.safetensors").write_text(content)
    publish(staged, folder / f"checkpoint-{step}", {"run": "a"})
    return folder / f"checkpoint-{step}"


def test_a_checkpoint_lists_its_files(tmp_path):
    checkpoint = written(tmp_path, 1)
    assert json.loads((checkpoint / files.MARKER).read_text()) == {"run": "a", "files": {"model.safetensors": 1}}
    assert why_torn(checkpoint) is None


@pytest.mark.parametrize("moment", ["make_durable", "rename"])
def test_whoever_is_interrupted_leaves_what_there_was(tmp_path, monkeypatch, moment):
    """At every call of a moment in turn: the old checkpoint of that step or the new one, never none or a half."""

    class Killed(BaseException):
        pass

    number = 0
    while True:
        folder = tmp_path / f"{moment}{number}"
        folder.mkdir()
        written(folder, 1, "old")
        calls = iter(range(100))
        target, name = (files, "make_durable") if moment == "make_durable" else (Path, "rename")
        original = getattr(target, name)

        def dying(*args, number=number, calls=calls, original=original):
            if next(calls) == number:
                raise Killed
            return original(*args)

        with monkeypatch.context() as patch:
            patch.setattr(target, name, dying)
            try:
                written(folder, 1, "new")
                break
            except Killed:
                pass
        recover(folder)
        checkpoint, torn = newest_whole(folder)
        assert torn == {}
        assert (checkpoint / "model.safetensors").read_text() in ("old", "new")
        assert not (folder / files.STAGING).exists()
        number += 1
    assert number == {"make_durable": 4, "rename": 2}[moment]


def test_a_failed_write_leaves_the_last_one_and_names_it(tmp_path, monkeypatch):
    """As a full disk does; with room for one checkpoint only."""
    trainer = trainer_of("grpo", tmp_path, max_steps=3, save_total_limit=1, **SAVING)
    save = torch.save

    def full(*args, **kwargs):
        if trainer.state.global_step == 2:
            raise OSError(28, "No space left on device")
        save(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(
            OSError, match=r"checkpoint-2 could not be written .*last good checkpoint is .*checkpoint-1"
        ):
            trainer.train()
    assert [path.name for path in files.checkpoints_in(tmp_path)] == ["checkpoint-1"]
    assert resumed(tmp_path).state.global_step == 3


def test_no_checkpoint_goes_before_the_next_is_whole(tmp_path, monkeypatch):
    seen = []
    original = runs.publish

    def watching(staged, final, record):
        seen.append([path.name for path in files.checkpoints_in(final.parent)])
        original(staged, final, record)

    monkeypatch.setattr(runs, "publish", watching)
    trained(tmp_path, save_total_limit=1, max_steps=3)
    assert seen == [[], ["checkpoint-1"], ["checkpoint-2"]]
    assert [path.name for path in files.checkpoints_in(tmp_path)] == ["checkpoint-3"]


def test_the_best_and_the_newest_are_kept(tmp_path):
    for step in range(1, 6):
        written(tmp_path, step)
    remove_surplus(tmp_path, 2, str(tmp_path / "checkpoint-2"))
    assert [path.name for path in files.checkpoints_in(tmp_path)] == ["checkpoint-2", "checkpoint-5"]
    remove_surplus(tmp_path, None, None)
    assert len(files.checkpoints_in(tmp_path)) == 2


def test_the_best_is_named_where_it_will_be(tmp_path):
    trainer = trained(
        tmp_path,
        eval_strategy="steps",
        eval_steps=1,
        metric_for_best_model="success_rate",
        load_best_model_at_end=True,
        num_eval_tasks=2,
    )
    best = Path(trainer.state.best_model_checkpoint)
    assert best.parent == tmp_path
    state = json.loads((tmp_path / "checkpoint-2" / "trainer_state.json").read_text())
    assert Path(state["best_model_checkpoint"]).parent == tmp_path


# -- choosing ----------------------------------------------------------------------------------------------------------


def damage_missing(checkpoint):
    (checkpoint / "optimizer.pt").unlink()


def damage_short(checkpoint):
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def damage_as_before(checkpoint):
    """As a kill left it while checkpoints were written in place."""
    (checkpoint / files.MARKER).unlink()
    (checkpoint / "trainer_state.json").unlink()


@pytest.mark.parametrize("damage", [damage_missing, damage_short, damage_as_before])
def test_the_newest_whole_one_is_taken_and_the_others_are_named(folder, damage, caplog):
    damage(folder / "checkpoint-2")
    trainer = resumed(folder)
    assert trainer.run._resumed == folder / "checkpoint-1"
    assert trainer.state.global_step == 3
    assert "Passed over as not whole: checkpoint-2" in caplog.text
    assert (folder / "_set_aside_1" / "checkpoint-2").is_dir()
    assert get_last_checkpoint(folder) == str(folder / "checkpoint-3")


def test_without_a_whole_one_all_are_named(folder):
    for checkpoint in files.checkpoints_in(folder):
        damage_short(checkpoint)
    with pytest.raises(ValueError, match=r"no whole checkpoint .* checkpoint-2 \(model.safetensors missing or of"):
        resumed(folder)
    assert resolve(folder, "auto") is None


def test_unmarked_checkpoints_go_by_their_content(tmp_path):
    checkpoint = tmp_path / "checkpoint-4"
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text("{}")
    save_file({"x": torch.ones(9)}, checkpoint / "model.safetensors")
    assert why_torn(checkpoint) is None
    damage_short(checkpoint)
    assert why_torn(checkpoint) == "model.safetensors unreadable"
    with pytest.raises(ValueError, match=r"not a whole checkpoint: model\.safetensors unreadable"):
        resolve(tmp_path, str(checkpoint))


def test_automatic_resuming_begins_and_goes_on(tmp_path):
    assert resumed(tmp_path, "auto", max_steps=1).state.global_step == 1
    assert resumed(tmp_path, "auto", max_steps=2).run._resumed == tmp_path / "checkpoint-1"
    again = resumed(tmp_path, "auto", max_steps=2)
    assert (again.state.global_step, len(files.checkpoints_in(tmp_path))) == (2, 2)


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "scheduler.pt"])
def test_what_is_missing_is_said(folder, name, caplog):
    (folder / "checkpoint-2" / name).unlink()
    resumed(folder, str(folder / "checkpoint-2"))
    what = {"optimizer.pt": "optimizer", "rng_state.pth": "random generators", "scheduler.pt": "scheduler"}[name]
    assert f"holds no state of {what}" in caplog.text
    assert f"is not as it was saved: {name} missing" in caplog.text


def test_a_checkpoint_of_the_model_alone_is_said_to_be(tmp_path, caplog):
    trained(tmp_path, save_only_model=True)
    resumed(tmp_path, save_only_model=True)
    assert "holds no state of optimizer, scheduler, random generators (it was saved with save_only_model" in caplog.text


# -- what saved it -----------------------------------------------------------------------------------------------------


class OtherCorridor(SpokenCorridor):
    pass


class FewerTasks(SpokenCorridor):
    def tasks(self, split=None):
        return super().tasks(split)[:1]


FewerTasks.__qualname__ = "SpokenCorridor"


@pytest.mark.parametrize(
    ("method", "env", "message"),
    [
        ("grpo", OtherCorridor, "another environment class: SpokenCorridor, now OtherCorridor"),
        ("grpo", FewerTasks, "another list of tasks: 2 tasks with hash .*, now 1 tasks"),
        ("gigpo", SpokenCorridor, "another method: EpisodeGRPO, now GiGPO"),
    ],
)
def test_another_world_or_method_is_refused(folder, method, env, message):
    with pytest.raises(ValueError, match=message):
        resumed(folder, method=method, env=env())


def test_other_options_are_named(folder, caplog):
    env = SpokenCorridor(max_steps=6)
    resumed(folder, env=env, learning_rate=0.5, seed=9)
    assert "environment option max_steps: 5, now 6" in caplog.text
    assert "learning_rate: 0.001, now 0.5" in caplog.text
    assert "seed: 7, now 9" in caplog.text
    assert "output_dir" not in caplog.text


@pytest.mark.parametrize("number", [0, 2, None])
def test_another_format_is_refused(folder, number):
    file = folder / "checkpoint-2" / files.MARKER
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": number, "version": "9.9"}))
    with pytest.raises(ValueError, match=f"format {number} and was saved by trl_3spo 9.9; .* reads format 1"):
        resumed(folder)


def test_an_earlier_versions_search_is_refused(folder):
    checkpoint = folder / "checkpoint-2"
    (checkpoint / files.MARKER).unlink()
    (checkpoint / "algorithm_0.npz").rename(checkpoint / "rollout_0.npz")
    with pytest.raises(ValueError, match="saved by an earlier version of trl_3spo"):
        resumed(folder, str(checkpoint))


# -- other runs in the folder ------------------------------------------------------------------------------------------


def test_a_new_run_among_anothers_checkpoints_needs_consent(folder, caplog):
    with pytest.raises(ValueError, match=r"another run, checkpoint-1, checkpoint-2, .*set_aside_checkpoints=True"):
        trained(folder)
    trained(folder, max_steps=1, set_aside_checkpoints=True)
    assert [path.name for path in files.checkpoints_in(folder)] == ["checkpoint-1"]
    assert [path.name for path in files.checkpoints_in(folder / "_set_aside_1")] == ["checkpoint-1", "checkpoint-2"]


def test_going_on_from_an_earlier_one_leaves_the_later_ones_behind(folder):
    resumed(folder, str(folder / "checkpoint-1"), save_strategy="no", max_steps=2)
    assert [path.name for path in files.checkpoints_in(folder)] == ["checkpoint-1"]
    assert (folder / "_set_aside_1" / "checkpoint-2").is_dir()


def test_a_run_resumed_in_another_folder_does_not_mix_with_that_ones(folder, tmp_path):
    trained(tmp_path / "other", max_steps=1)
    with pytest.raises(ValueError, match="holds checkpoints of another run, checkpoint-1"):
        resumed(tmp_path / "other", str(folder / "checkpoint-2"))


@resumes_on_ranks
def test_on_two_ranks_all_take_the_same_and_all_refuse(tmp_path):
    first, second = on_ranks(2, resume_on_a_rank, tmp_path)
    assert first == second == ("checkpoint-1", 3)
    assert on_ranks(2, refuse_on_a_rank, tmp_path) == ["ValueError", "OtherRankFailedError"]


def resume_on_a_rank(rank, folder):
    trained(folder, env=UnevenEnv())
    if rank == 0:
        damage_short(folder / "checkpoint-2")
    trainer = resumed(folder, env=UnevenEnv())
    return trainer.run._resumed.name, trainer.state.global_step


def refuse_on_a_rank(rank, folder):
    try:
        trained(folder, env=UnevenEnv())
    except Exception as error:
        return type(error).__name__


def test_tasks_are_told_apart_by_their_order(folder):
    env = SpokenCorridor()
    trainer = trainer_of("grpo", folder, env=env, max_steps=3)
    trainer.train_tasks = [Task(task.id) for task in reversed(trainer.train_tasks)]
    with pytest.raises(ValueError, match="another list of tasks"):
        trainer.train(resume_from_checkpoint=True)
