"""Environments that fail: the guard tries again, gives up one episode, and leaves all others alone."""

import signal
import threading
import time
from dataclasses import replace

import pytest

from faults import BREAKS, Breaking, RandomPolicy, hang
from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.options import PUBLISHED, ThreeSPOOptions
from trl_3spo.algorithm.records import first_visit, next_visits
from trl_3spo.algorithm.three_spo import ThreeSPO
from trl_3spo.baselines.episodes import EpisodeGRPO, GiGPO
from trl_3spo.baselines.step_po import GroupValues, HistoryValues, StepPO
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.environments.deadline import StepTimeoutError, time_limit
from trl_3spo.environments.failures import EpisodeFailedError, FailurePolicy, NoAction, UnstableKeyError
from trl_3spo.environments.guarded import GuardedEnvironment
from trl_3spo.evaluation.panel import evaluate_policy
from trl_3spo.testing import EnvironmentContractError, check_environment

LONG = 5.0
"""Seconds for what must not take long."""


def guarded(env, **policy):
    return GuardedEnvironment(env, FailurePolicy(**{"step_timeout": 0.1} | policy))


def walk(env, actions, task=0):
    """Return where actions lead from the start of a task."""
    visit = first_visit(env, env.tasks()[task])
    for action in actions:
        (visit,) = next_visits(env, [(visit, action)])
    return visit


def same(visit, other):
    return replace(visit.result) == replace(other.result)


def test_a_sound_environment_is_as_it_was():
    env, guard = CorridorEnv(), guarded(CorridorEnv())
    for task in env.tasks():
        assert guard.reset(task) == env.reset(task)
        moment, guards = env.snapshot(), guard.snapshot()
        for action in ("left", "nothing", "right"):
            assert guard.step(action) == env.step(action)
        assert guard.restore(guards) == env.restore(moment)
        assert guard.step("left") == env.step("left")
    assert guard.counts == {}


@pytest.mark.parametrize("kind", BREAKS)
def test_a_call_that_fails_once_is_made_again(kind):
    env = Breaking(kind, times=1)
    guard = guarded(env)
    visit = walk(guard, ["left", "left"])
    assert not visit.has_failed
    assert same(visit, walk(CorridorEnv(), ["left", "left"]))
    assert guard.tries.num_retries == 1
    assert guard.counts["failed_episodes"] == 0


@pytest.mark.parametrize("kind", BREAKS)
def test_a_call_that_fails_always_costs_its_episode_alone(kind, caplog):
    env = Breaking(kind, times=None, in_task=1)
    guard = guarded(env)
    tasks = env.tasks()
    roots = [first_visit(guard, task) for task in tasks[:3]]
    reached = dict(enumerate(roots))
    for action in ("left", "right"):
        going = [i for i in reached if not reached[i].has_failed]
        reached |= zip(going, next_visits(guard, [(reached[i], action) for i in going]), strict=True)
    assert [reached[i].has_failed for i in range(3)] == [False, True, False]
    for i in (0, 2):
        assert same(reached[i], walk(CorridorEnv(), ["left", "right"], task=i))
    failed = reached[1].result
    assert failed.truncated
    assert not failed.success
    assert failed.failure
    assert guard.counts["failed_episodes"] == 1
    assert f"Task {tasks[1].id!r}" in caplog.text
    assert "To see it again: env.reset(next(" in caplog.text


def test_the_log_line_leads_to_the_failure(caplog):
    env = Breaking("step raises", times=None, at="open")
    walk(guarded(env), ["left", "open"])
    line = caplog.text.partition("To see it again: ")[2].strip()
    assert "['left', 'open']" in line
    with pytest.raises(OSError, match="the floor gave way"):
        exec(line, {"env": env})


