"""What cannot work is refused before any weight is loaded: the model named here does not exist."""

import re

import pytest
from peft import LoraConfig
from transformers import BitsAndBytesConfig

from training import config_for, tokenizer_for, untrained
from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.training.engine import check_engine

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


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a vLLM that has nothing but a version."""

    def install(version):
        for name, text in {
            "vllm/__init__.py": "",
            f"vllm-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n",
            f"vllm-{version}.dist-info/top_level.txt": "vllm\n",
        }.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr("trl_3spo.training.engine.is_vllm_available", lambda: True)

    return install


@pytest.mark.parametrize("version", ["0.10.2", "0.99.0+cpu"])
def test_vllm_has_to_be_one_that_trl_admits(tmp_path, installed, version):
    installed(version)
    with pytest.raises(ImportError, match=rf"vLLM {re.escape(version)} is installed, and TRL .* admits .*Install one"):
        start(tmp_path, changes={"use_vllm": True})


def test_a_build_of_a_version_that_trl_admits_goes_on_to_load_the_model(tmp_path, installed):
    installed("0.31.0+cpu")
    with pytest.raises(OSError, match="no-model-here"):
        start(tmp_path, changes={"use_vllm": True})


def test_a_server_gets_weights_from_cuda_devices(tmp_path, installed):
    installed("0.31.0")
    with pytest.raises(ValueError, match=r"'server' and training is on 'cpu'.*Set vllm_mode='colocate'"):
        start(tmp_path, changes={"use_vllm": True, "vllm_mode": "server"})


def test_vllm_does_not_sleep_on_a_cpu(tmp_path, installed):
    installed("0.31.0")
    with pytest.raises(ValueError, match=r"vllm_enable_sleep_mode is on .* no sleep mode. Leave it out"):
        start(tmp_path, changes={"use_vllm": True, "vllm_enable_sleep_mode": True})


def test_vllm_loads_a_model_that_lies_somewhere(tmp_path, installed):
    installed("0.31.0")
    model = untrained(tokenizer_for(CorridorEnv(length=4)))
    with pytest.raises(ValueError, match=r"made in memory.*Save it and its tokenizer by save_pretrained"):
        start(tmp_path, model, changes={"use_vllm": True})


@pytest.mark.parametrize(
    ("changes", "is_rounded"),
    [
        ({}, True),
        ({"vllm_dtype": "float32"}, False),
        ({"model_init_kwargs": {"dtype": "bfloat16"}}, False),
        ({"model_init_kwargs": {"dtype": "float32"}, "vllm_dtype": "float16"}, True),
    ],
)
def test_that_vllm_would_round_is_said(tmp_path, installed, caplog, changes, is_rounded):
    installed("0.31.0")
    check_engine(NOWHERE, config_for(tmp_path, use_vllm=True, **changes))
    assert ("vllm_dtype='float32' keeps all bits" in caplog.text) == is_rounded


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_what_a_launcher_asks_for_is_not_ignored(tmp_path, monkeypatch, name):
    config = config_for(tmp_path)
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(ValueError, match=rf"(?i){name} is asked for.*ignore it here and train in one process"):
        ThreeSPOTrainer(NOWHERE, CorridorEnv(length=4), config)


def test_a_batch_holds_whole_groups(tmp_path):
    with pytest.raises(ValueError, match=r"generation_batch_size \(12\) must be divisible by num_generations \(8\)"):
        config_for(tmp_path, per_device_train_batch_size=12)


@pytest.mark.parametrize("setting", [{}, {"bf16": True}])
def test_bf16_needs_an_accelerator_that_has_it(tmp_path, setting, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"no accelerator.*bf16=False to compute in float32"):
        ThreeSPOConfig(str(tmp_path), **setting)
