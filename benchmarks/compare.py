"""3SPO, its controls and the baselines with a small language model, from one starting point and with one budget.

    python benchmarks/compare.py --env alfworld --budget 16000 --folder runs/compare
    python benchmarks/compare.py --env alfworld --budget 16000 --folder runs/compare --methods no_scores --seeds 3
    python benchmarks/summarize.py runs/compare

Every run begins with the demo's model, or one of `starting_points.py`, trains on the demo's tasks and is evaluated on
unseen ones: on 50 of them at equal distances of sampled actions, and at the end on all 200, three times each. It ends
when the actions are used up, those in groups and batches without signal included. Seeds come first, methods second, so
that whenever it is stopped the methods have equally many runs; started again, it goes on from the last evaluation of an
unfinished one. Batches are at most 192 actions with signal, or 16 episodes. Learning rates rise over the first fifth of
the actions and fall to zero.
"""

import argparse
import json
import random
import shutil
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from itertools import chain, product
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from controls import FRONTIER, BranchInTurn, Control, controls, undecided
from provenance import provenance
from starting_points import WORLDS, digest
from transformers import PreTrainedTokenizerFast, TrainerCallback, TrainerState
from transformers.trainer_utils import get_last_checkpoint

from trl_3spo import (
    EpisodeGRPOConfig,
    EpisodeGRPOTrainer,
    GiGPOConfig,
    GiGPOTrainer,
    StepPOConfig,
    StepPOTrainer,
    ThreeSPOConfig,
    ThreeSPOTrainer,
)
from trl_3spo.algorithm.branching import at_the_root
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.algorithm.three_spo import ThreeSPO
from trl_3spo.training.agent_trainer import AgentTrainer
from trl_3spo.training.display import Display

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from demo_world import DemoWorld, Tasks

NUM_EVALUATIONS = 8
WARMUP = 0.2
"""Share of the actions over which learning rates rise, from a tenth. At rates that learn fast, trainings that begin at
full size stay where their first steps led them."""
NUM_CURVE_TASKS, NUM_LAST_PLAYS = 50, 3
"""Unseen tasks of the evaluations along a run; how often the last one plays each of all."""

PANELS = {"first": 0, "development": 1, "report": 2}
"""Seeds of the tasks. No choice of settings sees those of a report: docs/protocol.md."""

LEARNING_RATE = 4e-4
ACTIONS = {"per_device_train_batch_size": 192, "learning_rate": LEARNING_RATE}
EPISODES = {"per_device_train_batch_size": 16, "learning_rate": LEARNING_RATE}
METHODS: dict[str, tuple[type[AgentTrainer[Any]], Any, dict[str, Any]]] = {
    "3spo": (ThreeSPOTrainer, ThreeSPOConfig, ACTIONS | FRONTIER),
    "published": (ThreeSPOTrainer, ThreeSPOConfig.published, ACTIONS | {"learning_rate": 1e-4}),  # unlearns at 4e-4
    "grpo": (EpisodeGRPOTrainer, EpisodeGRPOConfig, EPISODES),
    "gigpo": (GiGPOTrainer, GiGPOConfig, EPISODES),
    "steppo": (StepPOTrainer, StepPOConfig, EPISODES | {"discount": 0.95}),
}
COMPARED = tuple(METHODS)
SMALL = {"per_device_train_batch_size": 8, "num_generations": 4}
METHODS |= {f"{name}_8x4": (*METHODS[name][:2], METHODS[name][2] | SMALL) for name in ("grpo", "gigpo", "steppo")}
METHODS["3spo_96"] = (ThreeSPOTrainer, ThreeSPOConfig, ACTIONS | FRONTIER | {"per_device_train_batch_size": 96})
METHODS["branch"] = (ThreeSPOTrainer, ThreeSPOConfig, ACTIONS)
CHOICES = {"branch_at_root": at_the_root, "branch_undecided": undecided}
METHODS |= dict.fromkeys((*CHOICES, "branch_in_turn"), METHODS["branch"])
METHODS["steppo_history"] = (
    StepPOTrainer,
    StepPOConfig,
    EPISODES | {"discount": 0.95, "gae_lambda": 0.9, "value_source": "history", "num_generations": 2},
)
METHODS["no_small_groups"] = (ThreeSPOTrainer, ThreeSPOConfig, ACTIONS | FRONTIER | {"num_generations": 4})
METHODS |= {
    name: (ThreeSPOTrainer, ThreeSPOConfig, ACTIONS | FRONTIER | control.options)
    for name, control in controls(ThreeSPOOptions(**FRONTIER), seed=0).items()
}


