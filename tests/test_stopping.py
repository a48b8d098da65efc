"""Training that ends early: by SIGTERM, without signal, or by numbers that are not finite; what is saved is sound."""

import json
import os
import signal
import time
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

from rank_training import UnevenEnv, on_ranks
from resume_training import differences, outcome, trainer_of
from training import SpokenCorridor
from trl_3spo import cli
from trl_3spo.reliability import step_guard
from trl_3spo.reliability.checkpoints import checkpoints_in
from trl_3spo.reliability.run import NO_SIGNAL, SIGTERM
from trl_3spo.reliability.step_guard import NonFiniteError

SAVING = {"save_strategy": "steps", "save_steps": 1}


def names(folder):
    return [path.name for path in checkpoints_in(folder)]


# -- SIGTERM -----------------------------------------------------------------------------------------------------------


def terminated_at(trainer, moment, step):
    """Let a trainer get SIGTERM, whose grace period is over at once, in a method of its own."""
    manager, original = trainer.run._on_sigterm.jit_manager, getattr(trainer, moment)
    manager.kill_wait = 0.0

    def told_to_end(*args, **kwargs):
        if trainer.state.global_step == step and not manager.is_checkpoint_requested:
            os.kill(os.getpid(), signal.SIGTERM)
            while not manager.is_checkpoint_requested:
                time.sleep(0.001)
        return original(*args, **kwargs)

    setattr(trainer, moment, told_to_end)
    return trainer


@pytest.mark.parametrize("moment", ["_collect", "_compute_loss", "create_optimizer", "_clip_grad_norm"])
@pytest.mark.parametrize("method", ["3spo", "steppo, history"])
def test_whenever_it_comes_what_is_saved_is_of_one_step(tmp_path, moment, method):
    handler = signal.getsignal(signal.SIGTERM)
    whole = trainer_of(method, tmp_path / "whole", max_steps=4)
    whole.train()
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 100, "enable_jit_checkpoint": True}
    step = 0 if moment == "create_optimizer" else 1
    ended = terminated_at(trainer_of(method, tmp_path / "ended", **settings), moment, step)
    ended.train()
    assert ended.run.stop_reason == SIGTERM
    assert names(tmp_path / "ended") == [f"checkpoint-{step + 1}"]
    assert signal.getsignal(signal.SIGTERM) == handler
    rest = trainer_of(method, tmp_path / "ended", max_steps=4)
    rest.train(resume_from_checkpoint=True)
    expected, found = outcome(whole), outcome(rest)
    found["logs"] = [entry for entry in found["logs"] if "stop_reason" not in entry]
    assert differences(expected, found) == []


def terminate_one(rank, folder):
    """Only rank 1 gets the signal."""
    settings = {"max_steps": 4, "enable_jit_checkpoint": True}
    trainer = trainer_of("3spo", folder, env=UnevenEnv(), **settings)
    if rank == 1:
        terminated_at(trainer, "_collect", 1)
    trainer.train()
    return trainer.run.stop_reason, trainer.state.global_step, names(folder)


def test_where_one_rank_is_told_to_end_all_do(tmp_path):
    assert on_ranks(2, terminate_one, tmp_path) == [(SIGTERM, 2, ["checkpoint-2"])] * 2


# -- nothing to learn from ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["3spo", "3spo, published", "grpo"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_without_signal_the_state_is_saved_and_the_reason_told(tmp_path, method, accumulation, caplog):
    settings = {"gradient_accumulation_steps": accumulation, "per_device_train_batch_size": 8, "max_steps": 3}
    settings |= {"novelty_weight": 0.0} if "3spo" in method else {}
    saving = {"save_strategy": "steps", "save_steps": 100}
    trainer = trainer_of(method, tmp_path, env=SpokenCorridor(), max_idle_rounds=3, **saving, **settings)
    trainer.env.parse_action = lambda completion: "nothing"
    trainer.train()
    assert trainer.run.stop_reason == NO_SIGNAL
    rounds = [record.getMessage() for record in caplog.records if "without anything to learn" in record.message]
    assert rounds == [f"Round {i} of at most 3 without anything to learn from." for i in (1, 2, 3)]
    (checkpoint,) = checkpoints_in(tmp_path)
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    assert {"stop_reason": NO_SIGNAL, "step": 0} in state["log_history"]
    rest = trainer_of(method, tmp_path, env=SpokenCorridor(), **settings)
    rest.train(resume_from_checkpoint=True)
    assert (rest.run.stop_reason, rest.state.global_step) == (None, 3)


class Unsolvable(SpokenCorridor):
    """No answer is right."""

    def parse_action(self, completion):
        return "nothing"


def test_the_command_tells_it_by_its_exit_code(tmp_path, capsys):
    options = ["--tiny", "--output_dir", str(tmp_path), "--max_idle_rounds", "2"]
    world = ["--environment", f"{__name__}:Unsolvable"]
    with pytest.raises(SystemExit) as end:
        cli.main(["train", *options, *world])
    assert end.value.code == 3
    assert "eval_success_rate" in capsys.readouterr().out


