"""The command `trl-3spo train`: a trainer by options or a YAML file, with TRL's parser and model options.

To start it on several GPUs: `accelerate launch --config_file FILE -m trl_3spo.cli.train --config FILE`.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoConfig
from trl import ModelConfig, TrlParser, get_peft_config, get_quantization_config

from trl_3spo.baselines.config import EpisodeGRPOConfig, GiGPOConfig, StepPOConfig
from trl_3spo.baselines.trainers import EpisodeGRPOTrainer, GiGPOTrainer, StepPOTrainer
from trl_3spo.cli import train_help
from trl_3spo.cli.arguments import underscored
from trl_3spo.cli.memory_plan import report
from trl_3spo.cli.memory_setup import MemorySetup
from trl_3spo.cli.names import ALFWORLD, Options, make_environment
from trl_3spo.cli.settings_file import read_settings, require_known
from trl_3spo.environments.base import Environment
from trl_3spo.evaluation.policies import load_tokenizer
from trl_3spo.model_shape import ModelShape
from trl_3spo.recording.results import versions, write_results
from trl_3spo.reliability.run import NO_SIGNAL, SIGTERM
from trl_3spo.three_spo_config import ThreeSPOConfig
from trl_3spo.three_spo_trainer import ThreeSPOTrainer
from trl_3spo.tiny import save_tiny_policy
from trl_3spo.training.agent_config import AgentConfig
from trl_3spo.training.agent_trainer import AgentTrainer

TINY = {
    "use_cpu": "true",
    "bf16": "false",
    "dtype": "float32",
    "gradient_checkpointing": "false",
    "max_steps": "2",
    "learning_rate": "1e-3",
    "per_device_train_batch_size": "32",
    "gradient_accumulation_steps": "1",
    "max_completion_length": "1",
    "num_eval_tasks": "8",
    "logging_steps": "1",
    "save_strategy": "no",
    "load_best_model_at_end": "false",
    "optim": "adamw_torch",
    "push_to_hub": "false",
    "report_to": "none",
}
"""What `--tiny` changes of a file; the user's own options win over it."""

TINY_MODEL = "tiny"
"""Folder of the model that `--tiny` begins with."""
MODEL_FILES = ("*.safetensors", "*.bin", "config.json", "adapter_config.json", "checkpoint-*")
EXIT_CODES = {NO_SIGNAL: 3, SIGTERM: 143}
"""Of the command where training has ended early: nothing left to learn from; told to end, after saving."""
METHODS: dict[str, tuple[type[AgentTrainer[Any]], type[AgentConfig]]] = {
    "3spo": (ThreeSPOTrainer, ThreeSPOConfig),
    "grpo": (EpisodeGRPOTrainer, EpisodeGRPOConfig),
    "gigpo": (GiGPOTrainer, GiGPOConfig),
    "steppo": (StepPOTrainer, StepPOConfig),
}
"""Trainers and their configurations, by what `--method` calls them."""
WORDS = {"true": True, "latest": True, "false": False, "none": None, "": None}
"""Values of `--resume_from_checkpoint` that are no paths."""


