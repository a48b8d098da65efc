import itertools
import random
import warnings
from random import Random

import pytest

from trl_3spo.environments.base import Environment, Observation, StepResult, Task
from trl_3spo.environments.corridor import CorridorEnv, CorridorState
from trl_3spo.testing import JUNK_ACTIONS, ContractReport, EnvironmentContractError, check_environment
from trl_3spo.testing.remarks import NO_REWARD, NO_TIME, ONLY_EXACT, remarks_on_ends
from trl_3spo.testing.walk import walk


class Wrapped(CorridorEnv):
    """A corridor whose results a subclass spoils in one way: `show` what is observed, `result` what a step gives."""

    def _observe(self, state, num_steps):
        return self.show(super()._observe(state, num_steps))

    def step(self, action):
        return self.result(super().step(action))

    def show(self, observation):
        return observation

    def result(self, result):
        return result


def changed(record, **values):
    """Return a copy of an observation or a result with other values."""
    names = record.__dataclass_fields__
    return type(record)(**{name: values.get(name, getattr(record, name)) for name in names})


class NoTasks(CorridorEnv):
    def tasks(self, split=None):
        super().tasks(split)
        return []


class RepeatedTasks(CorridorEnv):
    def tasks(self, split=None):
        return [*super().tasks(split), super().tasks()[0]]


class ShuffledTasks(CorridorEnv):
    def tasks(self, split=None):
        return random.sample(super().tasks(split), len(super().tasks()))


class AnySplit(CorridorEnv):
    def tasks(self, split=None):
        return super().tasks()


class WrongSplitError(CorridorEnv):
    def tasks(self, split=None):
        return {None: super().tasks()}[split]


class AnyTask(CorridorEnv):
    def reset(self, task):
        return super().reset(task if task in self._starts else self.tasks()[0])


class RandomStart(CorridorEnv):
    def reset(self, task):
        super().reset(task)
        return super().reset(random.choice([other for other in self.tasks() if other != task]))


class Unseeded(Wrapped):
    def result(self, result):
        return changed(result, reward=random.random())


class SharedSnapshot(CorridorEnv):
    """Hands out the one list it goes on changing."""

    def snapshot(self):
        self._shared = getattr(self, "_shared", [None])
        self._shared[0] = super().snapshot()
        return self._shared

    def restore(self, snapshot):
        return super().restore(snapshot[0] if isinstance(snapshot, list) else snapshot)


class ForgetfulSnapshot(CorridorEnv):
    """Keeps the place but not how many steps are left."""

    def snapshot(self):
        return super().snapshot()._replace(num_steps=0)


class StaleText(Wrapped):
    clock = itertools.count()

    def restore(self, snapshot):
        return changed(super().restore(snapshot), text=f"It is {next(self.clock)} o'clock.")

    def reset(self, task):
        return changed(super().reset(task), text="Good morning.")


class CountingKey(Wrapped):
    def show(self, observation):
        return changed(observation, state_key=(observation.state_key, observation.score_keys[0][-1]))


class CoarseKey(Wrapped):
    def show(self, observation):
        return changed(observation, state_key="somewhere")


class CoarseKeyOfOneMove(Wrapped):
    def show(self, observation):
        key = "inside" if observation.state_key[1] in (3, 4, 5) else observation.state_key
        return changed(observation, state_key=key)


class ListKey(Wrapped):
    def show(self, observation):
        return changed(observation, state_key=list(observation.state_key))


class ObjectKey(Wrapped):
    def show(self, observation):
        return changed(observation, state_key=frozenset(observation.state_key))


class NanKey(Wrapped):
    def show(self, observation):
        return changed(observation, score_keys=(float("nan"),))


class ListOfScoreKeys(Wrapped):
    def show(self, observation):
        return changed(observation, score_keys=["a"])


class TextOfBytes(Wrapped):
    def show(self, observation):
        return changed(observation, text=observation.text.encode())


class ListOfActions(Wrapped):
    def show(self, observation):
        return changed(observation, admissible_actions=list(observation.admissible_actions))


class RepeatedAction(Wrapped):
    def show(self, observation):
        return changed(observation, admissible_actions=(*observation.admissible_actions, "right", "right"))


class StrictActions(CorridorEnv):
    def step(self, action):
        if action not in ("left", "right", "open"):
            raise KeyError(action)
        return super().step(action)


class LoosedByJunk(CorridorEnv):
    """Any long action pushes the agent on."""

    def step(self, action):
        return super().step("right" if len(action) > 4 else action)


class SpoiledByJunk(Wrapped):
    """Control characters get into what the world keeps apart from its state."""

    reward = 0.0

    def step(self, action):
        self.reward += not action.isprintable()
        return super().step(action)

    def result(self, result):
        return changed(result, reward=self.reward)


class GoesOn(CorridorEnv):
    def step(self, action):
        self._now = self._now._replace(is_final=False)
        return super().step(action)


class TupleResult(Wrapped):
    def result(self, result):
        return result.observation, result.reward, False, {}


