"""Several processes: one history, equal calls, and no deadlock where their work differs or one of them fails."""

from collections import Counter
from dataclasses import asdict
from itertools import chain

import pytest
import torch
from transformers import AutoConfig

from engine_stand_ins import served
from rank_training import (
    UnevenEnv,
    evaluate_in_shards,
    fail,
    on_ranks,
    resume,
    resumes_on_ranks,
    sample_by_engines_of_shards,
    sample_by_server,
    settings,
    train_in_shards,
    train_unevenly,
)
from training import corridor_trainer, tokenizer_for, untrained
from trl_3spo.algorithm.history import StateHistory
from trl_3spo.evaluation.panel_sample import sample_panel
from trl_3spo.evaluation.policies import evaluate_checkpoint, load_tokenizer
from trl_3spo.reliability.ranks import OtherRankFailedError, failing_together, gather


def save_base(folder):
    tokenizer = tokenizer_for(UnevenEnv())
    untrained(tokenizer).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    return folder / "base"


RUNS = {
    "2 ranks": (2, False, {"history_half_life": 50.0}),
    "2 ranks, LoRA": (2, True, {"history_half_life": 50.0, "beta": 0.05}),
    "4 ranks, nothing fades": (4, False, {"history_half_life": None}),
}


@pytest.fixture(scope="module", params=RUNS)
def ranks(request, tmp_path_factory):
    """Train for two updates; return the folder, whether counts fade, and what each rank did."""
    num_ranks, has_adapters, changes = RUNS[request.param]
    folder = tmp_path_factory.mktemp("ranks")
    base = save_base(folder)
    changes = {"max_steps": 2, "num_eval_tasks": 3, "per_device_train_batch_size": 64} | changes
    seen = on_ranks(num_ranks, train_unevenly, folder, base, has_adapters, changes)
    return folder, changes["history_half_life"], seen


def test_the_work_was_uneven(ranks):
    _, _, seen = ranks
    assert {x["num_processes"] for x in seen} == {len(seen)}
    assert sum(x["num_idle"] for x in seen) > 0
    assert len({x["num_calls"] - x["num_idle"] for x in seen}) > 1
    assert len({tuple(x["num_real_rows"]) for x in seen}) > 1


def test_ranks_agree_on_generate_calls_and_rows(ranks):
    _, _, seen = ranks
    assert len({x["num_calls"] for x in seen}) == 1
    assert len({tuple(x["num_rows"]) for x in seen}) == 1
    assert len(seen[0]["num_rows"]) == 2


def test_generations_without_a_state_are_no_sampled_tokens(ranks):
    _, _, seen = ranks
    assert sum(x["num_idle"] for x in seen) > 0
    assert {x["logged_tokens"] for x in seen} == {sum(x["num_tokens"] for x in seen)}


def test_ranks_end_with_the_same_model(ranks):
    _, _, seen = ranks
    for name, weight in seen[0]["weights"].items():
        assert all(torch.equal(x["weights"][name], weight) for x in seen), name


def test_histories_are_that_of_one_process_that_saw_all_episodes(ranks):
    """Bit by bit in the order of rounds and, within a round, of ranks; without fading the order does not matter."""
    _, half_life, seen = ranks
    one = StateHistory(half_life=half_life)
    rounds = list(zip(*(x["episodes"] for x in seen), strict=True))
    for worths in chain.from_iterable(chain.from_iterable(rounds)):
        one.observe(worths)
    assert all(x["history"] == one.state_dict() for x in seen)
    assert {any(worths.values()) for worths in chain.from_iterable(chain.from_iterable(rounds))} == {True, False}
    if half_life is None:
        visits, total = Counter(), Counter()
        for worths in chain.from_iterable(chain.from_iterable(x["episodes"][::-1]) for x in seen[::-1]):
            visits.update(worths.keys())
            for key, worth in worths.items():
                total[key] += worth
        history = seen[0]["history"]
        assert dict(zip(history["keys"], history["visits"], strict=True)) == visits
        assert dict(zip(history["keys"], history["worths"], strict=True)) == pytest.approx(total)


