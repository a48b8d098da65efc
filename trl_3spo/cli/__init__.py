"""The command line: `trl-3spo train`, `evaluate` on a panel, `view` a run, `demos` to imitate, `merge` of adapters."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from trl_3spo._version import __version__
from trl_3spo.cli.names import ALFWORLD, make_environment, resolve_expert
from trl_3spo.environments.base import Environment, Task
from trl_3spo.evaluation.panel_sample import sample_panel
from trl_3spo.recording.results import recorder, versions, write_results

ALFWORLD_EXPERT = "trl_3spo.environments.alfworld.expert.demonstrations:demonstrate"

POLICY_OPTIONS = ("max_completion_length", "top_p", "top_k", "min_p", "system_prompt", "chat_template_kwargs")
"""Options of `evaluate` that are fields of `PolicySettings`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; see `trl-3spo --help`."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command != "train":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    if "" not in sys.path:
        sys.path.append("")  # an environment may be in a file here, which must not stand in for an installed package
    try:
        options.run(options)
    except (ImportError, FloatingPointError, OSError, ValueError) as error:
        parser.exit(1, f"trl-3spo {options.command}: {error}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trl-3spo", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    formatter = argparse.ArgumentDefaultsHelpFormatter
    tasks = argparse.ArgumentParser(add_help=False)
    tasks.add_argument(
        "--env", default=ALFWORLD, metavar="MODULE:NAME", help="environment class or function, here or installed"
    )
    tasks.add_argument("--env-options", nargs="*", default=[], metavar="NAME=VALUE", help="such as split=valid_unseen")
    tasks.add_argument(
        "--num-tasks", type=_positive, help="drawn from the environment's, every type in its share; default: all"
    )
    tasks.add_argument("--panel-seed", type=int, default=0, help="of that draw")
    tasks.add_argument("--seed", type=int, default=0, help="of sampling or of the expert; the games' is an env option")

    evaluate = commands.add_parser(
        "evaluate", parents=[tasks], formatter_class=formatter, help="play a panel with a checkpoint"
    )
    evaluate.add_argument("--model", required=True, help="folder, or name on the Hub, of a model or PEFT adapter")
    evaluate.add_argument("--num-episodes", type=_positive, help="in all, the tasks taking turns; default: one a task")
    evaluate.add_argument("--temperature", type=float, help="0 is greedy; default: that of the training's evaluations")
    evaluate.add_argument("--batch-size", type=_positive, default=64, help="episodes advanced together")
    evaluate.add_argument("--vllm", action="store_true", help="generate with vLLM")
    asked = evaluate.add_argument_group(
        "how the policy is asked and sampled",
        "Defaults are those of its training, where it was saved with policy.json.",
    )
    asked.add_argument("--max-completion-length", type=_positive, help="tokens; without policy.json 512")
    asked.add_argument("--top-p", type=float, help="share of the probability that is sampled from")
    asked.add_argument("--top-k", type=int, help="number of tokens that are sampled from; 0 is all")
    asked.add_argument("--min-p", type=float, help="least share of the likeliest token's probability")
    asked.add_argument("--system-prompt", metavar="TEXT", help="the environment's")
    asked.add_argument(
        "--chat-template-kwargs", type=json.loads, metavar="JSON", help="""such as '{"enable_thinking": false}'"""
    )
    evaluate.add_argument("--json", type=Path, help="file to write the result to as well")
    evaluate.add_argument("--output-dir", type=Path, help="of result and episodes; default: evaluation, at the model")
    evaluate.add_argument("--record-megabytes", type=float, default=100.0, help="of episodes; 0 records nothing")
    evaluate.set_defaults(run=_evaluate)

    demos = commands.add_parser(
        "demos",
        parents=[tasks],
        formatter_class=formatter,
        help="write an expert's steps as prompts and completions for SFTTrainer",
    )
    demos.add_argument("--expert", default=ALFWORLD_EXPERT, metavar="MODULE:NAME", help="`demonstrate` of that world")
    demos.add_argument("--output", type=Path, required=True, help="file to write, .parquet or .jsonl")
    demos.add_argument("--noise", type=float, default=0.0, help="share of steps at which a random action is taken")
    demos.add_argument("--demonstrate-noise", action="store_true", help="demonstrate these, not the expert's")
    demos.add_argument("--keep-lost", action="store_true", help="demonstrate episodes that do not succeed as well")
    demos.set_defaults(run=_write_demonstrations)

    train = commands.add_parser("train", add_help=False, help="train with 3SPO, by options or a YAML file")
    train.set_defaults(run=_train)

    merge = commands.add_parser("merge", help="add a trained adapter to its base and save one plain model")
    merge.add_argument("--adapter", type=Path, required=True, help="folder of the adapter")
    merge.add_argument("--output", type=Path, required=True, help="folder to write")
    merge.set_defaults(run=_merge)

    view = commands.add_parser("view", formatter_class=formatter, help="make a page of a run's trees and episodes")
    view.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="output folder of a run; two stand side by side"
    )
    view.add_argument("--output", type=Path, help="file to write; default: view.html in the (first) run's folder")
    view.add_argument("--max-megabytes", type=float, default=80.0, help="of records on the page; some are left out")
    view.set_defaults(run=_view)
    return parser


