"""What a terminal shows of a training: a line for every log, a table that lives, how far it is, and warnings."""

import io
import logging
import sys
from types import SimpleNamespace

import pytest
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from transformers.integrations import rewrite_logs

from training import SpokenCorridor, corridor_trainer
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.training.log_line import as_line, evaluation_lines, mean_group_size, tokens_per_second, training_fields
from trl_3spo.training.remedies import EPISODES_WITHOUT_SUCCESS, WINDOW, Remedies

LOGS = {
    "success_rate": 0.25,
    "episode_return": 1.5,
    "sampled_actions": 48.0,
    "sampled_tokens": 3000.0,
    "seconds/generation": 2.0,
    "unique_states": 12.0,
    "group_size/1": 0.5,
    "group_size/2": 0.25,
    "group_size/4": 0.25,
    "entropy": 0.5,
    "loss": 0.125,
}


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self):
        return True


# -- lines -------------------------------------------------------------------------------------------------------------


def test_a_line_worked():
    line = as_line(training_fields(LOGS, 3, 10, 3661.4))
    # 3000 tokens in 2 seconds; n = 1 · 0.5 + 2 · 0.25 + 4 · 0.25
    assert line == (
        "step 3/10  success 0.250  return 1.5  actions 48  tokens/s 1500  states 12  n 2.00  entropy 0.5  left 1:01:01"
    )


def test_what_was_not_logged_is_left_out():
    assert training_fields({"loss": 0.0, "success_rate": None}, 1, 2, None) == {"step": "1/2"}
    assert mean_group_size({}) is tokens_per_second({"sampled_tokens": 5.0, "seconds/generation": 0.0}) is None


def test_panels_have_lines_of_their_own():
    logs = {"epoch": 1.0, "eval_seen_success_rate/left": 1.0}
    for panel, rate in (("seen", 0.5), ("new\x1b[2J", 0.25)):
        logs |= {f"eval_{panel}_success_rate{end}": rate for end in ("", "_low", "_high")}
    first, second = evaluation_lines(logs, 7)
    assert first == "evaluation after step 7 of seen  success 0.500 (0.500 to 0.500)"
    assert second.startswith("evaluation after step 7 of new")
    assert "\x1b" not in second
    (line,) = evaluation_lines(
        {"eval_success_rate": 1.0, "eval_success_rate_low": 0.5, "eval_success_rate_high": 1.0}, 0
    )
    assert line == "evaluation after step 0  success 1.000 (0.500 to 1.000)"


# -- a training --------------------------------------------------------------------------------------------------------


def test_every_log_is_a_line(tmp_path, capsys):
    trainer = corridor_trainer(tmp_path, env=SpokenCorridor(), max_steps=2, eval_strategy="steps", eval_steps=1)
    for kind in (PrinterCallback, ProgressCallback):
        assert trainer.pop_callback(kind) is None
    trainer.train()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "step 1/2",
        "evaluation after step 1",
        "step 2/2",
        "evaluation after step 2",
        lines[-1],
    ]
    assert lines[-1].startswith("trained 2 steps in ")
    assert lines[0].endswith("left 0:00:00") or "  left " in lines[0]
    assert not any("{" in line for line in lines)


def test_a_terminal_has_a_table_that_lives(tmp_path, monkeypatch):
    pytest.importorskip("rich")
    terminal, shown = Terminal(), []
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    changes = {"disable_tqdm": False, "eval_strategy": "steps", "eval_steps": 1}
    trainer = corridor_trainer(tmp_path, env=SpokenCorridor(), max_steps=2, **changes)
    sampled = trainer.display.sampled
    trainer.display.sampled = lambda count: sampled(count) or shown.append(trainer.display.progress())
    trainer.train()
    monkeypatch.undo()
    text = terminal.getvalue()
    assert all(word in text for word in ("training", "success", "tokens/s", "entropy", "1/2", "2/2", "step 2 of 2"))
    assert "evaluation after step 1  success" in text
    assert "\x1b[" in text, "it is drawn over"
    assert shown[0].endswith(" actions were sampled for step 1.")
    numbers = [int(line.split()[0]) for line in shown if line.endswith("step 1.")]
    assert numbers == sorted(numbers)
    assert len(numbers) > 1, "a step tells how far it is"
    assert "actions were sampled for step 3" in trainer.display.progress(), "the table is gone, also after an error"


def test_an_evaluation_tells_how_far_it_is(tmp_path):
    trainer = corridor_trainer(tmp_path, env=CorridorEnv(length=4), per_device_eval_batch_size=1)
    seen, answer = [], trainer.sampler.answer
    trainer.sampler.answer = lambda visits: seen.append(trainer.display.progress()) or answer(visits)
    trainer.evaluate()
    size = len(trainer.eval_tasks)
    assert seen[0] == f"0 of {size} episodes of the evaluation have ended."
    assert seen[-1] == f"{size - 1} of {size} episodes of the evaluation have ended."
    assert "evaluation" not in trainer.display.progress()


