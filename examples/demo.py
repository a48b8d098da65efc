"""Train a small language-model agent with 3SPO, on the CPU, in minutes.

    python examples/demo.py --env alfworld
    python examples/demo.py --env webshop

Generates games or a shop, loads the small model that `alfworld_warm_start.py` or `webshop_warm_start.py` made (a
hesitant imitation of an expert), trains it with 3SPO, and plays tasks it has never seen before and after. Writes the
table (results.md, results.json), the success rate over time (success_rate.png), TRL's log and the trained model to the
run folder.
"""

import argparse
import json
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import torch
from demo_world import DemoWorld
from small_alfworld import ALFWORLD
from small_webshop import WEBSHOP
from transformers import PreTrainedTokenizerFast, TrainerCallback

from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer, __version__
from trl_3spo.evaluation import Evaluation

WORLDS = {"alfworld": ALFWORLD, "webshop": WEBSHOP}


class SuccessCurve(TrainerCallback):
    """Keeps the evaluations of a run with the actions sampled and the seconds passed until then."""

    def __init__(self, unseen: str) -> None:
        self.unseen = unseen
        self.points: list[dict[str, float]] = []
        self.num_actions = 0.0
        self._started = time.perf_counter()

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.num_actions += logs.get("sampled_actions", 0.0) * args.logging_steps

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        names = {"success_rate": "rate", "success_rate_low": "low", "success_rate_high": "high"}
        point = {short: metrics[f"eval_{name}"] for name, short in names.items()}
        seconds = time.perf_counter() - self._started
        self.points.append({"step": state.global_step, "actions": self.num_actions, "seconds": seconds} | point)
        print(f"step {state.global_step}: {point['rate']:.1%} of the {self.unseen}, {seconds:.0f} s", flush=True)


def make_trainer(world: DemoWorld, folder: Path, max_steps: int, seed: int) -> ThreeSPOTrainer:
    """Return the trainer of a world's small model."""
    tasks = world.make_tasks(seed)
    options = {
        "output_dir": str(folder),
        "max_steps": max_steps,
        "learning_rate": 4e-4,
        "lr_scheduler_type": "linear",
        "per_device_train_batch_size": 192,
        "per_device_eval_batch_size": len(tasks.unseen),
        "eval_strategy": "steps",
        "eval_steps": max(max_steps // 4, 1),
        "eval_temperature": 1.0,
        "logging_steps": 10,
        "save_strategy": "no",
        "report_to": "none",
        "seed": seed,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": torch.cuda.is_available(),
        "gradient_checkpointing": False,
    }
    config = ThreeSPOConfig(**(options | world.options))
    return ThreeSPOTrainer(
        str(world.warm_start),
        tasks.env,
        config,
        train_tasks=tasks.train,
        eval_tasks=tasks.unseen,
        processing_class=PreTrainedTokenizerFast.from_pretrained(world.warm_start),
    )


def table(unseen: str, before: Evaluation, after: Evaluation) -> str:
    """Return the result as a Markdown table."""
    lines = [f"| {unseen} | episodes | before | after | 95 % interval after |", "|---|---|---|---|---|"]
    rows = {"all": (before.success, after.success)}
    rows |= {kind: (before.success_by_kind[kind], x) for kind, x in after.success_by_kind.items()}
    for kind, (first, last) in rows.items():
        interval = f"{last.low:.1%} to {last.high:.1%}"
        lines.append(f"| {kind} | {last.num_episodes} | {first.rate:.1%} | {last.rate:.1%} | {interval} |")
    lines.append(f"| mean steps | | {before.mean_steps:.1f} | {after.mean_steps:.1f} | |")
    return "\n".join(lines)


def plot(points: list[dict[str, float]], unseen: str, file: Path) -> None:
    """Write the success rate over sampled actions."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    actions = [point["actions"] for point in points]
    axes.fill_between(actions, [x["low"] for x in points], [x["high"] for x in points], alpha=0.2)
    axes.plot(actions, [x["rate"] for x in points], marker="o")
    axes.set(xlabel="sampled actions", ylabel=f"success rate on {unseen}", ylim=(0, 1), title="3SPO")
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def means(log: list[dict[str, float]]) -> dict[str, float]:
    """Return how full the batches were, and the mean seconds of a training step by phase."""
    names = ("batch_fill", "seconds/generation", "seconds/environment", "seconds/update")
    entries = [entry for entry in log if "batch_fill" in entry]
    return {name: sum(float(entry[name]) for entry in entries) / len(entries) for name in names}


def commit() -> str | None:
    """Return the commit this runs at, where git knows."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=WORLDS, required=True)
    parser.add_argument("--output-dir", type=Path, help="default: runs/ENV_demo")
    parser.add_argument("--max-steps", type=int, help="optimizer steps; default: a few minutes on two cores")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    world = WORLDS[options.env]
    folder = options.output_dir or Path(f"runs/{options.env}_demo")
    max_steps = world.max_steps if options.max_steps is None else options.max_steps

    trainer = make_trainer(world, folder, max_steps, options.seed)
    curve = SuccessCurve(world.unseen)
    trainer.add_callback(curve)
    trainer.evaluate()
    before = trainer.evaluation
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    trainer.evaluate()
    after = trainer.evaluation
    trainer.save_model()

    result = table(world.unseen, before, after)
    (folder / "results.md").write_text(result + "\n", encoding="utf-8")
    packages = {name: version(name) for name in ("torch", "transformers", "trl")} | {"trl_3spo": __version__}
    record = {
        "before": before.to_dict(),
        "after": after.to_dict(),
        "curve": curve.points,
        "sampled_actions": curve.num_actions,
        "training_seconds": seconds,
        "stop_reason": trainer.run.stop_reason,
        "means": means(trainer.state.log_history),
        "commit": commit(),
        "env": options.env,
        "seed": options.seed,
        "max_steps": max_steps,
        "versions": packages | {"python": platform.python_version()},
    }
    (folder / "results.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    plot(curve.points, world.unseen, folder / "success_rate.png")
    print(f"\n{result}\n\n{curve.num_actions:.0f} sampled actions in {seconds:.0f} s. All files: {folder}")
    print(f"To look at its episodes: trl-3spo view {folder}")


if __name__ == "__main__":
    main()
