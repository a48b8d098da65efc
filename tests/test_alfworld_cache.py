import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from trl_3spo.environments.alfworld import AlfworldEnv, Game
from trl_3spo.environments.alfworld.data import cache as cache_module
from trl_3spo.environments.alfworld.generation.generator import generate_games
from trl_3spo.environments.alfworld.simulator.definition import from_json, read_definition, to_json

GAMES = generate_games(6, seed=3, num_receptacles=(5, 12))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRL_3SPO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "alfworld"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "game.tw-pddl"
    path.write_text(json.dumps(GAMES[0]))
    return path


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def observe(path: Path) -> Any:
    env = AlfworldEnv([path])
    return [env.reset(env.tasks()[0]), *(env.step(action) for action in env.game(env.tasks()[0].id).walkthrough or ())]


def test_definitions_survive_being_written_down() -> None:
    for data in GAMES:
        first = read_definition(data)
        second = from_json(to_json(first))
        assert second.goal.sentences == first.goal.sentences
        assert second._replace(goal=first.goal) == first
        assert len({id(things) for things in second.accepts}) == len(set(first.accepts))
        game, again = Game(first), Game(second)
        state = game.initial
        for action in first.walkthrough or ():
            assert again.step(state, action) == game.step(state, action)
            state, _ = game.step(state, action)
        assert again.is_won(state)


def test_games_are_read_once(folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = observe(path)
    (entry,) = entries(folder)
    assert entry.stat().st_size < 3000
    monkeypatch.setattr("trl_3spo.environments.alfworld.data.files.read_definition", None)
    assert observe(path) == first


def test_another_content_is_another_entry(folder: Path, path: Path) -> None:
    first, times = observe(path), path.stat()
    path.write_text(json.dumps({**GAMES[0], "task": GAMES[0]["task"].replace("put", "lay").replace("look", "leer")}))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert observe(path)[0].text != first[0].text
    assert len(entries(folder)) == 2


def test_another_reader_does_not_trust_the_entries(folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observe(path)
    monkeypatch.setattr(cache_module, "_code_digest", lambda: b"changed")
    observe(path)
    assert len(entries(folder)) == 2


@pytest.mark.parametrize("content", [b"", b"not zlib", b"x\x9c\x03\x00\x00\x00\x00\x01", "cut"])
def test_broken_entries_are_written_again(folder: Path, path: Path, content: Any) -> None:
    first = observe(path)
    (entry,) = entries(folder)
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-9] if content == "cut" else content)
    assert observe(path) == first
    assert entry.read_bytes() == whole


def test_without_a_writable_folder_games_are_read_anew(folder: Path, path: Path) -> None:
    folder.parent.write_text("a file in the way")
    assert observe(path) == observe(path)


def test_what_cannot_be_read_is_not_kept(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.tw-pddl"
    path.write_text("{}")
    for _ in range(2):
        with pytest.raises(ValueError, match="pddl_problem"):
            observe(path)
    assert entries(folder) == []


def test_entries_are_at_home_by_default(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRL_3SPO_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    observe(path)
    assert len(entries(tmp_path / ".cache" / "trl_3spo" / "alfworld")) == 1


def test_processes_that_write_at_once_leave_whole_entries(folder: Path, tmp_path: Path) -> None:
    for i, game in enumerate(GAMES):
        (tmp_path / f"{i}.tw-pddl").write_text(json.dumps(game))
    script = (
        "import sys; from pathlib import Path; from trl_3spo.environments.alfworld import AlfworldEnv\n"
        "env = AlfworldEnv(sorted(Path(sys.argv[1]).glob('*.tw-pddl')))\n"
        "for _ in range(20):\n    [path.unlink(missing_ok=True) for path in Path(sys.argv[2]).rglob('*.z')]\n"
        "    env.close()\n    [env.reset(task) for task in env.tasks()]\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(folder)]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    for path in tmp_path.glob("*.tw-pddl"):
        observe(path)
    kept = [from_json(zlib.decompress(entry.read_bytes())).task for entry in entries(folder)]
    assert sorted(kept) == sorted(game["task"] for game in GAMES)
