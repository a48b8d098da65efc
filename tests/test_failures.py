"""Training in environments that fail, hang or never end."""

import importlib
import json
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from faults import Breaking, hang
from rank_training import UnevenEnv, on_ranks, settings
from search_options import STEPWISE
from training import SpokenCorridor, baseline_trainer, config_for, tokenizer_for, untrained
from trl_3spo import ThreeSPOTrainer, cli
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.baselines.trainers import EpisodeGRPOTrainer, GiGPOTrainer, StepPOTrainer
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.environments.failures import TooManyFailedEpisodesError, UnstableKeyError
from trl_3spo.evaluation.policies import load_tokenizer
from trl_3spo.reliability.failures import LOGGED, FailureShare
from trl_3spo.reliability.heartbeat import Heartbeat
from trl_3spo.training.agent_config import AgentConfig


class Spoken(Breaking):
    """A corridor with a fault in which every word is an action."""

    def parse_action(self, completion):
        return ("left", "right", "open")[sum(map(ord, completion)) % 3]


class Unaskable(SpokenCorridor):
    """Cannot write or read some of what is said in one of its tasks.

    Args:
        method: `prompt` or `parse_action`.
        answer: What it returns then; None raises.
    """

    def __init__(self, method, answer=None):
        super().__init__()
        self.method, self.answer, self.calls = method, answer, Counter()

    def prompt(self, task, observation, turns):
        if self.method == "prompt" and turns and task.id == self.tasks()[0].id:
            return self.fail()
        return super().prompt(task, observation, turns)

    def parse_action(self, completion):
        if self.method == "parse_action" and sum(map(ord, completion)) % 10 == 0:
            return self.fail()
        return super().parse_action(completion)

    def fail(self):
        self.calls["failed"] += 1
        if self.answer is None:
            raise KeyError("no such thing")
        return self.answer


TRAINERS = {
    "walks": (ThreeSPOTrainer, {}),
    "steps": (ThreeSPOTrainer, STEPWISE),
    "grpo": (EpisodeGRPOTrainer, {}),
    "gigpo": (GiGPOTrainer, {}),
    "steppo": (StepPOTrainer, {}),
    "critic": (StepPOTrainer, {"value_source": "critic"}),
}


def trainer_of(method, folder, env, **changes):
    trainer_class, options = TRAINERS[method]
    return baseline_trainer(trainer_class, folder, env=env, **{"max_steps": 3} | options | changes)