@dataclass
class TrainArguments:
    r"""
    Environment and training method.

    Parameters:
        method (`str`, *optional*, defaults to `"3spo"`):
            `"3spo"`, or a baseline: `"grpo"`, `"gigpo"`, `"steppo"`. Each has options of its own, see `--help`.
        environment (`str`, *optional*, defaults to ALFWorld):
            Environment class or function as `MODULE:NAME`, here or installed. Its module is executed: take files only
            from somebody you trust.
        environment_options (`list[str]`, *optional*):
            Arguments of the environment as `NAME=VALUE`; in a file also a mapping.
        planned_prompt_length (`int`, *optional*, defaults to `1024`):
            Expected tokens of a prompt. The memory plan, printed before the model is loaded, uses it.
        tiny (`bool`, *optional*, defaults to `False`):
            Whether to try the configuration out in seconds on a CPU, with two updates of a small untrained model. The
            result goes to the configuration's folder with `-tiny` after its name, or to `--output_dir` of the command
            line.
        tiny_environment (`str`, *optional*):
            Environment for `tiny`, if the other one needs data; by default the same.
        tiny_environment_options (`list[str]`, *optional*):
            Arguments of the environment for `tiny`; by default, `environment_options`.
        all_eval_tasks (`bool`, *optional*, defaults to `False`):
            Whether to evaluate on the whole split in place of a panel of `num_eval_tasks`.
        auto_resume (`bool`, *optional*, defaults to `False`):
            Whether to resume from the newest complete checkpoint of the output folder, or begin if there is none. The
            same command can then be run again after a stop. `resume_from_checkpoint` is the path of a checkpoint. With
            `true` or `latest`, it is the newest complete one, which must exist.
    """

    method: str = field(
        default="3spo", metadata={"choices": list(METHODS), "help": "3SPO, or a baseline: grpo, gigpo, steppo."}
    )
    environment: str = field(default=ALFWORLD, metadata={"help": "Environment class or function, MODULE:NAME."})
    environment_options: list[str] = field(
        default_factory=list, metadata={"help": "Arguments of the environment, NAME=VALUE."}
    )
    planned_prompt_length: int = field(default=1024, metadata={"help": "Prompt tokens that the memory plan expects."})
    tiny: bool = field(
        default=False, metadata={"help": "Try it out in seconds on the CPU, with a small untrained model."}
    )
    tiny_environment: str | None = field(default=None, metadata={"help": "Environment for --tiny; default: the same."})
    tiny_environment_options: list[str] = field(
        default_factory=list, metadata={"help": "Arguments of the environment for --tiny."}
    )
    all_eval_tasks: bool = field(default=False, metadata={"help": "Evaluate on the whole split."})
    auto_resume: bool = field(default=False, metadata={"help": "Resume from the newest complete checkpoint, or begin."})

    def make_environment(self) -> Environment:
        """Make the environment asked for."""
        name, options = self.environment, self.environment_options
        if self.tiny and (self.tiny_environment or self.tiny_environment_options):
            name, options = self.tiny_environment or name, self.tiny_environment_options
        return make_environment(name, cast(Options, options))  # a file may have a mapping


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, evaluate and save.

    Raises:
        SystemExit: Training has ended early; `EXIT_CODES` has the codes.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if "--help" in given or "-h" in given:
        print(train_help.text(underscored(given)))
        return
    script, args, model_config = parse(given)
    trainer = make_trainer(script, args, model_config)
    with trainer.guard:  # the evaluation opens again what training has closed
        trainer.train(resume_from_checkpoint=checkpoint_wanted(script, args))
        if trainer.run.stop_reason == SIGTERM:
            sys.exit(EXIT_CODES[SIGTERM])  # there is no time left to evaluate
        _finish(trainer, asdict(script) | asdict(model_config))
    if trainer.run.stop_reason is not None:
        sys.exit(EXIT_CODES[trainer.run.stop_reason])


def checkpoint_wanted(script: TrainArguments, args: AgentConfig) -> str | bool | None:
    """Return what to resume from, as `AgentTrainer.train` takes it.

    Raises:
        ValueError: It is said in both ways.
    """
    given = args.resume_from_checkpoint
    if script.auto_resume and given:
        raise ValueError(
            f"auto_resume is on and resume_from_checkpoint is {given!r}; give one of the two. auto_resume begins where "
            "there is no checkpoint, resume_from_checkpoint asks for one."
        )
    return "auto" if script.auto_resume else WORDS.get(str(given).lower(), given)


def _finish(trainer: AgentTrainer[Any], settings: dict[str, Any]) -> None:
    args = trainer.args
    metrics = trainer.evaluate()
    trainer.accelerator.print(metrics)
    if trainer.is_world_process_zero():
        write_results(Path(args.output_dir), _results(trainer, settings, metrics))
    trainer.save_model()  # pushes, if that is wanted, with the results