class NanReward(Wrapped):
    def result(self, result):
        return changed(result, reward=float("nan"))


class NumericFlag(Wrapped):
    def result(self, result):
        return changed(result, truncated=0)


class EarlySuccess(Wrapped):
    def result(self, result):
        return changed(result, success=True, terminated=False)


class LazySteps(CorridorEnv):
    def step_each(self, moves):
        return super().step_each(moves[1:])


class SwappedSteps(CorridorEnv):
    def step_each(self, moves):
        return super().step_each(moves[::-1])


class KeptEnds(CorridorEnv):
    def step_each(self, moves):
        return [(result, snapshot or "end") for result, snapshot in super().step_each(moves)]


class StaleSnapshots(CorridorEnv):
    def step_each(self, moves):
        reached = super().step_each(moves)
        return [(new[0], new[1] and old[0]) for old, new in zip(moves, reached, strict=True)]


class CountingPrompt(CorridorEnv):
    calls = itertools.count()

    def prompt(self, task, observation, turns):
        return [{"role": "user", "content": str(next(self.calls))}]


class StringPrompt(CorridorEnv):
    def prompt(self, task, observation, turns):
        return observation.text


class PartialParser(CorridorEnv):
    def parse_action(self, completion):
        return completion.split("<action>")[1]


class ListParser(CorridorEnv):
    def parse_action(self, completion):
        return [completion]


SENTENCES = {
    NoTasks: "tasks() is empty. Required: the default split has a task.",
    RepeatedTasks: "occurs 2 times. Required: ids are unique.",
    ShuffledTasks: "Two calls of tasks() return different tasks.",
    AnySplit: "tasks() of an unknown split returned",
    WrongSplitError: "tasks() of an unknown split raised KeyError",
    AnyTask: "reset() to an unknown task returned",
    RandomStart: "A second reset() shows something else",
    Unseeded: "after restore() gives another reward",
    SharedSnapshot: "restore() gives another state_key",
    ForgetfulSnapshot: "restore() gives another score_keys",
    StaleText: "restore() gives another text",
    CountingKey: "which is not admissible: (('",
    CoarseKey: "other actions are admissible now",
    CoarseKeyOfOneMove: "has other consequences now",
    ListKey: "of type list",
    ObjectKey: "state_key is frozenset(",
    NanKey: "A score key is nan of type float",
    ListOfScoreKeys: "score_keys is ['a']",
    TextOfBytes: "an Observation with a text of type str",
    ListOfActions: "admissible_actions is a tuple of strings",
    RepeatedAction: "each action is listed once",
    StrictActions: "raised KeyError",
    LoosedByJunk: "The state key changes with",
    SpoiledByJunk: "after restore() gives another reward",
    GoesOn: "step() after the end of the episode returned",
    TupleResult: "step() returned tuple",
    NanReward: "The reward is nan",
    NumericFlag: "truncated is 0",
    EarlySuccess: "success but not terminated",
    LazySteps: "results for",
    SwappedSteps: "step_each() gives another",
    KeptEnds: "step_each() led to the snapshot 'end'",
    StaleSnapshots: "step_each() gives another",
    CountingPrompt: "Two calls of prompt() differ",
    StringPrompt: "a list of messages with role and content",
    PartialParser: "parse_action('') raised IndexError",
    ListParser: "one string for one text",
}


@pytest.mark.parametrize(("broken", "sentence"), SENTENCES.items(), ids=[broken.__name__ for broken in SENTENCES])
def test_each_break_is_named(broken, sentence):
    with pytest.raises(EnvironmentContractError) as caught:
        check_environment(broken(), tasks=8, steps=30)
    assert sentence in str(caught.value)
    assert "Required: " in str(caught.value)


def test_the_message_says_in_which_task_and_after_which_actions():
    class Fragile(CorridorEnv):
        def step(self, action):
            if self._now.num_steps == 2:
                raise OSError("out of order")
            return super().step(action)

    env = Fragile()
    first = env.tasks()[0].id
    with pytest.raises(
        EnvironmentContractError, match=rf"raised OSError: out of order\. In task '{first}' after '\w+', "
    ):
        check_environment(env)


class FreeText(CorridorEnv):
    """A corridor that does not list what can be done."""

    def _observe(self, state, num_steps):
        return changed(super()._observe(state, num_steps), admissible_actions=())


def test_without_admissible_actions_the_given_ones_are_tried():
    assert check_environment(FreeText(), tasks=8).num_successes == 0
    assert check_environment(FreeText(), tasks=8, actions=["left", "right", "open"]).num_successes > 0


def test_the_report_counts_and_two_checks_are_the_same():
    reports = [check_environment(CorridorEnv(max_steps=5), tasks=2, steps=5, seed=4) for _ in range(2)]
    assert reports[0] == reports[1]
    assert reports[0].num_tasks == 2
    assert 2 <= reports[0].num_steps <= 10
    assert reports[0].num_ends == 2


