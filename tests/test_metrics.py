"""docs/metrics.md lists what short runs of every method log, all of it and nothing else."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from test_vllm import Engine
from training import SpokenCorridor, baseline_trainer, config_for, corridor_trainer, tokenizer_for, untrained
from trl_3spo import EpisodeGRPOTrainer, GiGPOTrainer, StepPOTrainer, ThreeSPOTrainer
from trl_3spo.algorithm.options import PUBLISHED
from trl_3spo.environments.corridor import CorridorEnv

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
PATTERNS = {
    r"eval_success_rate/.+": "eval_success_rate/KIND",
    r"eval_episode_return/.+": "eval_episode_return/KIND",
    r"eval_stop_reason/[a-z_]+": "eval_stop_reason/REASON",
    r"eval_pass_at_\d+": "eval_pass_at_K",
    r"eval_avg_at_\d+": "eval_avg_at_N",
    r"success_rate/.+": "success_rate/ENVIRONMENT",
    r"reward_parts/.+": "reward_parts/NAME",
    r"text_rewards/.+": "text_rewards/NAME",
    r"group_size/\d+": "group_size/N",
    r"predictive_gain/\d+": "predictive_gain/K",
}
NO_METRICS = {"step", "stop_reason"}
"""What else an entry of the log history holds."""


def documented():
    """Return the names in the first column of the page's tables."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def general(name):
    """Return a logged name as the page has it."""
    return next((form for pattern, form in PATTERNS.items() if re.fullmatch(pattern, name)), name)


def brevity(completions, **_):
    return [float(len(x[0]["content"]) < 4) for x in completions]


class Troubled(SpokenCorridor):
    """A corridor that fails now and then, takes too long, asks too much, and says what its rewards are made of."""

    def __init__(self):
        super().__init__(max_steps=6)
        self.num_calls = 0

    def step(self, action):
        self.num_calls += 1
        if self.num_calls % 7 == 0:
            raise OSError("out of order")
        result = super().step(action)
        return replace(result, info={"reward_parts": {"door": result.reward}})

    def prompt(self, task, observation, turns):
        (message,) = super().prompt(task, observation, turns)
        words = 200 if task.kind == "right" and "place 1" in observation.text else 30 * (len(turns) > 1)
        return [message | {"content": message["content"] + " left" * words}]


def walks(folder):
    """3SPO's defaults with several environments, rewards of texts, a reference, an entropy bonus and an evaluation."""
    halls = {"long": SpokenCorridor(max_steps=6), "short": SpokenCorridor(max_steps=4)}
    tokenizer = tokenizer_for(halls["long"])
    untrained(tokenizer).save_pretrained(folder / "base")
    args = config_for(folder, beta=0.05, entropy_coef=0.01, num_generations_eval=2, reward_weights=[0.5])
    functions = {"reward_funcs": brevity, "processing_class": tokenizer}
    return ThreeSPOTrainer(str(folder / "base"), halls, args, **functions)


def troubled(folder):
    return corridor_trainer(folder, env=Troubled(), max_episode_steps=5, max_prompt_tokens=90, max_steps=2)


def step_by_step(folder):
    return corridor_trainer(folder, env=SpokenCorridor(), **PUBLISHED, loss_type="vespo", max_steps=2)


def with_engine(folder):
    env = CorridorEnv(length=4)
    untrained(tokenizer_for(env)).save_pretrained(folder / "model")
    return corridor_trainer(folder, env=env, model=str(folder / "model"), use_vllm=True, novelty_weight=0.3)


def not_finite(folder):
    trainer = corridor_trainer(folder, on_nonfinite="skip", novelty_weight=0.3, loss_type="cispo")
    loss = trainer._compute_loss
    trainer._compute_loss = lambda model, inputs: loss(model, inputs) * float("nan")
    return trainer


RUNS = {
    "3SPO": walks,
    "3SPO, step by step": step_by_step,
    "3SPO, vLLM": with_engine,
    "3SPO, nothing finite": not_finite,
    "3SPO, troubled": troubled,
    "GRPO": lambda folder: baseline_trainer(EpisodeGRPOTrainer, folder),
    "GiGPO": lambda folder: baseline_trainer(GiGPOTrainer, folder),
    "StepPO": lambda folder: baseline_trainer(StepPOTrainer, folder, value_source="critic"),
}


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Return by the name of a run what it has logged."""
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trl.trainer.grpo_trainer.VLLMGeneration", Engine)
        patch.setattr("trl_3spo.training.engine.is_vllm_available", lambda: True)
        for name, make in RUNS.items():
            trainer = make(tmp_path_factory.mktemp("run"))
            trainer.train()
            if name == "3SPO":
                trainer.evaluate()
            names[name] = {general(x) for entry in trainer.state.log_history for x in entry} - NO_METRICS
    return names


def test_what_is_logged_stands_in_the_page(logged):
    for run, names in logged.items():
        assert not names - documented(), f"{run} logs what docs/metrics.md does not list."


def test_what_stands_in_the_page_is_logged(logged):
    missing = documented() - set().union(*logged.values())
    assert not missing, "docs/metrics.md lists what no run here logs."
