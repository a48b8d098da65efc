"""Text of models and environments may be anything: it reaches no terminal, table or card as it is, and ends nothing."""

import io
import re

import pandas as pd
import pytest
import rich.console
import trl.trainer.utils
from hypothesis import given
from hypothesis import strategies as st

from training import config_for, untrained
from trl_3spo import ThreeSPOTrainer
from trl_3spo.environments.base import Observation, Task
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.environments.demonstrations import Advice, demonstrate
from trl_3spo.environments.plain_text import encodable, encodable_messages, printable, printable_messages
from trl_3spo.evaluation import EpisodeResult, panel_hash, summarize
from trl_3spo.evaluation.model_card import CardFacts, results_section
from trl_3spo.evaluation.policies import evaluate_checkpoint
from trl_3spo.evaluation.policy_settings import PolicySettings
from trl_3spo.tiny import word_tokenizer

CLIPBOARD = "\x1b]52;c;cm0gLXJm\x07"
CLEAR = "\x1b[2J\x9b2J\r\b"
LONE = "\ud800"
HOSTILE = f"{CLIPBOARD}{CLEAR}{LONE}\u202e"
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]")


class HostileEnv(CorridorEnv):
    """A corridor whose every text is hostile."""

    def tasks(self, split=None):
        return [Task(f"{task.id}{HOSTILE}", f"{task.kind}|{HOSTILE}\n<script>", task) for task in super().tasks(split)]

    def reset(self, task):
        self.task = task
        return self._spoil(super().reset(task.data))

    def step(self, action):
        result = super().step(action)
        object.__setattr__(result, "observation", self._spoil(result.observation))
        return result

    def snapshot(self):
        return self.task, super().snapshot()

    def restore(self, snapshot):
        self.task = snapshot[0]
        return self._spoil(super().restore(snapshot[1]))

    def prompt(self, task, observation, turns):
        return super().prompt(task.data, observation, turns)

    def _spoil(self, observation):
        return Observation(
            observation.text + " " + HOSTILE,
            (observation.state_key, HOSTILE),
            observation.admissible_actions,
            tuple((key, HOSTILE) for key in observation.score_keys),
        )


@pytest.fixture
def trainer(tmp_path):
    env = HostileEnv(length=3)
    words = " ".join(
        CorridorEnv(3).prompt(task, CorridorEnv(3).reset(task), [])[0]["content"] for task in CorridorEnv(3).tasks()
    )
    # Two of the words that the model knows, and answers with, are hostile themselves.
    tokenizer = word_tokenizer([words, f"a{CLIPBOARD}", f"b{CLEAR}"])
    config = config_for(
        tmp_path, log_completions=True, max_completion_length=3, max_steps=2, save_strategy="steps", save_steps=1
    )
    return ThreeSPOTrainer(untrained(tokenizer), env, config, processing_class=tokenizer)


def test_training_goes_on_and_shows_nothing_that_a_terminal_obeys(trainer, tmp_path, monkeypatch, capsys):
    terminal = io.StringIO()
    monkeypatch.setattr(trl.trainer.utils, "Console", lambda: rich.console.Console(file=terminal, width=2000))
    trainer.train()
    trainer.evaluate()
    trainer.create_model_card(model_name="corridor")
    shown = terminal.getvalue()
    assert "Prompt" in shown
    assert "\\x1b]52;c;" in shown
    assert "\\ud800" in shown
    assert not UNPRINTABLE.search(shown)
    output = capsys.readouterr()
    assert not re.search("[\x1b\x9b]", output.out + output.err)
    tables = [pd.read_parquet(path) for path in sorted((tmp_path / "completions").glob("*.parquet"))]
    assert tables
    for table in tables:
        assert not UNPRINTABLE.search(str(table.to_dict("list")))
        assert any("\\x1b" in message["content"] for messages in table["prompt"] for message in messages)
    assert not UNPRINTABLE.search((tmp_path / "README.md").read_text(encoding="utf-8"))
    assert not any(UNPRINTABLE.search(name) for entry in trainer.state.log_history for name in entry)


def test_what_is_trained_on_is_what_was_sampled(trainer, monkeypatch):
    trainer.train()
    rows = trainer._rows
    assert any(LONE in message["content"] for row in rows for message in row.sample.prompt)
    assert all(row.sample.prompt_ids for row in rows)


def test_a_checkpoint_is_evaluated_and_demonstrated(trainer, tmp_path):
    trainer.save_model(tmp_path / "saved")
    env = HostileEnv(length=3)
    evaluate_checkpoint(str(tmp_path / "saved"), env, env.tasks(), max_completion_length=2)
    steps = list(demonstrate(env, env.tasks(), lambda observation, seed: lambda *_: Advice(f"open{LONE}")))
    for step in steps:
        for message in (*step["prompt"], *step["completion"]):
            message["content"].encode()


def test_a_task_type_is_one_cell_of_the_cards_table():
    kinds = [
        "a|b",
        "a\nb",
        "<script>alert(1)</script>",
        "[x](javascript:y)",
        "`|`",
        "\x1b[2J",
        LONE,
        "&lt;",
        "pick_and_place",
    ]
    evaluation = summarize([EpisodeResult(f"task {i}", kind, True, 1, 0, paid=1.0) for i, kind in enumerate(kinds)])
    section = results_section(CardFacts(CorridorEnv(), {}, PolicySettings(), {"": evaluation}))
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    # `<script>alert(1)<` is what stands before a slash, and a kind as well.
    assert len(rows) == 2 + len(kinds)
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)
    assert not UNPRINTABLE.search(section)
    assert not re.search(r"<|(?<!\\)\[", "".join(rows))
    assert "| pick_and_place | 1 |" in section
    assert r"\|" in section
    assert "&lt;script&gt;" in section
    assert "&amp;lt;" in section
    assert set(evaluation.metrics()) >= {r"success_rate/\x1b[2J", r"success_rate/\ud800"}


def test_panels_of_any_names_have_a_hash():
    assert panel_hash([LONE]) != panel_hash(["\ud801"])


ANY = st.text(st.characters(), max_size=50) | st.text(
    st.sampled_from("\x1b\x9b\r\n\t\ud83d\ude00\ud800a\u202e\x00"), max_size=20
)


@given(ANY)
def test_printable_text_can_be_shown_and_stays_as_it_is(text):
    shown = printable(text)
    assert not UNPRINTABLE.search(shown)
    assert printable(shown) == shown
    shown.encode()
    if text.isprintable():
        assert shown == text
    assert printable_messages([{"role": "user", "content": text}]) == [{"role": "user", "content": shown}]


@given(ANY)
def test_encodable_text_is_the_same_but_for_surrogates(text):
    sent = encodable(text)
    sent.encode()
    if not re.search("[\ud800-\udfff]", text):
        assert sent == text
    assert encodable_messages([{"role": "user", "content": text}])[0]["content"] == sent


def test_pairs_of_surrogates_become_their_character():
    assert encodable("\ud83d\ude00 \ud83d") == "\U0001f600 \ufffd"