def test_a_fresh_environment_takes_the_place_of_a_broken_one():
    made = []

    def make():
        made.append(Breaking("step raises", times=1 if not made else 0, skip=2))
        return made[-1]

    guard = guarded(make)
    early = walk(guard, ["left"])
    late = walk(guard, ["right", "right"])  # its last step breaks the first environment
    assert len(made) == 2
    assert made[0].is_closed
    assert same(late, walk(CorridorEnv(), ["right", "right"]))
    # A state of the first environment is reached again in the second one.
    (reached,) = next_visits(guard, [(early, "left")])
    assert same(reached, walk(CorridorEnv(), ["left", "left"]))


def test_where_no_environment_can_be_made_any_more_episodes_fail():
    calls = []

    def make():
        calls.append(1)
        if len(calls) > 1:
            raise ConnectionError("no server")
        return Breaking("step raises", times=None)

    guard = guarded(make)
    assert walk(guard, ["left"]).has_failed
    assert first_visit(guard, CorridorEnv().tasks()[0]).has_failed
    assert guard.counts["failed_episodes"] == 2


def test_failing_fast_raises_the_error_with_the_way_there():
    guard = guarded(Breaking("step raises", times=1, at="open"), on_failure="raise")
    with pytest.raises(OSError, match="the floor gave way") as caught:
        walk(guard, ["left", "open"])
    assert "after the actions ['left']" in caught.value.__notes__[0]
    with pytest.raises(TimeoutError, match=r"step_timeout=0\.1"):
        walk(guarded(Breaking("step hangs", times=1), on_failure="raise"), ["left"])


def test_an_environment_that_exits_ends_an_episode_and_not_the_process():
    assert walk(guarded(Breaking("step exits", times=None)), ["left"]).has_failed


@pytest.mark.parametrize("how", ["sleep", "loop", "lock", "pipe"])
def test_any_way_to_hang_is_interrupted(how):
    began = time.monotonic()
    with pytest.raises(StepTimeoutError), time_limit(0.05):
        hang(how)
    assert time.monotonic() - began < 60


def test_a_time_limit_leaves_the_timers_of_others_alone():
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(StepTimeoutError), time_limit(0.05):
            hang("sleep")
        with time_limit(LONG):
            pass
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
        while not rung:
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, left, interval)


def test_off_the_main_thread_there_is_no_limit():
    done = []

    def work():
        with time_limit(0.01):
            time.sleep(0.05)
        done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]


def test_moves_taken_at_once_fail_one_by_one():
    env = Breaking("step raises", times=None, in_task=1)
    guard = guarded(env)
    roots = [first_visit(guard, task) for task in env.tasks()[:4]]
    reached = next_visits(guard, [(root, "left") for root in roots])
    assert [visit.has_failed for visit in reached] == [False, True, False, False]
    for i in (0, 2, 3):
        assert same(reached[i], walk(CorridorEnv(), ["left"], task=i))


@pytest.mark.parametrize("kind", ["one result too few", "step_each raises"])
def test_where_moves_cannot_be_taken_at_once_each_is_taken_alone(kind):
    guard = guarded(Breaking(kind, times=None))
    roots = [first_visit(guard, task) for task in guard.tasks()[:3]]
    reached = next_visits(guard, [(root, "left") for root in roots])
    assert all(same(x, walk(CorridorEnv(), ["left"], task=i)) for i, x in enumerate(reached))


def test_many_moves_at_once_that_take_longer_than_one_are_given_the_time():
    class Slow(CorridorEnv):
        def step_each(self, moves):
            time.sleep(0.15 if len(moves) > 1 else 0)
            return super().step_each(moves)

    guard = guarded(Slow())
    roots = [first_visit(guard, task) for task in guard.tasks()[:3]]
    for _ in range(4):
        assert not any(x.has_failed for x in next_visits(guard, [(root, "left") for root in roots]))
    assert guard.tries.num_retries == 0


def test_an_episode_without_end_is_cut_off():
    class Endless(CorridorEnv):
        def __init__(self):
            super().__init__(max_steps=10**9)

    guard = guarded(Endless(), max_episode_steps=3)
    visit = walk(guard, ["left", "nothing"])
    assert not visit.result.is_final
    (end,) = next_visits(guard, [(visit, "nothing")])
    assert end.result.truncated
    assert not end.has_failed
    assert end.result.info["stop_reason"] == "max_episode_steps"
    assert guard.counts == {"ended_episodes": 1, "stopped/max_episode_steps": 1}


