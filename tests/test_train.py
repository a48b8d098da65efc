"""The command line and the examples train, from their files, in seconds."""

import json
from dataclasses import asdict

import pytest
import yaml
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DeepSpeedPlugin, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env
from transformers import GPT2Config

from trl_3spo import ThreeSPOConfig, cli
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.cli.config import FOLDER as CONFIGURATIONS
from trl_3spo.cli.memory_setup import MemorySetup
from trl_3spo.cli.train import _memory_report, make_trainer, parse
from trl_3spo.recording.files import lines_of
from trl_3spo.recording.results import write_results

PUBLISHED = ["alfworld_1.5b_published.yaml", "webshop_1.5b_published.yaml"]
FILES = ["alfworld_1.5b.yaml", "webshop_1.5b.yaml", "generated_games.yaml", *PUBLISHED]
HERE = ["--use_cpu", "--bf16", "false"]


@pytest.mark.parametrize("name", FILES)
def test_examples_are_tried_out(name, tmp_path, capsys):
    cli.main(
        ["train", "--config", str(CONFIGURATIONS / name), "--tiny", "--output_dir", str(tmp_path), "--max_steps", "1"]
    )
    output = capsys.readouterr().out
    assert output.index("Memory plan") < output.index("eval_success_rate_low")
    saved = json.loads((tmp_path / "config.json").read_text())
    assert (saved["model_type"], saved["hidden_size"]) == ("seed_oss", 64)
    result = json.loads((tmp_path / "results.json").read_text())
    assert (result["step"], result["settings"]["max_steps"], result["settings"]["tiny"]) == (1, 1, True)
    assert result["metrics"]["eval_success_rate"] == result["evaluations"][""]["success"]["rate"]
    assert {"environment", "model_name_or_path", "learning_rate"} <= result["settings"].keys()
    assert {"python", "torch", "trl", "trl_3spo"} <= result["versions"].keys()
    assert {x["step"] for x in records_of(tmp_path, "eval")} == {1}
    assert {x["step"] for x in records_of(tmp_path, "train")} == {0}


def records_of(folder, phase):
    (file,) = (folder / "episodes").glob(f"*-{phase}-0.jsonl")
    return list(lines_of(file))


def test_results_keep_no_secret(tmp_path):
    settings = parse(["--output_dir", str(tmp_path), "--hub_token", "hf_secret", *HERE])[1].to_dict()
    write_results(tmp_path, {"settings": settings})
    assert "hf_secret" not in (tmp_path / "results.json").read_text()


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_qlora_is_tried_out(tmp_path):
    cli.main(
        ["train", "--config", str(CONFIGURATIONS / "alfworld_qlora.yaml"), "--tiny", "--output_dir", str(tmp_path)]
    )
    adapter = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"]) == (32, 64)
    assert json.loads((tmp_path / "results.json").read_text())["settings"]["max_steps"] == 2


@pytest.mark.parametrize("name", ["alfworld_1.5b.yaml", "webshop_1.5b.yaml"])
def test_files_have_our_defaults_but_for_what_a_model_of_this_size_needs(name, tmp_path):
    _, args, _ = parse(["--config", str(CONFIGURATIONS / name), "--output_dir", str(tmp_path), *HERE])
    plain = asdict(ThreeSPOOptions())
    assert {name: getattr(args, name) for name in plain} == plain
    assert (args.load_best_model_at_end, args.num_eval_tasks in (134, 500)) == (True, True)


def test_thinking_is_switched_in_the_file(tmp_path):
    file = CONFIGURATIONS / "generated_games.yaml"
    given = ["--config", str(file), "--output_dir", str(tmp_path), *HERE]
    assert parse(given)[1].chat_template_kwargs == {"enable_thinking": True}
    off = [*given, "--chat_template_kwargs", '{"enable_thinking": false}']
    assert parse(off)[1].chat_template_kwargs == {"enable_thinking": False}


def test_a_tiny_model_acts_and_learns_from_it(tmp_path):
    trainer = make_trainer(
        *parse(["--config", str(CONFIGURATIONS / FILES[0]), "--tiny", "--output_dir", str(tmp_path)])
    )
    trainer.train()
    log = trainer.state.log_history
    assert all(entry["batch_fill"] > 0 and entry["grad_norm"] > 0 for entry in log[:2])


