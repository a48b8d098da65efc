"""OpenEnv environments in this process, and on a real server on this machine."""

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("openenv", reason="pip install --no-deps -r requirements-openenv.txt")

from openenv.core.generic_client import GenericEnvClient

from openenv_worlds import Guess, GuessAction, NoteAction, Notes
from trl_3spo.environments.adapters.openenv import OpenEnvEnvironment
from trl_3spo.environments.adapters.seeded_tasks import seeded_tasks
from trl_3spo.environments.base import Task
from trl_3spo.testing import check_environment

NUMBERS = [str(number) for number in range(8)]
SPLITS = {"train": [Task(f"secret {secret}", data={"secret": secret}) for secret in range(8)]}


@pytest.fixture(scope="module")
def address():
    """Start a server for four sessions."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = str(Path(__file__).parent / "openenv_worlds.py")
    server = subprocess.Popen([sys.executable, script, str(port)])
    try:
        _await_port(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=20)


def _await_port(port, server):
    for _ in range(600):
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert server.poll() is None, "the server has ended"
        time.sleep(0.1)
    raise TimeoutError(port)


def guess(text):
    return {"number": int(text)}


def on_server(address, **arguments):
    return OpenEnvEnvironment(address, guess, SPLITS, **arguments)


def play(env, task, actions):
    env.reset(task)
    return [env.step(action) for action in actions]


def test_an_environment_in_this_process_keeps_the_contract():
    env = OpenEnvEnvironment(Guess, GuessAction, SPLITS)
    report = check_environment(env, actions=NUMBERS, tasks=8)
    assert report.num_successes > 0
    assert report.remarks == ()


def test_a_server_keeps_the_contract(address):
    with on_server(address) as env:
        report = check_environment(env, actions=NUMBERS, steps=5)
        assert report.num_ends > 0


def test_a_server_and_this_process_play_alike(address):
    here = OpenEnvEnvironment(Guess(), GuessAction, SPLITS)
    with on_server(address) as there:
        for task, actions in zip(here.tasks(), (["0", "3", "oops", "1"], ["7", "1"]), strict=False):
            assert play(here, task, actions[:1])[0].observation == play(there, task, actions[:1])[0].observation
        task = here.tasks()[5]
        assert play(here, task, ["0", "4", "oops", "5"]) == play(there, task, ["0", "4", "oops", "5"])


def test_rewards_ends_and_success_are_the_environments():
    env = OpenEnvEnvironment(Guess, GuessAction, SPLITS, reward_range=(0.0, 3.0))
    far, close, malformed, right = play(env, env.tasks()[5], ["0", "4", "five", "5"])
    assert (far.reward, far.observation.text, far.is_final) == (0.0, "far", False)
    assert (close.reward, close.observation.text) == (0.25, "close")
    assert (malformed.reward, malformed.observation.state_key) == (0.0, close.observation.state_key)
    assert (right.reward, right.terminated, right.success) == (1.0, True, True)
    assert env.reward_range == (0.0, 3.0)


def test_sessions_on_a_server_play_at_once(address):
    """Every session holds its answer back until all four have one: one after the other they would wait in vain."""
    together = threading.Barrier(4, timeout=20)

    class Waiting(GenericEnvClient):
        has_waited = False

        async def step(self, action, **kwargs):
            return await super().step(action, **kwargs)

        def _parse_result(self, payload):
            if payload["observation"]["hint"] in ("close", "far") and not self.has_waited:
                self.has_waited = True
                together.wait()
            return super()._parse_result(payload)

    with OpenEnvEnvironment(lambda: Waiting(base_url=address), guess, SPLITS, num_sessions=4) as env:
        starts = []
        for task in env.tasks()[4:]:
            env.reset(task)
            starts.append(env.snapshot())
        reached = env.step_each([(start, "0") for start in starts])
        assert [result.observation.text for result, _ in reached] == ["far"] * 4
        assert [snapshot.task.id for _, snapshot in reached] == [f"secret {secret}" for secret in range(4, 8)]


def test_a_server_that_says_its_state_is_put_back(address):
    resets = []

    class Counting(GenericEnvClient):
        async def reset(self, **kwargs):
            resets.append(kwargs)
            return await super().reset(**kwargs)

    def load(client, state):
        client.reset(secret=state["secret"])

    env = OpenEnvEnvironment(
        lambda: Counting(base_url=address), guess, SPLITS, save=lambda client: client.state(), load=load
    )
    with env:
        play(env, env.tasks()[3], ["0", "7"])
        moment = env.snapshot()
        play(env, env.tasks()[4], ["0"])
        resets.clear()
        env.restore(moment)
        assert resets == [{"secret": 3}]
        assert env.step("3").success


def test_more_sessions_than_the_server_has_are_refused(address):
    def play_in_all(env):
        env.reset(env.tasks()[3])
        start = env.snapshot()
        for _ in range(20):
            env.step_each([(start, "0")] * 20)

    with (
        on_server(address, num_sessions=5) as env,
        pytest.raises((RuntimeError, ConnectionError), match=r"[Cc]apacity|free session"),
    ):
        play_in_all(env)


def test_a_connection_that_is_lost_costs_one_call(address):
    class Dropping(GenericEnvClient):
        async def step(self, action, **kwargs):
            if action["number"] == 7:
                await self._ws.close()
            return await super().step(action, **kwargs)

    with OpenEnvEnvironment(lambda: Dropping(base_url=address), guess, SPLITS) as env:
        env.reset(env.tasks()[3])
        env.step("0")
        moment = env.snapshot()
        with pytest.raises(Exception, match="1000"):
            env.step("7")
        env.restore(moment)
        assert env.step("3").success


def test_several_fields_are_read_from_json_and_shown_by_name():
    env = OpenEnvEnvironment(Notes(), NoteAction, system_prompt="Keep a list.", prompt_style="conversation")
    task = env.tasks()[0]
    start = env.reset(task)
    assert start.text == "answer: An empty list.\nlength: 0"
    assert env.prompt(task, start, [])[0] == {"role": "system", "content": "Keep a list."}
    moment = env.snapshot()
    for body in ('{"verb": "write", "text": "tea"}', '{"verb": "write", "text": "jam"}'):
        env.step(body)
    read = env.step('{"verb": "read"}').observation
    assert read.text == "answer: tea, jam\nlength: 2"
    for malformed in ("read", '{"verb": 3}', '{"word": "x"}', "[1]"):
        assert env.step(malformed).observation.state_key == read.state_key
    assert env.restore(moment) == start
    assert env.step('{"verb": "read"}').observation.text == "answer: \nlength: 0"


def test_what_has_been_told_belongs_to_the_state_unless_it_should_not():
    for reveals in (True, False):
        env = OpenEnvEnvironment(Guess, GuessAction, SPLITS, reveals=reveals)
        one, two = (play(env, env.tasks()[0], [number])[0].observation for number in "67")
        assert (one.state_key != two.state_key) == reveals
        assert one.text == two.text


def test_an_object_that_cannot_be_copied_is_replayed():
    class Locked(Guess):
        def __init__(self):
            super().__init__()
            self._lock = threading.Lock()

    env = OpenEnvEnvironment(Locked, GuessAction, SPLITS, max_steps=6)
    assert check_environment(env, actions=NUMBERS, steps=6).num_ends > 0


def test_tasks_are_seeds_and_episodes_have_a_limit():
    env = OpenEnvEnvironment(Guess, GuessAction, max_steps=2)
    assert [task.data for task in seeded_tasks(3, 5)] == [{"seed": 3}, {"seed": 4}]
    assert (len(env.tasks()), len(env.tasks("test"))) == (100, 100)
    env.reset(env.tasks()[0])
    assert not env.step("x").is_final
    assert env.step("x").truncated
    with pytest.raises(RuntimeError, match="has ended"):
        env.step("x")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"max_steps": 0}, "max_steps=0"),
        ({"splits": {"train": []}}, "no tasks"),
        ({"num_sessions": 2}, "num_sessions=2 needs a callable"),
        ({"num_sessions": 0}, "num_worlds=0"),
        ({"load": lambda client, state: None}, "Only one of save and load"),
    ],
)
def test_bad_input_is_named(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        OpenEnvEnvironment(Guess(), GuessAction, **arguments)


def test_other_tasks_and_splits_are_refused():
    env = OpenEnvEnvironment(Guess, GuessAction, SPLITS)
    with pytest.raises(ValueError, match="'seed 0' is not one of"):
        env.reset(Task("seed 0"))
    with pytest.raises(ValueError, match="no split 'dev': choose one of train"):
        env.tasks("dev")