def _results(trainer: AgentTrainer[Any], settings: dict[str, Any], metrics: dict[str, float]) -> dict[str, Any]:
    """Return what is known at the end of a training; `to_dict` of transformers leaves out what is secret."""
    return {
        "command": "train",
        "step": trainer.state.global_step,
        "stop_reason": trainer.run.stop_reason,
        "metrics": metrics,
        "evaluations": {panel: x.to_dict() for panel, x in trainer.evaluations.items()},
        "settings": settings | trainer.args.to_dict(),
        "versions": versions("torch", "transformers", "trl"),
    }


def parse(arguments: Sequence[str]) -> tuple[TrainArguments, AgentConfig, ModelConfig]:
    """Read options, and with `--config FILE` what is not among them from a YAML file.

    Raises:
        ValueError: An option is out of its range, or an option or setting is not known.
    """
    arguments = underscored(arguments)
    settings = read_settings(arguments)
    method = str(train_help.given(arguments, "method") or settings.get("method", "3spo"))
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(METHODS)}.")
    kinds = (TrainArguments, METHODS[method][1], ModelConfig)
    require_known(arguments, settings, kinds)
    is_tiny = "--tiny" in arguments or settings.get("tiny") is True
    tiny = [f"--{name}={value}" for name, value in TINY.items()] if is_tiny else []
    script, args, model_config = TrlParser(kinds, prog="trl-3spo train").parse_args_and_config([*tiny, *arguments])
    if script.all_eval_tasks:
        args.num_eval_tasks = None
    if script.tiny:
        args.train_split = args.eval_split = None  # the data they name need not be there
        args.output_dir = _tiny_folder(args.output_dir, arguments)
    return script, args, model_config


def _tiny_folder(folder: str, arguments: Sequence[str]) -> str:
    """Return where a trial goes: never to the folder of the configuration, which may hold a trained model.

    Raises:
        ValueError: A folder was given on the command line, and it holds a model that is none of a trial's.
    """
    if train_help.given(arguments, "output_dir") is None:
        return folder.rstrip("/") + "-tiny"
    trained = [path.name for pattern in MODEL_FILES for path in Path(folder).glob(pattern)]
    if trained and not (Path(folder) / TINY_MODEL).is_dir():
        raise ValueError(
            f"--tiny would overwrite what is in {folder}: {', '.join(sorted(trained))}. Give it an --output_dir of its "
            f"own, or leave --output_dir out to have it in the file's output_dir with -tiny after its name."
        )
    return folder


def make_trainer(script: TrainArguments, args: AgentConfig, model_config: ModelConfig) -> AgentTrainer[Any]:
    """Make environment and trainer.

    Raises:
        ValueError: No model is named, or `check_start` finds what cannot work.
    """
    env = script.make_environment()
    name, tokenizer = model_config.model_name_or_path, None
    if script.tiny:
        name = str(Path(args.output_dir) / TINY_MODEL)
        with args.main_process_first():
            if args.process_index == 0:
                save_tiny_policy(env, name)
        tokenizer = load_tokenizer(name)
    if name is None:
        raise ValueError("model_name_or_path is not set; give a name on the Hub or a folder, or try --tiny.")
    own = {name: getattr(model_config, name) for name in ("attn_implementation", "dtype")}
    args.model_init_kwargs = own | {"revision": model_config.model_revision} | (args.model_init_kwargs or {})
    adaptation = {
        "quantization_config": get_quantization_config(model_config),
        "peft_config": get_peft_config(model_config),
    }
    if args.process_index == 0:
        setup = MemorySetup.of(args, dtype=model_config.dtype, prompt_size=script.planned_prompt_length, **adaptation)
        print(_memory_report(name, model_config.model_revision, args.trust_remote_code, setup))
    return METHODS[script.method][0](name, env, args, processing_class=tokenizer, **adaptation)


def _memory_report(name: str, revision: str, trust_remote_code: bool, setup: MemorySetup) -> str:
    config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    try:
        shape = ModelShape.of(config.get_text_config())
    except AttributeError as error:
        return f"There is no memory plan for {config.model_type}: {error}."
    return report(shape, setup, torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else None)


if __name__ == "__main__":
    main()
