"""Two runs do not share a folder, and a lock left behind does not keep anybody out."""

import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from resume_training import trainer_of
from trl_3spo.reliability import run_folder, run_lock
from trl_3spo.reliability.run_lock import LOCK, FolderInUseError, RunLock


@pytest.fixture
def ended():
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left_behind(folder, **owner):
    me = {"pid": os.getpid(), "host": socket.gethostname(), "started": "2026-01-01 10:00:00"}
    (folder / LOCK).write_text(json.dumps(me | {"process_started": run_lock._start_of(os.getpid())} | owner))


def test_the_second_is_refused_and_told_whose_the_folder_is(tmp_path):
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    first.take()
    with pytest.raises(FolderInUseError, match=f"process {os.getpid()} on {socket.gethostname()}, started 20"):
        second.take()
    second.release()
    assert (tmp_path / LOCK).exists(), "what is not one's own is not given back"
    first.release()
    second.take()
    second.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("owner", [{}, {"process_started": "1"}])
def test_a_dead_owner_keeps_nobody_out(tmp_path, ended, owner):
    """Nor does one whose number another process has got meanwhile."""
    left_behind(tmp_path, **(owner or {"pid": ended}))
    lock = RunLock(tmp_path)
    lock.take()
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    lock.release()


def test_of_another_host_only_the_touch_tells(tmp_path):
    left_behind(tmp_path, host="elsewhere", pid=1)
    with pytest.raises(FolderInUseError, match="process 1 on elsewhere"):
        RunLock(tmp_path).take()
    old = (tmp_path / LOCK).stat().st_mtime - 2 * run_lock.STALE_AFTER
    os.utime(tmp_path / LOCK, (old, old))
    lock = RunLock(tmp_path)
    lock.take()
    lock.release()


def test_an_owner_touches_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "BEAT", 0.01)
    lock = RunLock(tmp_path)
    lock.take()
    os.utime(tmp_path / LOCK, (1, 1))
    while (tmp_path / LOCK).stat().st_mtime == 1:
        pass
    lock.release()
    assert not any(thread.name == "run lock" for thread in threading.enumerate())


def test_an_unreadable_lock_is_one_of_an_unknown_run(tmp_path):
    (tmp_path / LOCK).write_text("{")
    with pytest.raises(FolderInUseError, match="started at an unknown time"):
        RunLock(tmp_path).take()


def test_a_trainer_holds_its_folder_while_it_trains(tmp_path):
    trainer = trainer_of("grpo", tmp_path, max_steps=1)
    collect, seen = trainer._collect, []

    def trying(capacity):
        with pytest.raises(FolderInUseError) as refusal:
            trainer_of("grpo", tmp_path, max_steps=1).train()
        seen.append(str(refusal.value))
        return collect(capacity)

    trainer._collect = trying
    trainer.train()
    assert len(seen) == 1
    assert not (tmp_path / LOCK).exists()


def test_a_failed_training_gives_it_back(tmp_path):
    trainer = trainer_of("grpo", tmp_path, max_steps=1)
    trainer._collect = lambda capacity: 1 / 0
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    assert not (tmp_path / LOCK).exists()


def test_a_folder_that_cannot_be_written_to_is_noticed_before_the_model_is_loaded(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"a file cannot be written there: .* Choose a folder that can be written to"):
        trainer_of("grpo", tmp_path / "file" / "out")


def test_a_folder_without_room_for_two_checkpoints_is_refused(tmp_path, monkeypatch):
    trainer = trainer_of("grpo", tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
    size = run_folder.checkpoint_size(trainer)
    assert size == 3 * sum(p.numel() * 4 for p in trainer.model.parameters())
    usage = run_folder.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(run_folder.shutil, "disk_usage", lambda folder: usage._replace(free=2 * size - 1))
    with pytest.raises(OSError, match="and two checkpoints take"):
        trainer.train()
    trainer.args.save_strategy = "no"
    trainer.train()