@pytest.mark.parametrize("name", PUBLISHED)
def test_files_have_the_published_numbers(name, tmp_path):
    _, args, model = parse(["--config", str(CONFIGURATIONS / name), "--output_dir", str(tmp_path), *HERE])
    plain = ThreeSPOConfig(str(tmp_path), use_cpu=True, bf16=False)
    published = ThreeSPOConfig.published(output_dir=str(tmp_path), use_cpu=True, bf16=False)
    numbers = {name for name, value in asdict(published).items() if value != asdict(plain)[name]}
    assert len(numbers) > 10
    assert {name: getattr(args, name) for name in numbers} == {name: getattr(published, name) for name in numbers}
    assert model.model_name_or_path == "Qwen/Qwen2.5-1.5B-Instruct"


def test_options_come_before_the_file_and_the_file_before_defaults(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"max_steps": 7, "lora_r": 4, "use_peft": True, "environment_options": ["seed=2"]}))
    given = ["--config", str(file), "--max_steps", "9", "--output_dir", str(tmp_path), *HERE]
    script, args, model = parse(given)
    assert (args.max_steps, model.lora_r, model.use_peft, model.lora_alpha) == (9, 4, True, 32)
    assert script.environment_options == ["seed=2"]


def test_unknown_settings_of_a_file_are_named(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"score_sharpnes": 1.0}))
    with pytest.raises(ValueError, match=r"did you mean score_sharpness"):
        parse(["--config", str(file), "--output_dir", str(tmp_path), *HERE])


def test_mistakes_are_told_in_a_line(tmp_path, capsys):
    options = ["--output_dir", str(tmp_path), *HERE, "--environment_options", "generated=2"]
    with pytest.raises(SystemExit, match="1"):
        cli.main(["train", *options])
    assert capsys.readouterr().err.startswith("trl-3spo train: model_name_or_path is not set")
    with pytest.raises(SystemExit, match="2"):
        cli.main(["merge", "--adapter", "x", "--output", "y", "--tiny"])
    assert "unrecognized arguments: --tiny" in capsys.readouterr().err


def test_models_of_another_kind_have_no_memory_plan(tmp_path):
    _, args, _ = parse(["--output_dir", str(tmp_path), *HERE])
    setup = MemorySetup.of(args, dtype="float32", prompt_size=10, peft_config=None, quantization_config=None)
    GPT2Config().save_pretrained(tmp_path)
    assert _memory_report(str(tmp_path), "main", False, setup).startswith("There is no memory plan for gpt2: ")


def launched(file, *options):
    """Return what `accelerate launch` makes of a configuration file, which it checks."""
    given = ["--config_file", str(file), *options, "-m", "trl_3spo.cli.train"]
    args, _, mixed_precision = _validate_launch_command(launch_command_parser().parse_args(given))
    assert mixed_precision, "the file's own"
    return args


@pytest.mark.parametrize("name", ["ddp", "fsdp2", "zero2", "zero3"])
def test_accelerate_takes_the_configuration(name):
    args = launched(CONFIGURATIONS / "accelerate" / f"{name}.yaml")
    assert (args.num_processes, args.mixed_precision, args.module) == (8, "bf16", True)
    assert (args.multi_gpu, args.use_fsdp, args.use_deepspeed) == (
        name == "ddp",
        name == "fsdp2",
        name.startswith("zero"),
    )


def test_fsdp_is_the_second(monkeypatch):
    for variable, value in prepare_multi_gpu_env(launched(CONFIGURATIONS / "accelerate" / "fsdp2.yaml")).items():
        monkeypatch.setenv(variable, value)
    plugin = FullyShardedDataParallelPlugin()
    assert (plugin.fsdp_version, plugin.reshard_after_forward, plugin.cpu_ram_efficient_loading) == (2, True, True)


@pytest.mark.parametrize("stage", [2, 3])
def test_zero_has_its_stage(stage):
    args = launched(CONFIGURATIONS / "accelerate" / f"zero{stage}.yaml")
    config = DeepSpeedPlugin(
        zero_stage=int(args.zero_stage), zero3_init_flag=args.zero3_init_flag == "true"
    ).deepspeed_config
    assert config["zero_optimization"]["stage"] == stage


def test_accelerate_refuses_what_it_does_not_know(tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text((CONFIGURATIONS / "accelerate" / "ddp.yaml").read_text() + "num_procesess: 8\n")
    with pytest.raises(ValueError, match="num_procesess"):
        launched(file)
