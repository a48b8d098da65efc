"""What cannot work is refused before any weight is loaded: the model named here does not exist."""

import pytest
from peft import LoraConfig
from transformers import BitsAndBytesConfig

from training import config_for, tokenizer_for, untrained
from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
from trl_3spo.environments.corridor import CorridorEnv

FOUR_BITS = BitsAndBytesConfig(load_in_4bit=True)
NOWHERE = "./no-model-here"


def start(folder, model=NOWHERE, changes=None, **kwargs):
    return ThreeSPOTrainer(model, CorridorEnv(length=4), config_for(folder, **(changes or {})), **kwargs)


def test_what_can_work_goes_on_to_load_the_model(tmp_path):
    """The others fail before this."""
    with pytest.raises(OSError, match="no-model-here"):
        start(tmp_path, quantization_config=FOUR_BITS, peft_config=LoraConfig(target_modules="all-linear"))


def test_quantization_is_set_in_one_place(tmp_path):
    twice = {"model_init_kwargs": {"quantization_config": FOUR_BITS}}
    with pytest.raises(ValueError, match=r"set twice.*in one of the two places"):
        start(tmp_path, changes=twice, quantization_config=FOUR_BITS, peft_config=LoraConfig())


def test_a_loaded_model_cannot_be_quantized(tmp_path):
    model = untrained(tokenizer_for(CorridorEnv(length=4)))
    with pytest.raises(ValueError, match=r"loaded already.*Pass the model's name"):
        start(tmp_path, model, quantization_config=FOUR_BITS, peft_config=LoraConfig())


def test_quantized_weights_need_an_adapter(tmp_path):
    with pytest.raises(ValueError, match=r"cannot be trained. Pass a peft.LoraConfig"):
        start(tmp_path, changes={"model_init_kwargs": {"quantization_config": FOUR_BITS}})


@pytest.mark.parametrize("targets", [["q_proj", "lm_head"], ".*(proj|head)"])
def test_no_adapter_on_the_head(tmp_path, targets):
    with pytest.raises(ValueError, match=r"include lm_head.*Leave lm_head out"):
        start(tmp_path, peft_config=LoraConfig(target_modules=targets))


def test_every_process_needs_a_task(tmp_path, monkeypatch):
    monkeypatch.setattr(ThreeSPOConfig, "world_size", 4)
    with pytest.raises(ValueError, match=r"4 processes and 3 tasks.*fewer processes, or train on more"):
        start(tmp_path)


def test_vllm_has_to_be_there(tmp_path):
    with pytest.raises(ImportError, match=r"not installed. Install it .* or set use_vllm=False"):
        start(tmp_path, changes={"use_vllm": True})


@pytest.mark.parametrize("shared", [{"vllm_mode": "server"}, {"vllm_tensor_parallel_size": 2}])
def test_several_processes_have_engines_of_their_own(tmp_path, monkeypatch, shared):
    monkeypatch.setattr(ThreeSPOConfig, "world_size", 2)
    monkeypatch.setattr("trl_3spo.training.start_checks.is_vllm_available", lambda: True)
    with pytest.raises(ValueError, match=r"several processes.*Use vllm_mode='colocate'"):
        start(tmp_path, changes={"use_vllm": True, "num_generations": 8} | shared)


def test_a_batch_holds_whole_groups(tmp_path):
    with pytest.raises(ValueError, match=r"generation_batch_size \(12\) must be divisible by num_generations \(8\)"):
        config_for(tmp_path, per_device_train_batch_size=12)


@pytest.mark.parametrize("setting", [{}, {"bf16": True}])
def test_bf16_needs_an_accelerator_that_has_it(tmp_path, setting, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"no accelerator.*bf16=False to compute in float32"):
        ThreeSPOConfig(str(tmp_path), **setting)