class Budget(TrainerCallback):
    """Evaluates and saves at equal distances of sampled actions, and ends the training when they are used up.

    Until then the learning rate rises over the first fifth and falls linearly to zero.

    Args:
        num_actions: The budget.
        num_evaluations: How often, the end included; by default `NUM_EVALUATIONS`.
    """

    def __init__(self, num_actions: int, num_evaluations: int | None = None) -> None:
        self._num_actions = num_actions
        self._num_evaluations = num_evaluations or NUM_EVALUATIONS
        self._began = 0.0

    def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
        """Let the learning rate follow the actions, as methods differ in how many an optimizer step takes."""
        self._began = time.process_time()
        done = _num_sampled(state) / self._num_actions
        factor = max(1.0 - done, 0.0) * min(0.1 + done / WARMUP, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Count what the optimizer step just logged has sampled, and the processor's seconds without evaluations."""
        if "sampled_actions" in logs:
            state.log_history[-1]["processor_seconds"] = time.process_time() - self._began
            used = _num_sampled(state)
            parts = [int(x * self._num_evaluations / self._num_actions) for x in (used - logs["sampled_actions"], used)]
            is_over = used >= self._num_actions
            control.should_evaluate = parts[0] < parts[1] and not is_over  # at the end `run` does
            control.should_save = control.should_evaluate
            control.should_training_stop = control.should_training_stop or is_over


def _num_sampled(state: TrainerState) -> float:
    return sum(entry.get("sampled_actions", 0.0) for entry in state.log_history)


def make_trainer(
    world: DemoWorld,
    method: str,
    seed: int,
    budget: int,
    folder: Path,
    panel: str = "first",
    num_evaluations: int | None = None,
    **changes: Any,
) -> AgentTrainer[Any]:
    """Return the trainer of one run. Tasks are the same whatever the seed."""
    trainer_class, make_config, options = METHODS[method]
    options = options | changes
    tasks = tasks_of(world.make_tasks, panel)
    shared = {
        "output_dir": str(folder),
        "max_steps": budget,  # never reached: every optimizer step samples several actions
        "lr_scheduler_type": "constant",
        "max_completion_length": world.options["max_completion_length"],
        "per_device_eval_batch_size": NUM_CURVE_TASKS,
        "record_megabytes": 0.0,
        "eval_on_start": True,
        "eval_temperature": 1.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "save_total_limit": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": seed,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": torch.cuda.is_available(),
        "gradient_checkpointing": False,
    }
    config = make_config(**(shared | options))
    trainer = trainer_class(
        str(world.warm_start),
        tasks.env,
        config,
        train_tasks=tasks.train,
        eval_tasks=tasks.unseen[:NUM_CURVE_TASKS],
        processing_class=PreTrainedTokenizerFast.from_pretrained(world.warm_start),
        callbacks=[Budget(budget, num_evaluations)],
        algorithm=control_of(method, tasks, config),
    )
    trainer.remove_callback(Display)
    return trainer


@cache
def tasks_of(make_tasks: Callable[[int], Tasks], panel: str) -> Tasks:
    """Return environment and tasks of a panel. Thousands of games take as long to make as a tenth of a run."""
    return make_tasks(PANELS[panel])


def control_of(method: str, tasks: Tasks, config: Any) -> ThreeSPO | None:
    """Return 3SPO with the parts of a control, or None where a method is none or needs no parts."""
    known = controls(config, seed=config.seed) if method.startswith("no_") else {}
    known |= {name: Control(parts={"choose": choose}) for name, choose in CHOICES.items()}
    if method == "branch_in_turn":
        in_turn = partial(BranchInTurn, max_episodes=config.max_episodes_per_tree, rng=random.Random(config.seed))
        known[method] = Control(parts={"make_tree": in_turn})
    if method not in known or not known[method].parts:
        return None
    common = {"seed": config.seed, "max_idle_rounds": config.max_idle_rounds}
    return ThreeSPO(tasks.env, tasks.train, config, **common, **known[method].parts)


def curve(log: list[dict[str, float]]) -> dict[str, list[float]]:
    """Return success and return of evaluations, with actions, tokens (sampled, trained on) and seconds until then."""
    points: dict[str, list[float]] = {name: [] for name in ("actions", "tokens", "seconds", "success", "return")}
    actions = sampled_tokens = trained_tokens = seconds = 0.0
    for entry in log:
        actions += entry.get("sampled_actions", 0.0)
        sampled_tokens += entry.get("sampled_tokens", 0.0)
        seconds += entry.get("processor_seconds", 0.0)
        trained_tokens = entry.get("num_tokens", trained_tokens) if "sampled_actions" in entry else trained_tokens
        if "eval_success_rate" in entry and points["actions"][-1:] != [actions]:
            points["actions"].append(actions)
            points["tokens"].append(sampled_tokens + trained_tokens)
            points["seconds"].append(round(seconds, 1))
            points["success"].append(entry["eval_success_rate"])
            points["return"].append(round(entry["eval_episode_return"], 4))
    return points


def predictive_gain(log: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean predictive gains of the score keys over a run, in nats per visited state."""
    gains: dict[str, list[float]] = {}
    for name, value in chain.from_iterable(entry.items() for entry in log):
        if name.startswith("predictive_gain/"):
            gains.setdefault(name.removeprefix("predictive_gain/"), []).append(value)
    return {name: fmean(values) for name, values in gains.items()}


def run_name(world_name: str, method: str, seed: int, changes: dict[str, Any]) -> str:
    """Return what the file of a run is called, without its ending."""
    return "_".join([world_name, method, *(f"{key}={value}" for key, value in changes.items()), str(seed)])


def run(
    world_name: str,
    method: str,
    seed: int,
    budget: int,
    folder: Path,
    panel: str = "first",
    *,
    name: str | None = None,
    num_evaluations: int | None = None,
    num_last_plays: int = NUM_LAST_PLAYS,
    **changes: Any,
) -> None:
    """Make a run, or finish it, unless its file is there.

    Without last plays the last evaluation is like the others. A name takes the place of the method and the changes.
    """
    shown = name or method
    name = run_name(world_name, shown, seed, {} if name else changes)
    file, checkpoints = folder / f"{name}.json", folder / f"{name}_checkpoints"
    if file.exists():
        return
    if not WORLDS[world_name].warm_start.exists():
        sys.exit(f"The starting point is missing. Make it: python benchmarks/starting_points.py {world_name}")
    origin = provenance("torch", "transformers", "trl")
    trainer = make_trainer(WORLDS[world_name], method, seed, budget, checkpoints, panel, num_evaluations, **changes)
    began = time.process_time()
    trainer.train(resume_from_checkpoint=get_last_checkpoint(checkpoints) if checkpoints.exists() else None)
    if num_last_plays:
        trainer.args.num_generations_eval = num_last_plays
        trainer.evaluate(tasks_of(WORLDS[world_name].make_tasks, panel).unseen)
    else:
        trainer.evaluate()  # training may have ended before the budget, where nothing is left to learn
    record = origin | {
        "environment": world_name,
        "method": shown,
        "seed": seed,
        "budget": budget,
        "tasks": panel,
        "start": digest(WORLDS[world_name].warm_start),
        "changes": changes,
        "learning_rate": trainer.args.learning_rate,
        "panel": trainer.evaluation.panel,
        "sampled_actions": _num_sampled(trainer.state),
        "unique_states": trainer.algorithm.tally.num_states,  # type: ignore[attr-defined]
        "optimizer_steps": trainer.state.global_step,
        "seconds": round(time.process_time() - began),
        "stop_reason": trainer.run.stop_reason,
        "predictive_gain": predictive_gain(trainer.state.log_history),
        "curve": curve(trainer.state.log_history),
    }
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(checkpoints)
    print(f"{name}: {record['curve']['success'][0]:.1%} to {record['curve']['success'][-1]:.1%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=WORLDS, required=True)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=COMPARED)
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--tasks", choices=PANELS, default="first", help="tasks to train on and to evaluate with")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="OPTION=VALUE", help="options in place of a method's own"
    )
    parser.add_argument("--budget", type=int, required=True, help="sampled actions of a run")
    parser.add_argument("--folder", type=Path, required=True, help="one file for every finished run")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    changes = {name: json.loads(value) for name, _, value in (x.partition("=") for x in arguments.set)}
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    for seed, method in product(seeds, arguments.methods):
        run(arguments.env, method, seed, arguments.budget, arguments.folder, arguments.tasks, **changes)


if __name__ == "__main__":
    main()