def logged(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def weights(trainer):
    return torch.cat([x.detach().flatten() for x in trainer.model.parameters()])


@pytest.mark.parametrize("method", TRAINERS)
def test_training_goes_on_without_the_episodes_that_fail(method, tmp_path):
    env = Spoken("step raises", times=6)
    trainer = trainer_of(method, tmp_path, env, max_failed_share=1.0)
    trainer.train()
    assert trainer.state.global_step == 3
    # Every call is tried twice. Where moves are taken at once, the first of the six faults is theirs.
    assert sum(logged(trainer, "failed_episodes")) == (3 if method == "walks" else 2)
    assert torch.isfinite(weights(trainer)).all()
    trainer.evaluate()
    assert trainer.evaluation.num_failed == 0


@pytest.mark.parametrize(
    ("method", "answer"), [("prompt", None), ("prompt", [{"role": "user"}]), ("parse_action", None)]
)
def test_prompts_and_answers_that_cannot_be_written_or_read_cost_an_episode(method, answer, tmp_path):
    env = Unaskable(method, answer)
    trainer = trainer_of("walks", tmp_path, env, max_failed_share=1.0)
    trainer.train()
    assert trainer.state.global_step == 3
    assert env.calls["failed"] > 0
    assert sum(logged(trainer, "failed_episodes")) > 0
    trainer.evaluate()


def test_a_step_that_hangs_costs_an_episode(tmp_path):
    env = Spoken("step hangs", times=4, at="open")
    trainer = trainer_of("walks", tmp_path, env, step_timeout=0.2)
    trainer.train()
    assert trainer.state.global_step == 3
    assert sum(logged(trainer, "failed_episodes")) + sum(logged(trainer, "retried_calls")) > 0
    assert env.times == 0


def test_a_world_without_end_is_cut_off(tmp_path):
    class Endless(SpokenCorridor):
        def __init__(self):
            super().__init__(max_steps=10**9)

    trainer = trainer_of("walks", tmp_path, Endless(), max_episode_steps=4)
    trainer.train()
    assert sum(logged(trainer, "overlong_episodes")) > 0
    assert max(logged(trainer, "episode_length")) <= 4
    trainer.evaluate()
    assert trainer.evaluation.mean_steps <= 4


@pytest.mark.parametrize("method", TRAINERS)
@pytest.mark.parametrize("kind", ["step raises", "reset raises"])
def test_where_too_much_fails_training_saves_and_ends(method, kind, tmp_path):
    env = Spoken(kind, times=0)
    trainer = trainer_of(method, tmp_path, env, max_steps=50)
    collect = trainer._collect

    def collect_and_break(capacity):
        if trainer.state.global_step == 2:
            env.times = None
        return collect(capacity)

    trainer._collect = collect_and_break
    with pytest.raises(TooManyFailedEpisodesError, match=r"episodes were dropped .*max_failed_share is 0\.5"):
        trainer.train()
    assert 2 < trainer.state.global_step < 50
    assert (tmp_path / f"checkpoint-{trainer.state.global_step}" / "algorithm_0.npz").exists()
    assert env.is_closed


def test_what_was_saved_then_can_be_resumed(tmp_path):
    env = Spoken("step raises", times=None)
    trainer = trainer_of("walks", tmp_path, env, max_steps=4)
    before = weights(trainer)
    with pytest.raises(TooManyFailedEpisodesError):
        trainer.train()
    assert torch.equal(weights(trainer), before)
    second = trainer_of("walks", tmp_path, Spoken("step raises", times=0), max_steps=4)
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert second.state.global_step == 4


def test_failing_fast_stays_available(tmp_path):
    trainer = trainer_of("walks", tmp_path, Spoken("step raises", times=1), failure_policy="raise")
    with pytest.raises(OSError, match="the floor gave way"):
        trainer.train()


@pytest.mark.parametrize("fails", [False, True])
def test_the_environment_is_closed_at_the_end_and_serves_again(fails, tmp_path):
    env = Spoken("step raises", times=None if fails else 0)
    trainer = trainer_of("walks", tmp_path, env, failure_policy="raise", max_steps=1)
    if fails:
        with pytest.raises(OSError, match="gave way"):
            trainer.train()
    else:
        trainer.train()
    assert env.is_closed
    env.times = 0
    assert 0 <= trainer.evaluate()["eval_success_rate"] <= 1


def test_a_callable_makes_a_fresh_environment(tmp_path):
    made = []

    def make():
        made.append(Spoken("step raises", times=2 if len(made) == 1 else 0))
        return made[-1]

    tokenizer = tokenizer_for(SpokenCorridor())
    make()
    trainer = ThreeSPOTrainer(untrained(tokenizer), make, config_for(tmp_path, max_steps=2), processing_class=tokenizer)
    trainer.train()
    assert len(made) == 3
    assert made[1].is_closed
    assert made[2].is_closed
    assert sum(logged(trainer, "failed_episodes")) == 0


@pytest.mark.parametrize("key", [float("nan"), frozenset("ab")])
def test_unstable_keys_end_training_before_the_first_update(key, tmp_path):
    class Unstable(SpokenCorridor):
        def reset(self, task):
            return replace(super().reset(task), score_keys=(key,))

    env = Unstable()
    trainer = trainer_of("walks", tmp_path, env)
    with pytest.raises(UnstableKeyError, match="the history is saved under it"):
        trainer.train()
    assert trainer.state.global_step == 0


class Chatty(SpokenCorridor):
    """Shows everything that was said so far, and after some steps more than any model can read."""

    def __init__(self, words_per_turn=40, words_at_once=0):
        super().__init__(max_steps=6)
        self.words = words_per_turn
        self.at_once = words_at_once

    def prompt(self, task, observation, turns):
        said = " ".join(["left"] * self.words * len(turns))
        rest = " ".join(["open"] * (self.at_once if turns or observation.score_keys[0][-1] > 2 else 0))
        return [{"role": "user", "content": f"{observation.text} {said} {rest}"}]


def small_trainer(folder, env, method="walks", **changes):
    trainer = trainer_of(method, folder, env, per_device_train_batch_size=64, **changes)
    trainer.model.config.max_position_embeddings = 100
    return trainer


@pytest.mark.parametrize("method", TRAINERS)
def test_where_a_prompt_grows_too_long_its_oldest_turns_are_left_out(method, tmp_path, caplog):
    trainer = small_trainer(tmp_path, Chatty(), method)
    sizes = []
    generate = trainer._generate_single_turn
    trainer._generate_single_turn = lambda ids, *args: sizes.extend(map(len, ids)) or generate(ids, *args)
    trainer.train()
    assert trainer.state.global_step == 3
    assert max(sizes) < 100
    assert sum(logged(trainer, "shortened_prompts")) > 0
    assert logged(trainer, "overflowing_prompts") == []
    assert "Its oldest turns are left out" in caplog.text
    trainer.evaluate()


@pytest.mark.parametrize("method", TRAINERS)
def test_where_that_does_not_help_the_episode_is_cut_off(method, tmp_path, caplog):
    trainer = small_trainer(tmp_path, Chatty(words_per_turn=0, words_at_once=200), method)
    trainer.train()
    assert trainer.state.global_step == 3
    assert sum(logged(trainer, "overflowing_prompts")) > 0
    assert sum(logged(trainer, "failed_episodes")) == 0
    assert "Its episode ends here" in caplog.text
    assert torch.isfinite(weights(trainer)).all()
    trainer.evaluate()


def test_where_not_one_prompt_fits_training_says_so(tmp_path):
    trainer = small_trainer(tmp_path, Chatty())
    trainer.model.config.max_position_embeddings = 10
    with pytest.raises(ValueError, match=r"the model has positions for 10\. Shorten the environment's prompts"):
        trainer.train()


def test_the_share_is_that_of_the_latest_episodes():
    share = FailureShare(0.5)
    share.add(5, 0)
    assert not share.is_exceeded  # five of the first ten may fail
    share.add(1, 0)
    assert share.is_exceeded
    share.add(0, 10_000)
    assert not share.is_exceeded
    for _ in range(60):
        share.add(2, 0)
    assert share.is_exceeded
    assert share.num_episodes < 200
    strict = FailureShare(0.0)
    strict.add(0, 50)
    assert not strict.is_exceeded
    strict.add(1, 50)
    assert strict.is_exceeded
    tolerant = FailureShare(1.0)
    tolerant.add(1000, 0)
    assert not tolerant.is_exceeded


def test_silence_is_broken_and_the_thread_ends(caplog):
    said = threading.Event()

    def describe():
        said.set()
        return "the environment's step('open')."

    with Heartbeat(describe, seconds=0.05) as heartbeat:
        assert said.wait(60)
        heartbeat.on_log()
    assert "Nothing was logged for 0 seconds. Waiting for the environment's step('open')." in caplog.text
    assert not any("heartbeat" in thread.name for thread in threading.enumerate())


def test_what_is_waited_for_is_named(tmp_path):
    env = SpokenCorridor()
    trainer = trainer_of("walks", tmp_path, env)
    heard = []
    step, generate = env.step, trainer._generate_single_turn
    env.step = lambda action: heard.append(trainer.sampler.describe()) or step(action)
    trainer._generate_single_turn = lambda *args: heard.append(trainer.sampler.describe()) or generate(*args)
    trainer.train()
    assert "the model's answers." in heard
    assert any(x.startswith("the environment's step('") and "after the actions [" in x for x in heard)
    assert trainer.sampler.describe() == "the search or the update."
    assert not any("heartbeat" in thread.name for thread in threading.enumerate())


def break_one_rank(rank, folder, base, kind, share):
    """Train where rank 1 fails now and then, or for ever."""
    env = UnevenEnv(length=2)
    step, calls = env.step, Counter()

    def failing_step(action):
        calls["steps"] += 1
        if rank == 1 and (calls["steps"] > 60 if kind == "for ever" else calls["steps"] % 20 == 0):
            hang() if kind == "hangs" else env.restore(None)
        return step(action)

    env.step = failing_step
    changes = settings(max_steps=20 if kind == "for ever" else 4, max_failed_share=share, step_timeout=0.2)
    tokenizer = load_tokenizer(str(base))
    trainer = ThreeSPOTrainer(str(base), env, config_for(folder, **changes), processing_class=tokenizer)
    try:
        trainer.train()
        error = None
    except Exception as caught:
        error = type(caught).__name__
    trainer.evaluate()
    history = trainer.algorithm.history.state_dict()
    return {"error": error, "step": trainer.state.global_step, "history": history, "weights": weights(trainer)}


@pytest.mark.parametrize("kind", ["now and then", "hangs", "for ever"])
def test_where_one_rank_fails_the_others_go_on_or_end_with_it(kind, tmp_path):
    tokenizer = tokenizer_for(UnevenEnv())
    untrained(tokenizer).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    share = 0.3 if kind == "for ever" else 1.0
    first, second = on_ranks(2, break_one_rank, tmp_path / "run", tmp_path / "base", kind, share)
    expected = "TooManyFailedEpisodesError" if kind == "for ever" else None
    assert (first["error"], second["error"]) == (expected, expected)
    assert first["step"] == second["step"]
    assert first["history"] == second["history"]
    assert torch.equal(first["weights"], second["weights"])
    if kind == "for ever":
        assert first["step"] < 20
        assert (tmp_path / "run" / f"checkpoint-{first['step']}" / "algorithm_1.npz").exists()
    else:
        assert first["step"] == 4


def test_the_command_line_closes_the_environment_of_an_evaluation_that_fails(monkeypatch):
    env = Breaking("step raises", times=0)
    monkeypatch.setattr("trl_3spo.cli.evaluate.environment_of", lambda _: env)
    monkeypatch.setattr("trl_3spo.evaluation.policies.evaluate_checkpoint", lambda *_, **__: env.restore(None).no_text)
    with pytest.raises(AttributeError):
        cli.main(["evaluate", "--model", "runs/none"])
    assert env.is_closed


def test_metrics_and_options_are_documented():
    docs = Path(__file__).parents[1] / "docs"
    metrics, page = ((docs / name).read_text(encoding="utf-8") for name in ("metrics.md", "reliability.md"))
    for name in (*LOGGED.values(), "shortened_prompts", "eval_failed_episodes"):
        assert f"`{name}`" in metrics
    for option in ("max_failed_share", "step_timeout", "max_episode_steps"):
        assert f"| `{option}` | {getattr(AgentConfig, option):g} |" in page
    assert AgentConfig.failure_policy == "drop"


def test_the_table_of_the_soak_is_that_of_its_file(monkeypatch):
    root = Path(__file__).parents[1]
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    soak = importlib.import_module("soak")
    result = json.loads((root / "benchmarks" / "results" / "soak.json").read_text(encoding="utf-8"))
    assert soak.table(result) in (root / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert result["history_equal"]
    assert set(result["left_over"].values()) == {0}


def test_a_short_soak_ends_with_the_history_of_the_sound_episodes(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    soak = importlib.import_module("soak")
    found = soak.soak(CorridorEnv, ThreeSPOOptions(), 100, steps=2)
    assert found["history_equal"]
    assert found["exceptions"] > found["dropped"] > 0
