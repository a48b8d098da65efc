"""`trl-3spo evaluate`: a checkpoint on a panel."""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trl_3spo.cli.arguments import environment_of, positive, task_options, tasks_of
from trl_3spo.recording.results import recorder, versions, write_results

POLICY_OPTIONS = ("max_completion_length", "top_p", "top_k", "min_p", "system_prompt", "chat_template_kwargs")
"""Options that are fields of `PolicySettings`."""

NOT_SETTINGS = ("run", "parser", "rest", "debug")
"""What the parser adds to the options."""


def add_command(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to a parser's."""
    evaluate = commands.add_parser(
        "evaluate",
        parents=[task_options(), common],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        help="evaluate a checkpoint on a panel of tasks",
    )
    evaluate.add_argument("--model", required=True, help="model or PEFT adapter: a folder, or a name on the Hub")
    evaluate.add_argument("--revision", help="branch, tag or commit of the model on the Hub; default: the latest")
    evaluate.add_argument("--num_episodes", type=positive, help="total number of episodes; default: one per task")
    evaluate.add_argument("--temperature", type=float, help="0 is greedy; default: as in the training's evaluations")
    evaluate.add_argument("--batch_size", type=positive, default=64, help="episodes advanced together")
    evaluate.add_argument("--vllm", action="store_true", help="generate with vLLM")
    asked = evaluate.add_argument_group(
        "prompts and sampling",
        "The defaults come from the model's policy.json, if it has one.",
    )
    asked.add_argument("--max_completion_length", type=positive, help="tokens of an answer; 512 without policy.json")
    asked.add_argument("--top_p", type=float, help="share of the probability that is sampled from")
    asked.add_argument("--top_k", type=int, help="number of tokens that are sampled from; 0 is all")
    asked.add_argument("--min_p", type=float, help="least share of the likeliest token's probability")
    asked.add_argument("--system_prompt", metavar="TEXT", help="system prompt of the environment")
    asked.add_argument(
        "--chat_template_kwargs", type=json.loads, metavar="JSON", help="""such as '{"enable_thinking": false}'"""
    )
    written = evaluate.add_argument_group("output")
    written.add_argument("--json", type=Path, help="file to write the result to as well")
    written.add_argument("--output_dir", type=Path, help="folder for result and episodes; default: MODEL/evaluation")
    written.add_argument(
        "--record_megabytes", type=float, default=100.0, help="megabytes of episodes to record, at most; 0 records none"
    )
    evaluate.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Play the panel and write the result."""
    # Imported here: torch takes seconds, which `--help` and mistakes in the options need not wait for.
    from trl_3spo.evaluation.policies import evaluate_checkpoint
    from trl_3spo.evaluation.policy_settings import PolicySettings

    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
    if options.environment is None:
        options.environment, options.environment_options = trained_in(options.model, options.environment_options)
    given = {name: getattr(options, name) for name in POLICY_OPTIONS}
    folder = options.output_dir or evaluation_folder(options.model)
    with environment_of(options) as env:
        if options.system_prompt is None and any(
            str(x).startswith("system_prompt=") for x in options.environment_options
        ):
            given["system_prompt"] = env.system_prompt  # given as well, in another way
        evaluation = evaluate_checkpoint(
            options.model,
            env,
            tasks_of(env, options),
            revision=options.revision,
            num_episodes=options.num_episodes,
            temperature=options.temperature,
            batch_size=options.batch_size,
            seed=options.seed,
            on_episodes=recorder(folder, options.record_megabytes, options.seed),
            use_vllm=options.vllm,
            **given,
        )
    if os.environ.get("RANK", "0") != "0":
        return  # the first process speaks for all
    policy = PolicySettings.beside(options.model, options.revision).with_given(
        given | {"eval_temperature": options.temperature}
    )
    settings = {name: str(x) if isinstance(x, Path) else x for name, x in vars(options).items()}
    settings = {name: x for name, x in settings.items() if name not in NOT_SETTINGS}
    context = {"settings": settings, "policy": asdict(policy), "versions": versions("torch", "transformers")}
    result = evaluation.to_dict() | context
    write_results(folder, {"command": "evaluate"} | result)
    text = json.dumps(result, indent=1)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


def trained_in(model: str, given: Sequence[str]) -> tuple[str | None, Sequence[Any]]:
    """Return the environment and options that `trl-3spo train` trained a model with, if it did.

    Args:
        model: Folder of the model, or of one of its checkpoints.
        given: Options that override the training's.
    """
    for folder in (Path(model), Path(model).parent):
        if (folder / "results.json").is_file():
            settings = json.loads((folder / "results.json").read_text(encoding="utf-8")).get("settings", {})
            prefix = "tiny_" * bool(settings.get("tiny") and settings.get("tiny_environment_options"))
            options = settings.get(f"{prefix}environment_options") or []
            known = [options] if isinstance(options, Mapping) else list(options)
            return settings.get("environment"), [*known, *given]
    return None, given


def evaluation_folder(model: str) -> Path:
    """Return the folder for evaluations: inside a model's folder, or below `runs` for a name on the Hub."""
    folder = Path(model)
    return (folder if folder.is_dir() else Path("runs") / model.replace("/", "--")) / "evaluation"