def test_no_action_ends_the_episode_and_says_why():
    guard = guarded(CorridorEnv())
    root = first_visit(guard, guard.tasks()[0])
    overflow, void = NoAction("prompt_overflow", is_failure=False), NoAction("prompt() raised", is_failure=True)
    left, cut_off, failed = next_visits(guard, [(root, "left"), (root, overflow), (root, void)])
    assert not left.result.is_final
    assert (cut_off.has_failed, cut_off.result.info["stop_reason"]) == (False, "prompt_overflow")
    assert failed.result.failure == "prompt() raised"


UNSTABLE = [
    float("nan"),
    ("a", float("nan")),
    ["a"],
    ("a", ["b"]),
    object(),
    frozenset("ab"),
    (1, frozenset("ab")),
    {1: 2},
]
UNSTABLE_IDS = [type(key).__name__ + str(i) for i, key in enumerate(UNSTABLE)]  # equal in all test processes


@pytest.mark.parametrize("key", UNSTABLE, ids=UNSTABLE_IDS)
@pytest.mark.parametrize("which", ["state_key", "score_keys"])
def test_keys_that_differ_between_processes_are_refused_at_the_first_reset(key, which):
    class Unstable(CorridorEnv):
        def reset(self, task):
            changes = {"state_key": key, "score_keys": (1,)} if which == "state_key" else {"score_keys": (1, key)}
            return replace(super().reset(task), **changes)

    with pytest.raises(UnstableKeyError, match=r"is or holds .* A key consists of strings"):
        guarded(Unstable()).reset(CorridorEnv().tasks()[0])


@pytest.mark.parametrize("key", UNSTABLE, ids=UNSTABLE_IDS)
@pytest.mark.parametrize("which", ["state_key", "score_keys"])
def test_the_check_of_environments_refuses_them_too(key, which):
    class Unstable(CorridorEnv):
        def _begin(self, task):
            state, observation = super()._begin(task)
            value = key if which == "state_key" else (1, key)
            return state, replace(observation, **{which: value})

    with pytest.raises(EnvironmentContractError, match="Required: a key consists of strings"):
        check_environment(Unstable())


def test_keys_of_the_worlds_here_are_taken():
    class Keys(CorridorEnv):
        def reset(self, task):
            return replace(super().reset(task), score_keys=(1, 1.5, True, None, b"x", ("a", ("b", float("inf")))))

    guarded(Keys()).reset(CorridorEnv().tasks()[0])


@pytest.mark.parametrize("at_once", [False, True])
def test_a_key_that_changes_at_every_restore_is_reported_once(at_once, caplog):
    class Drifting(CorridorEnv):
        count = 0

        def restore(self, snapshot):
            Drifting.count += 1
            return replace(super().restore(snapshot), state_key=Drifting.count)

        def step_each(self, moves):
            return super().step_each(moves)

    if not at_once:
        del Drifting.step_each
    guard = guarded(Drifting())
    visits = [first_visit(guard, task) for task in guard.tasks()[:2]]
    for _ in range(5):
        visits = next_visits(guard, [(visit, "nothing") for visit in visits])
    assert caplog.text.count("restore() leads to the state key") == 1
    assert not any(visit.has_failed for visit in visits)


METHODS = {
    "walks": lambda env: ThreeSPO(env, env.tasks(), ThreeSPOOptions(), max_idle_rounds=3),
    "steps": lambda env: ThreeSPO(env, env.tasks(), ThreeSPOOptions(**PUBLISHED), max_idle_rounds=3),
    "grpo": lambda env: EpisodeGRPO(env, env.tasks(), group_size=4, max_idle_rounds=3),
    "gigpo": lambda env: GiGPO(env, env.tasks(), group_size=4, max_idle_rounds=3),
    "steppo": lambda env: StepPO(env, env.tasks(), values=GroupValues(0.9), group_size=4, max_idle_rounds=3),
    "steppo, history": lambda env: StepPO(
        env, env.tasks(), values=HistoryValues(StateHistory(), 0.9), group_size=4, max_idle_rounds=3
    ),
}