def test_a_long_step_says_how_far_it_is(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("trl_3spo.reliability.heartbeat.SECONDS", 0.02)
    corridor_trainer(tmp_path, env=SpokenCorridor()).train()
    assert "actions were sampled for step 1." in caplog.text


class Collecting(TrainerCallback):
    def __init__(self):
        self.entries = []

    def on_log(self, args, state, control, logs, **kwargs):
        self.entries.append(dict(logs))


def reported(tmp_path, **changes):
    """Return a trainer that has trained and evaluated, and what every callback was given to log."""
    trainer = corridor_trainer(tmp_path, env=SpokenCorridor(), eval_strategy="steps", eval_steps=1, **changes)
    collecting = Collecting()
    trainer.add_callback(collecting)
    trainer.train()
    return trainer, collecting.entries


def test_all_reporters_are_given_numbers_under_the_same_names(tmp_path):
    """Transformers' reporters take what is int or float and warn of the rest; they rename by `rewrite_logs` alone."""
    trainer, entries = reported(tmp_path)
    assert all(isinstance(value, int | float) for entry in entries for value in entry.values())
    names = {name for entry in entries for name in rewrite_logs(entry)}
    assert {"train/success_rate", "train/group_size/1", "eval/success_rate", "eval/success_rate/left"} <= names
    assert {x for entry in entries for x in entry} == {x for e in trainer.state.log_history for x in e} - {"step"}


def test_tensorboard_has_them(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, entries = reported(tmp_path, report_to="tensorboard")
    (folder,) = {path.parent for path in tmp_path.rglob("events.out.tfevents*")}
    events = EventAccumulator(str(folder))
    events.Reload()
    expected = {name: value for entry in entries for name, value in rewrite_logs(entry).items()}
    assert set(events.Tags()["scalars"]) == set(expected)
    assert events.Scalars("eval/success_rate/left")[-1].value == pytest.approx(expected["eval/success_rate/left"])


# -- warnings with a remedy --------------------------------------------------------------------------------------------

STATE = SimpleNamespace(is_world_process_zero=True)
WELL = {"success_rate": 0.5, "entropy": 1.0, "cut_off_share": 0.0, "frac_groups_without_signal": 0.0}


def warned(caplog, logs, *, num_episodes=0, max_completion_length=8):
    """Return what is warned of where these are the logs, one after the other."""
    trainer = SimpleNamespace(
        args=SimpleNamespace(max_completion_length=max_completion_length),
        guard=SimpleNamespace(counts={"ended_episodes": num_episodes}),
        ranks=SimpleNamespace(num_ranks=1),
    )
    remedies = Remedies(trainer)
    caplog.clear()
    for entry in logs:
        remedies.on_log(None, STATE, None, logs=WELL | entry)
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("logs", "options", "sentence"),
    [
        ([{"success_rate": 0.0}] * 3, {"num_episodes": EPISODES_WITHOUT_SUCCESS}, "None of the first 256 episodes"),
        ([{}, {"entropy": 0.09}, {"entropy": 0.01}], {}, "Entropy is 0.09, below a tenth of the 1 it began with"),
        ([{"cut_off_share": 1.0}] * 2, {}, "100 % of the answers were cut off at max_completion_length=8"),
        ([{"frac_groups_without_signal": 0.6}] * (WINDOW + 3), {}, "60 % of the groups of the latest 5 logs"),
        ([{"frac_sampled_groups_without_signal": 0.6}] * WINDOW, {}, "60 % of the groups of the latest 5 logs"),
    ],
)
def test_what_goes_wrong_is_said_once(caplog, logs, options, sentence):
    (message,) = warned(caplog, logs, **options)
    assert message.startswith(sentence)


@pytest.mark.parametrize(
    ("logs", "options"),
    [
        ([{}] * 10, {"num_episodes": 10**6}),
        ([{"success_rate": 0.0}] * 3, {"num_episodes": EPISODES_WITHOUT_SUCCESS - 1}),
        ([{"success_rate": 0.1}, {"success_rate": 0.0}], {"num_episodes": 10**6}),
        ([{}, {"entropy": 0.05, "success_rate": 0.95}], {}),
        ([{"entropy": 0.05}, {"entropy": 0.04}], {}),
        ([{"cut_off_share": 1.0}], {"max_completion_length": 1}),
        ([{"frac_groups_without_signal": 0.9}] * (WINDOW - 1), {}),
        ([{"frac_groups_without_signal": x} for x in (0.9, 0.4, 0.4, 0.4, 0.3)], {}),
        ([{"entropy": None, "cut_off_share": None}], {}),
    ],
)
def test_nothing_is_said_where_all_is_well(caplog, logs, options):
    assert warned(caplog, logs, **options) == []


def test_a_training_says_it(tmp_path, caplog, monkeypatch):
    class Hopeless(SpokenCorridor):
        def parse_action(self, completion):
            return ("left", "right")[len(completion) % 2]

    monkeypatch.setattr("trl_3spo.training.remedies.EPISODES_WITHOUT_SUCCESS", 4)
    trainer = corridor_trainer(tmp_path, env=Hopeless(), max_steps=3, novelty_weight=0.3)
    trainer.train()
    assert caplog.text.count("without a success there is nothing to reinforce") == 1