def test_the_command_goes_on_where_it_was(tmp_path, caplog):
    command = ["train", "--tiny", "--output_dir", str(tmp_path), "--save_strategy", "steps", "--save_steps", "1"]
    world = ["--environment", "trl_3spo.environments.corridor:CorridorEnv"]
    cli.main([*command, *world, "--auto_resume", "--max_steps", "1"])
    cli.main([*command, *world, "--auto_resume", "--max_steps", "2"])
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-2"]
    cli.main([*command, *world, "--resume_from_checkpoint", "latest", "--max_steps", "3"])
    cli.main([*command, *world, "--resume_from_checkpoint", "true", "--max_steps", "4"])
    cli.main([*command, *world, "--resume_from_checkpoint", str(tmp_path / "checkpoint-4"), "--max_steps", "5"])
    assert names(tmp_path) == [f"checkpoint-{i}" for i in range(1, 6)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--auto_resume", "--resume_from_checkpoint", "true"], "auto_resume is on and resume_from_checkpoint is"),
        (["--resume_from_checkpoint", "latest"], "There is no whole checkpoint in"),
    ],
)
def test_mistakes_of_resuming_are_told_in_a_line(tmp_path, given, message, capsys):
    world = ["--environment", "trl_3spo.environments.corridor:CorridorEnv"]
    with pytest.raises(SystemExit, match="1"):
        cli.main(["train", "--tiny", "--output_dir", str(tmp_path), *world, *given])
    assert message in capsys.readouterr().err


# -- numbers that are not finite ---------------------------------------------------------------------------------------


def spoiled(trainer, what, number, *steps):
    """Spoil the loss, a gradient or a weight in these steps."""
    loss_of = trainer._compute_loss
    parameter = next(trainer.model.parameters())

    def spoil(model, inputs):
        loss = loss_of(model, inputs)
        if trainer.state.global_step + 1 not in steps:
            return loss
        if what == "loss":
            trainer.step_guard._losses[-1] = loss.detach() * number
            return loss * number
        return loss + (parameter * number if what == "gradient" else parameter * 0.0).sum()

    trainer._compute_loss = spoil
    return trainer


@pytest.mark.parametrize(
    ("what", "number"), [("gradient", float("inf")), ("loss", float("nan")), ("loss", float("inf"))]
)
def test_training_stops_before_the_step(tmp_path, what, number):
    trainer = spoiled(trainer_of("grpo", tmp_path, max_steps=5, save_total_limit=1, **SAVING), what, number, 3)
    with pytest.raises(
        NonFiniteError, match=r"Step 3 was not taken: the .* is not finite\. .*good .* is .*checkpoint-2"
    ):
        trainer.train()
    assert names(tmp_path) == ["checkpoint-2"]
    assert all(p.isfinite().all() for p in trainer.model.parameters())
    batch = load_file(tmp_path / "nonfinite_step_3" / "batch_0.safetensors")
    assert {"0/prompt_ids", "0/completion_ids", "0/advantages"} <= batch.keys()
    rows = (tmp_path / "nonfinite_step_3" / "rows_0.jsonl").read_text().splitlines()
    assert {"prompt", "action", "reward", "advantage"} == json.loads(rows[0]).keys()
    rest = trainer_of("grpo", tmp_path, max_steps=5, **SAVING)
    rest.train(resume_from_checkpoint=True)
    assert rest.state.global_step == 5


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_a_gradient_alone_is_enough(tmp_path, number):
    trainer = trainer_of("grpo", tmp_path, max_steps=2)
    parameter = next(trainer.model.parameters())
    parameter.register_hook(lambda gradient: gradient * number)
    with pytest.raises(NonFiniteError, match=r"the gradient of model\.embed_tokens\.weight"):
        trainer.train()


def test_steps_are_left_out_and_counted(tmp_path):
    settings = {"max_steps": 4, "on_nonfinite": "skip", "weight_decay": 0.1}
    trainer = spoiled(trainer_of("grpo", tmp_path, **settings), "loss", float("nan"), 2, 3)
    weights = []
    step_end = trainer.run.on_step_end
    trainer.run.on_step_end = lambda *args, **kwargs: (
        weights.append([p.detach().clone() for p in trainer.model.parameters()]),
        step_end(*args, **kwargs),
    )[1]
    trainer.train()
    same = [all(map(torch.equal, one, other)) for one, other in pairwise(weights)]
    assert same == [True, True, False]
    logged = [entry.get("skipped_steps") for entry in trainer.state.log_history[:4]]
    assert logged == [None, 1.0, 2.0, None]


def test_not_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(step_guard, "MAX_SKIPPED_IN_A_ROW", 2)
    trainer = trainer_of("grpo", tmp_path, max_steps=9, on_nonfinite="skip")
    with pytest.raises(NonFiniteError, match="Step 3 was not taken"):
        spoiled(trainer, "loss", float("nan"), *range(1, 9)).train()
    assert trainer.step_guard.num_skipped == 2


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    trainer = trainer_of("grpo", tmp_path, max_steps=3, **SAVING)
    step_end = trainer.run.on_step_end

    def spoil(args, state, control, **kwargs):
        if state.global_step == 2:
            next(trainer.model.parameters()).data[0, 0] = float("nan")
        return step_end(args, state, control, **kwargs)

    trainer.run.on_step_end = spoil
    with pytest.raises(NonFiniteError, match=r"Weights are not finite after step 2: .* good checkpoint is .*point-1"):
        trainer.train()
    assert names(tmp_path) == ["checkpoint-1"]


def spoil_on_one_rank(rank, folder):
    trainer = trainer_of("3spo", folder, env=UnevenEnv(), max_steps=4, **SAVING)
    spoiled(trainer, "loss", float("nan"), *([3] if rank == 1 else []))
    try:
        trainer.train()
    except NonFiniteError as error:
        return str(error).partition(":")[0], names(folder)


def test_all_ranks_stop_by_what_one_has_found(tmp_path):
    expected = ("Step 3 was not taken", ["checkpoint-1", "checkpoint-2"])
    assert on_ranks(2, spoil_on_one_rank, tmp_path) == [expected] * 2
    assert len(list((tmp_path / "nonfinite_step_3").glob("batch_*"))) == 2


def test_only_stop_and_skip_are_known(tmp_path):
    with pytest.raises(ValueError, match="on_nonfinite is 'ignore'; it must be 'stop' or 'skip'"):
        trainer_of("grpo", tmp_path, on_nonfinite="ignore")