def test_an_evaluation_is_that_of_one_process(ranks):
    """Also where a rank has no task of the panel left."""
    folder, _, seen = ranks
    env = UnevenEnv(length=3)
    load_tokenizer(str(folder / "base")).save_pretrained(folder)
    alone = evaluate_checkpoint(str(folder), env, sample_panel(env.tasks(), 3), max_completion_length=1)
    assert alone.success.num_episodes == 3
    assert all(asdict(x["evaluation"]) == asdict(alone) for x in seen)


@resumes_on_ranks
def test_more_processes_go_on_with_the_history_and_the_tasks(tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 1}
    alone = corridor_trainer(tmp_path / "alone", env=UnevenEnv(), **settings(max_steps=1, **saving))
    alone.train()
    expected = alone.algorithm.state_dict()
    first, second = on_ranks(2, resume, tmp_path / "both", tmp_path / "alone" / "checkpoint-1")
    assert first["shared"] == second["shared"] == expected["shared"]
    assert (first["trees"], second["trees"]) == (expected["trees"], [])
    assert (first["position"], second["position"]) == (expected["position"], expected["position"] + 1)
    assert (first["num_updates"], second["num_updates"]) == (2, 2)


def test_where_one_rank_fails_all_end_and_say_why(tmp_path):
    well, failed = on_ranks(2, fail, tmp_path)
    for phase in ("rounds", "evaluation"):
        assert failed[phase][:2] == ("OSError", "the floor gave way"), phase
        name, message, num_episodes = well[phase]
        assert name == "OtherRankFailedError", phase
        assert "1 of 2 failed (rank 1: OSError: the floor gave way)" in message, phase
        assert (num_episodes > 0) == (phase == "rounds"), phase
    assert (well["after"], failed["after"]) == (1, 1)


def test_a_model_in_shards_is_gathered_by_all_or_none(tmp_path):
    """Where one rank stops generating before the other, the collectives of the two no longer fit together."""
    base, tasks = save_base(tmp_path), sample_panel(UnevenEnv().tasks(), 3)
    seen = on_ranks(2, evaluate_in_shards, tmp_path, base)
    assert [x["shard"] for x in seen] == ["DTensor", "DTensor"]
    assert [x["num_calls"] for x in seen] == [12, 12]
    assert [x["num_idle"] for x in seen] == [0, 6]
    load_tokenizer(str(base)).save_pretrained(tmp_path / "saved")
    alone = evaluate_checkpoint(str(tmp_path / "saved"), UnevenEnv(), tasks, max_completion_length=24, batch_size=1)
    assert all(asdict(x["evaluation"]) == asdict(alone) for x in seen)


def test_training_in_shards_is_training(tmp_path):
    seen = on_ranks(2, train_in_shards, tmp_path, save_base(tmp_path))
    assert [x["layout"] for x in seen] == ["DTensor", "DTensor"]
    for x in seen:
        for name, weight in x["whole"].items():
            assert torch.allclose(x["shards"][name], weight, atol=1e-5, rtol=0), name
        assert all((x["whole"][name] - weight).abs().max() > 1e-4 for name, weight in x["begin"].items())


def test_engines_get_the_weights_of_shards_by_all_or_none(tmp_path):
    """Handing them over is a collective, and a rank that has no task to play has no call of its own."""
    seen = on_ranks(2, sample_by_engines_of_shards, tmp_path, save_base(tmp_path))
    assert len({x["num_calls"] for x in seen}) == 1
    assert all(len(x["differences"]) == 2 and max(x["differences"]) < 1e-5 for x in seen)
    assert all(x["evaluation"].success.num_episodes == 1 for x in seen)


def test_one_server_answers_all_ranks(tmp_path):
    """TRL cuts a server's answers into as many parts of equal size as there are ranks."""
    base = save_base(tmp_path)
    with served(AutoConfig.from_pretrained(base)) as (url, calls):
        seen = on_ranks(2, sample_by_server, tmp_path, base, url)
    assert {size % 2 for size in calls} == {0}
    assert len(set(calls)) > 1
    assert all(len(x["differences"]) == 2 and max(x["differences"]) < 1e-5 for x in seen)
    assert all(x["evaluation"].success.num_episodes == 1 for x in seen)


def test_alone_an_error_is_itself():
    with pytest.raises(OSError, match="gave way"), failing_together():
        raise OSError("the floor gave way")
    assert gather(7) == [7]


def test_what_another_rank_said_is_not_said_again():
    with pytest.raises(OtherRankFailedError), failing_together():
        raise OtherRankFailedError("rank 1")