@pytest.mark.parametrize("method", METHODS)
def test_failed_episodes_leave_no_trace_in_rows_and_statistics(method):
    """One task in three fails at its first step, and one cannot begin: what is learned is of the others alone."""
    env = Breaking("step raises", times=None, in_task=1)
    env.refused = env.tasks()[2].id
    guard = guarded(env)
    algorithm, policy = METHODS[method](guard), RandomPolicy(0)
    bad = {env.tasks()[1].id, env.tasks()[2].id}
    for _ in range(12):
        rows = algorithm.collect(policy, 16)
        for row in rows:
            assert row.sample.task not in bad
            assert row.advantage == row.advantage
        metrics = algorithm.metrics()
        assert all(length > 0 for length in metrics.get("episode_length", []))
    assert guard.counts["failed_episodes"] > 2
    assert guard.counts["ended_episodes"] > 10


@pytest.mark.parametrize("method", METHODS)
def test_where_everything_fails_nothing_is_returned(method):
    for kind in ("step raises", "reset raises"):
        env = Breaking(kind, times=None)
        assert METHODS[method](guarded(env)).collect(RandomPolicy(0), 16) == []


def test_search_goes_on_from_a_checkpoint_whose_states_have_become_unreachable():
    env = Breaking("step raises", times=0)
    guard = guarded(env)
    first = METHODS["steps"](guard)
    for _ in range(3):
        first.collect(RandomPolicy(0), 16)
    state = first.state_dict()
    assert state["trees"]
    env.times = None
    second = METHODS["steps"](guard)
    second.load_state_dict(state, saved_by=0)
    env.times = 0
    second.collect(RandomPolicy(0), 16)


def test_an_evaluation_counts_failed_episodes_as_not_solved():
    env = Breaking("step raises", times=None, in_task=0)
    tasks = env.tasks()

    def go(prompts):
        return ["left" if "left door" in x[-1]["content"].splitlines()[-2] else "right" for x in prompts]

    evaluation = evaluate_policy(go, env, tasks)
    assert evaluation.num_failed == 1
    assert evaluation.success.num_episodes == len(tasks)
    assert evaluation.metrics()["failed_episodes"] == 1.0
    sound = evaluate_policy(go, CorridorEnv(), tasks)
    assert sound.num_failed == 0
    assert sound.panel == evaluation.panel


def test_a_guard_closes_its_environment_and_makes_another_if_it_can(caplog):
    env = Breaking("step raises", times=0)
    with guarded(env) as guard:
        walk(guard, ["left"])
    assert env.is_closed
    assert not walk(guard, ["left"]).has_failed
    made = []
    factory = guarded(lambda: made.append(Breaking("step raises", times=0)) or made[-1])
    factory.close()
    assert not walk(factory, ["left"]).has_failed
    assert len(made) == 2

    class Stubborn(CorridorEnv):
        def close(self):
            raise OSError("busy")

    guarded(Stubborn()).close()
    assert "close() of Stubborn raised OSError: busy" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"on_failure": "ignore"}, "failure_policy is 'ignore'; it must be 'drop' or 'raise'"),
        ({"max_failed_share": 1.5}, r"max_failed_share is 1\.5; it must be between 0 and 1"),
        ({"step_timeout": 0}, "step_timeout is 0; it must be above 0"),
        ({"max_episode_steps": 0}, "max_episode_steps is 0; it must be at least 1"),
    ],
)
def test_policies_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FailurePolicy(**changes)


def test_without_a_beginning_there_is_no_step():
    guard = guarded(CorridorEnv())
    for call in (lambda: guard.step("left"), guard.snapshot):
        with pytest.raises(RuntimeError, match="call reset"):
            call()
    with pytest.raises(EpisodeFailedError):
        guarded(Breaking("reset raises", times=None)).reset(guard.tasks()[0])
