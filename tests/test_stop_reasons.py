"""Why episodes end, worked by hand in worlds that end in every way."""

from typing import get_args

import pytest

from byte_tokenizer import byte_tokenizer
from trl_3spo.algorithm.records import Episode, Sample, StopReason, first_visit, next_visits
from trl_3spo.environments.answers import Malformed
from trl_3spo.environments.base import Environment, Observation, StepResult, Task
from trl_3spo.environments.failures import PROMPT_OVERFLOW, FailurePolicy, NoAction
from trl_3spo.environments.guarded import GuardedEnvironment
from trl_3spo.evaluation.asker import Asked, Asker
from trl_3spo.evaluation.chat import Chat


class OneAnswer(Environment):
    """Ends with the first answer, except for `wait`; `late` says that its own time is over."""

    def tasks(self, split=None):
        return [Task("only")]

    def reset(self, task):
        return self.restore("begun")

    def restore(self, snapshot):
        return Observation(snapshot, snapshot)

    def snapshot(self):
        return "begun"

    def step(self, action):
        shown = Observation("there", action)
        if action == "raise":
            raise RuntimeError("out of order")
        if action == "wait":
            return StepResult.going_on(shown)
        return StepResult.cut_off(shown) if action == "late" else StepResult.ended(shown, success=action == "right")


@pytest.mark.parametrize(
    ("action", "is_cut_off", "reason"),
    [
        ("right", False, "success"),
        ("right", True, "success"),
        ("wrong", False, "failure"),
        ("wrong", True, "failure"),  # it still names an action
        ("late", False, "max_steps"),
        ("wait", False, "max_steps"),  # one step is all that the guard allows
        (Malformed(), False, "malformed"),
        (Malformed(), True, "cut_off"),
        (NoAction(PROMPT_OVERFLOW, is_failure=False), False, "prompt_overflow"),
        (NoAction("prompt() raised", is_failure=True), False, "dropped"),
        ("raise", False, "dropped"),
    ],
)
def test_why_an_episode_ended(action, is_cut_off, reason):
    env = GuardedEnvironment(OneAnswer(), FailurePolicy(max_episode_steps=1))
    root = first_visit(env, Task("only"))
    (end,) = next_visits(env, [(root, action)], [Sample([], [], [1], action, is_cut_off=is_cut_off)])
    assert Episode(end).stop_reason == reason


def test_these_are_all_the_reasons():
    table = next(x for x in test_why_an_episode_ended.pytestmark if x.name == "parametrize").args[1]
    assert {reason for _, _, reason in table} == set(get_args(StopReason))


def test_a_task_that_cannot_begin_was_dropped():
    class Broken(OneAnswer):
        def reset(self, task):
            raise RuntimeError("out of order")

    assert Episode(first_visit(GuardedEnvironment(Broken()), Task("only"))).stop_reason == "dropped"


@pytest.mark.parametrize(("end", "is_cut_off"), [("<|im_end|>", False), ("<|endoftext|>", False), ("", True)])
def test_an_answer_that_does_not_end_by_itself_was_cut_off(end, is_cut_off):
    tokenizer = byte_tokenizer()
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    asker = Asker(OneAnswer(), Chat(tokenizer, end_tokens=ends), room=lambda: 0)
    asked = Asked([{"role": "user", "content": "?"}], [1], Task("only"), ())
    sample = asker.read(asked, tokenizer.encode(f"right{end}"))
    assert (sample.action, sample.is_cut_off) == ("right", is_cut_off)
