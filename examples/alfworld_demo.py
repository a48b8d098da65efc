"""Train a small language-model agent with 3SPO on generated ALFWorld games, on the CPU, in minutes.

    python examples/alfworld_demo.py

Generates games, loads the small Qwen2 that `alfworld_warm_start.py` made (a hesitant imitation of an expert), trains it
with 3SPO, and plays games it has never seen before and after. Writes the table (results.md, results.json), the success
rate over time (success_rate.png), TRL's log and the trained model to the run folder.
"""

import argparse
import json
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import torch
from alfworld_warm_start import WORLD
from transformers import PreTrainedTokenizerFast, TrainerCallback

from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.evaluation import Evaluation

WARM_START = Path(__file__).parent / "warm_start"
NUM_UNSEEN, NUM_TRAIN = 200, 4000


class SuccessCurve(TrainerCallback):
    """Keeps the evaluations of a run with the actions sampled and the seconds passed until then."""

    def __init__(self) -> None:
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
        print(
            f"step {state.global_step}: {point['rate']:.1%} of {NUM_UNSEEN} unseen games, {seconds:.0f} s", flush=True
        )


def make_trainer(folder: Path, max_steps: int, seed: int) -> ThreeSPOTrainer:
    """Return the trainer; the unseen games are the first of the generated ones, the others are trained on."""
    env = AlfworldEnv(generated=NUM_UNSEEN + NUM_TRAIN, seed=seed, **WORLD)
    config = ThreeSPOConfig(
        output_dir=str(folder),
        max_steps=max_steps,
        learning_rate=4e-4,
        lr_scheduler_type="linear",
        beta=0.02,
        per_device_train_batch_size=192,
        num_initial_episodes=200,
        novelty_decay_rate=0.0,
        has_backtracking=False,  # nearly every mistake in these games can be undone by the next action
        per_device_eval_batch_size=NUM_UNSEEN,
        max_completion_length=10,
        eval_strategy="steps",
        eval_steps=max(max_steps // 4, 1),
        eval_temperature=1.0,
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        activation_checkpointing=False,
    )
    return ThreeSPOTrainer(
        str(WARM_START),
        env,
        config,
        train_tasks=env.tasks()[NUM_UNSEEN:],
        eval_tasks=env.tasks()[:NUM_UNSEEN],
        processing_class=PreTrainedTokenizerFast.from_pretrained(WARM_START),
    )


def table(before: Evaluation, after: Evaluation) -> str:
    """Return the result as a Markdown table."""
    lines = ["| unseen games | episodes | before | after | 95 % interval after |", "|---|---|---|---|---|"]
    rows = {"all": (before.success, after.success)}
    rows |= {kind: (before.success_by_kind[kind], x) for kind, x in after.success_by_kind.items()}
    for kind, (first, last) in rows.items():
        interval = f"{last.low:.1%} to {last.high:.1%}"
        lines.append(f"| {kind} | {last.num_episodes} | {first.rate:.1%} | {last.rate:.1%} | {interval} |")
    lines.append(f"| mean steps | | {before.mean_steps:.1f} | {after.mean_steps:.1f} | |")
    return "\n".join(lines)


def plot(points: list[dict[str, float]], file: Path) -> None:
    """Write the success rate over sampled actions."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    actions = [point["actions"] for point in points]
    axes.fill_between(actions, [x["low"] for x in points], [x["high"] for x in points], alpha=0.2)
    axes.plot(actions, [x["rate"] for x in points], marker="o")
    axes.set(xlabel="sampled actions", ylabel="success rate on unseen games", ylim=(0, 1), title="3SPO")
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
    parser.add_argument("--output-dir", type=Path, default=Path("runs/alfworld_demo"))
    parser.add_argument("--max-steps", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    trainer = make_trainer(options.output_dir, options.max_steps, options.seed)
    curve = SuccessCurve()
    trainer.add_callback(curve)
    trainer.evaluate()
    before = trainer.evaluation
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    trainer.evaluate()
    after = trainer.evaluation
    trainer.save_model()

    result = table(before, after)
    (options.output_dir / "results.md").write_text(result + "\n")
    packages = {name: version(name) for name in ("torch", "transformers", "trl", "trl_3spo")}
    record = {
        "before": before.to_dict(),
        "after": after.to_dict(),
        "curve": curve.points,
        "sampled_actions": curve.num_actions,
        "training_seconds": seconds,
        "means": means(trainer.state.log_history),
        "commit": commit(),
        "seed": options.seed,
        "max_steps": options.max_steps,
        "versions": packages | {"python": platform.python_version()},
    }
    (options.output_dir / "results.json").write_text(json.dumps(record, indent=1))
    plot(curve.points, options.output_dir / "success_rate.png")
    print(f"\n{result}\n\n{curve.num_actions:.0f} sampled actions in {seconds:.0f} s. All files: {options.output_dir}")


if __name__ == "__main__":
    main()