def _evaluate(options: argparse.Namespace) -> None:
    # Imported here: torch takes seconds, which `--help` and mistakes in the options need not wait for.
    from trl_3spo.evaluation.policies import evaluate_checkpoint
    from trl_3spo.evaluation.policy_settings import PolicySettings

    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
    given = {name: getattr(options, name) for name in POLICY_OPTIONS}
    folder = options.output_dir or evaluation_folder(options.model)
    with make_environment(options.env, options.env_options) as env:
        if options.system_prompt is None and any(x.startswith("system_prompt=") for x in options.env_options):
            given["system_prompt"] = env.system_prompt  # given as well, in another way
        evaluation = evaluate_checkpoint(
            options.model,
            env,
            _tasks(env, options),
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
    policy = PolicySettings.beside(options.model).with_given(given | {"eval_temperature": options.temperature})
    settings = {name: str(x) if isinstance(x, Path) else x for name, x in vars(options).items() if name != "run"}
    context = {"settings": settings, "policy": asdict(policy), "versions": versions("torch", "transformers")}
    result = evaluation.to_dict() | context
    write_results(folder, {"command": "evaluate"} | result)
    text = json.dumps(result, indent=1)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


def evaluation_folder(model: str) -> Path:
    """Return where the evaluation of a model goes: beside a folder's files, below `runs` for a name on the Hub."""
    folder = Path(model)
    return (folder if folder.is_dir() else Path("runs") / model.replace("/", "--")) / "evaluation"


def _write_demonstrations(options: argparse.Namespace) -> None:
    from datasets import Dataset

    if options.output.suffix not in (".parquet", ".jsonl"):
        raise ValueError(f"--output is {options.output}; it must end in .parquet or .jsonl.")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    env = make_environment(options.env, options.env_options)
    demonstrate = resolve_expert(options.expert)
    play = {"noise": options.noise, "demonstrates_noise": options.demonstrate_noise}
    play |= {"keeps_lost": True} if options.keep_lost else {}  # an expert of one's own need not know it
    dataset = Dataset.from_list(list(demonstrate(env, _tasks(env, options), **play, seed=options.seed)))
    if not len(dataset):
        raise ValueError("No episode succeeded, so there is nothing to write. --keep-lost writes episodes as they are.")
    write = dataset.to_parquet if options.output.suffix == ".parquet" else dataset.to_json
    write(str(options.output))
    print(f"{len(dataset)} steps in {options.output}")


def _train(options: argparse.Namespace) -> None:
    from trl_3spo.cli.train import main as train

    train(options.rest)


def _merge(options: argparse.Namespace) -> None:
    from trl_3spo.evaluation.policies import merge_adapter

    merge_adapter(options.adapter, options.output)
    print(f"merged model in {options.output}")


def _view(options: argparse.Namespace) -> None:
    from trl_3spo.view.page import write_page

    output = options.output or options.runs[0] / "view.html"
    num_left_out = write_page(options.runs, output, megabytes=options.max_megabytes)
    left_out = (
        f" {num_left_out} trees and episodes are left out; --max-megabytes has room for more." if num_left_out else ""
    )
    print(f"{output}: open it in a browser.{left_out}")


def _tasks(env: Environment, options: argparse.Namespace) -> Sequence[Task]:
    return sample_panel(env.tasks(), options.num_tasks, seed=options.panel_seed)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} must be at least 1")
    return number
