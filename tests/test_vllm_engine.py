"""vLLM itself, on the CPU: `make test-vllm`. Elsewhere these tests are skipped, and test_vllm.py is for every day."""

import functools

import pytest
import torch
from engines_server import by_server
from engines_vllm import in_own_process
from trl.import_utils import is_vllm_available

from training import CorridorEnv, config_for, tokenizer_for, untrained
from trl_3spo import ThreeSPOTrainer
from trl_3spo.environments.demonstrations import Advice, demonstrate
from trl_3spo.evaluation.policies import evaluate_checkpoint
from trl_3spo.tiny import tiny_model

pytestmark = [
    pytest.mark.skipif(not is_vllm_available(), reason="vLLM is not installed"),
    pytest.mark.timeout(900),
    pytest.mark.slow,
]
EXACT = ["corridor", "lora", "alfworld_lora"]


def sure_of_itself(tokenizer, env):
    """Return a model that goes right and opens the last door; half of the tasks want the first one opened."""
    model = tiny_model(tokenizer, hidden_size=128)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def advise(observation, *_):
        return Advice("open" if f"place {env.length}" in observation.text else "right")

    steps = list(demonstrate(env, env.tasks(), lambda *_: advise, keeps_lost=True))
    for _ in range(8):
        for step in steps:
            whole = [*step["prompt"], *step["completion"]]
            ids = tokenizer.apply_chat_template(whole, return_dict=False, return_tensors="pt")
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return model.eval()


@functools.cache
def measured(case):
    """Train with an engine in a process of its own; its weights and answers have been compared with the trainer's."""
    seen = by_server() if case == "server" else in_own_process(case)
    assert "error" not in seen, seen["error"]
    return seen


@pytest.mark.parametrize("case", EXACT)
def test_in_float32_the_engine_is_the_trainer(case):
    seen = measured(case)
    assert seen["engine_dtype"] == "float32"
    assert seen["largest_difference_after_sync"] == 0
    assert min(seen["differences_before_later_syncs"]) > 1e-4, "training has moved the weights in between"
    assert len(set(seen["greedy"])) == 1
    assert seen["max_abs_logprob_difference"] < 1e-5
    assert max(seen["logp_difference"]) < 1e-5
    for low, mean, high in seen["importance_ratio"]:
        assert (low, mean, high) == pytest.approx((1, 1, 1), abs=1e-4)


@pytest.mark.parametrize("case", [*EXACT, "alfworld"])
def test_weights_are_handed_over_once_an_update_and_once_for_an_evaluation(case):
    seen = measured(case)
    assert (seen["num_syncs"], seen["num_syncs_of_evaluation"]) == (seen["num_updates"], 1)
    assert set(seen["staleness"]) == {0}


@pytest.mark.parametrize("case", [*EXACT, "alfworld"])
def test_only_sampled_actions_are_asked_for(case):
    asked, sampled = measured(case)["prompts_and_sampled_actions"]
    assert asked == sampled


def test_in_bfloat16_the_engine_is_the_trainer_rounded():
    seen = measured("alfworld")
    assert seen["engine_dtype"] == "bfloat16"
    assert seen["largest_difference_after_sync"] == 0
    assert max(seen["logp_difference"]) < 0.2


def test_equal_beginnings_of_prompts_are_computed_once():
    num_tokens, num_cached = measured("alfworld")["prompt_tokens_and_cached"]
    assert 0 < num_cached < num_tokens


def test_evaluations_are_those_of_the_saved_model():
    seen = measured("corridor")
    assert seen["success_by_vllm"] == seen["success_by_transformers"]


def test_weights_are_kept_for_as_many_updates_as_asked_for():
    seen = measured("late")
    assert seen["num_syncs"] == 2
    assert seen["staleness"] == [0, 1, 0, 1]
    differences = seen["logp_difference"]
    assert max(differences[::2]) < 1e-5 < min(differences[1::2])


def test_consistency_is_logged_without_the_correction():
    assert max(measured("uncorrected")["logp_difference"]) < 1e-5


def test_a_server_answers_two_ranks_and_gets_no_weights_from_a_cpu():
    seen = measured("server")
    assert seen["num_ranks"] == 2
    assert "needs a CUDA device" in seen["refusal_of_trl"]
    assert seen["max_abs_logprob_difference"] < 1e-5


def test_heads_of_a_size_without_a_kernel_are_refused(tmp_path):
    env = CorridorEnv(length=4)
    untrained(tokenizer_for(env)).save_pretrained(tmp_path / "model")  # heads of size 8
    with pytest.raises(ValueError, match=r"heads have size 8; vLLM on a CPU has kernels for \[32, 64"):
        ThreeSPOTrainer(str(tmp_path / "model"), env, config_for(tmp_path, use_vllm=True))


@pytest.mark.filterwarnings("ignore:.torch.distributed:FutureWarning")  # vLLM looks at all names there
def test_a_checkpoint_is_evaluated_as_by_transformers(tmp_path, monkeypatch):
    """In 16 bits, which vLLM takes for a checkpoint in 32 bits as well, by a model that no rounding makes waver."""
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    env = CorridorEnv(length=4)
    tokenizer = tokenizer_for(env)
    sure_of_itself(tokenizer, env).to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    plays = {"num_episodes": 8, "max_completion_length": 3}
    expected = evaluate_checkpoint(str(tmp_path), env, **plays)
    assert 0 < expected.success.rate < 1
    assert evaluate_checkpoint(str(tmp_path), env, use_vllm=True, **plays) == expected