@pytest.mark.parametrize("wrong", [{"tasks": 0}, {"steps": 0}])
def test_an_empty_check_is_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        check_environment(CorridorEnv(), **wrong)


def test_junk_is_what_policies_may_say():
    assert "" in JUNK_ACTIONS
    assert max(map(len, JUNK_ACTIONS)) >= 10_000
    assert any(not text.isprintable() for text in JUNK_ACTIONS)
    assert any(not text.isascii() for text in JUNK_ACTIONS)


def test_a_world_of_one_question_keeps_the_contract():
    class Question(CorridorEnv):
        def tasks(self, split=None):
            super().tasks(split)
            return [Task("sum", data="4")]

        def _begin(self, task):
            if task != Task("sum"):
                raise ValueError(task)
            return "asked", Observation("2 + 2 =", "asked")

        def _act(self, now, action):
            return "answered", StepResult.ended(Observation("2 + 2 =", "answered"), success=action == "4")

    assert check_environment(Question(), actions=["4"]) == ContractReport(1, 1, 1, 1, 0)


class LeftOutKeys(Wrapped):
    """Leaves score keys to the defaults, which hold the time and get coarser."""

    def show(self, observation):
        return changed(observation, score_keys=())


class TimelessKeys(Wrapped):
    def show(self, observation):
        return changed(observation, score_keys=(observation.score_keys[1],))


class TimelessExactKeys(Wrapped):
    def show(self, observation):
        return changed(observation, score_keys=(("state", observation.state_key),))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (CorridorEnv, ()),
        (LeftOutKeys, ()),
        (TimelessKeys, (NO_TIME,)),
        (TimelessExactKeys, (NO_TIME, ONLY_EXACT)),
    ],
)
def test_score_keys_to_learn_badly_with_are_reported(make, expected):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert check_environment(make()).remarks == expected
    assert [str(warning.message) for warning in caught] == [f"{make.__name__}: {remark}" for remark in expected]


def test_time_that_counts_in_spans_of_steps_is_time():
    class Spans(Wrapped):
        def show(self, observation):
            return changed(observation, score_keys=((*observation.score_keys[0][:2], self.time(observation)),))

        def time(self, observation):
            return self._span(observation.score_keys[0][2])

    assert check_environment(Spans(max_steps=80), steps=80).remarks == ()


def test_where_no_action_means_nothing_time_is_not_missed():
    class Restless(Wrapped):
        """Whatever is not an action ends the episode."""

        def _act(self, now, action):
            if action in ("left", "right", "open"):
                return super()._act(now, action)
            state = CorridorState(now.state.door, "nowhere")
            return state, StepResult.ended(self._observe(state, 0), success=False)

        def show(self, observation):
            return changed(observation, admissible_actions=(), score_keys=(observation.score_keys[1],))

    assert check_environment(Restless(), actions=["left", "right", "open"]).remarks == ()


class Walled(Wrapped):
    """Every state lists an action that has no effect there."""

    def show(self, observation):
        return changed(observation, admissible_actions=(*observation.admissible_actions, "dance"))


def test_an_admissible_action_may_have_no_effect():
    assert check_environment(Walled(), tasks=4).num_steps > 0


class Endless(Environment):
    """Goes on for ever and pays nothing."""

    def tasks(self, split=None):
        if split is not None:
            raise ValueError(split)
        return [Task("walk"), Task("run")]

    def reset(self, task):
        if task not in self.tasks():
            raise ValueError(task.id)
        return self.restore((task.id, 0))

    def restore(self, snapshot):
        self._now = snapshot
        return Observation("on", self._now, ("on",), ((self._now[0], self._now[1] % 5), (self._now[1] % 5,)))

    def snapshot(self):
        return self._now

    def step(self, action):
        name, place = self._now
        return StepResult.going_on(self.restore((name, place + (action == "on"))))


class Barren(Endless):
    """Ends at once, and pays nothing."""

    def step(self, action):
        if self._now[1]:
            raise RuntimeError("over")
        return StepResult.ended(self.restore((self._now[0], 1)), success=False) if action == "on" else super().step("")


def test_walks_that_never_end_are_spoken_of():
    with pytest.warns(UserWarning, match=r"No walk ended within 30 steps.*LimitedEnvironment"):
        report = check_environment(Endless())
    assert report.num_ends == 0


def test_score_keys_that_no_two_tasks_share_are_spoken_of():
    class Apart(Endless):
        def restore(self, snapshot):
            observation = super().restore(snapshot)
            return changed(observation, score_keys=(observation.score_keys[0], (self._now[0], "any")))

    with pytest.warns(UserWarning, match="No score key of one task is met in another"):
        check_environment(Apart())


def test_walks_that_never_earn_anything_are_spoken_of():
    visits = [visit for _ in range(5) for task in Barren().tasks() for visit in walk(Barren(), task, 3, (), Random(0))]
    assert remarks_on_ends(visits, 3) == (NO_REWARD.format(10),)
    assert remarks_on_ends(visits[:4], 3) == ()
