"""What one of several processes does for `engines.py`: train in a small world, as the launcher has the model laid out.

    accelerate launch --config_file FILE --cpu --num_processes 2 benchmarks/engines_rank.py FOLDER CASE [CASE ...]

FOLDER holds the model; each case gets a folder of its own there.
"""

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType, parse_flag_from_env
from peft import LoraConfig

from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.evaluation.policies import load_tokenizer

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "killed": {},
    "kl": {"max_steps": 2, "beta": 0.05, "gradient_checkpointing": True, "gradient_accumulation_steps": 2},
    "lora": {"max_steps": 2, "beta": 0.05},
}
"""Changes of the options, by name. `killed` is `plain`, but that rank 1 is killed in its third update, once."""
ADAPTER = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")


class SpokenCorridor(CorridorEnv):
    """A corridor in which every word is an action, so that an untrained model finds the door now and then."""

    def parse_action(self, completion: str) -> str:
        return ("left", "right", "open")[sum(map(ord, completion)) % 3]


def shard_on_cpus() -> None:
    """Let accelerate shard on CPUs: it does so for distributed accelerators only, so call these processes some."""
    plain = PartialState.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        plain(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            if parse_flag_from_env("ACCELERATE_USE_FSDP"):
                self.distributed_type = DistributedType.MULTI_GPU
            if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):
                self.distributed_type = DistributedType.DEEPSPEED

    PartialState.__init__ = init


def make_trainer(folder: Path, case: str) -> ThreeSPOTrainer:
    """Make a trainer of the model in a folder."""
    settings: dict[str, Any] = {
        "output_dir": str(folder / case),
        "max_steps": 4,
        "save_steps": 2,
        "save_strategy": "steps" if case in ("plain", "killed") else "no",
        "num_eval_tasks": 5,
        "novelty_weight": 0.3,
        "per_device_train_batch_size": 16,
        "num_generations": 4,
        "max_completion_length": 1,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "bf16": False,
        "ddp_timeout": 120,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 7,
    }
    return ThreeSPOTrainer(
        str(folder),
        SpokenCorridor(length=4, max_steps=6),
        ThreeSPOConfig(**(settings | CASES[case])),
        processing_class=load_tokenizer(str(folder)),
        peft_config=ADAPTER if case == "lora" else None,
    )


def run(folder: Path, case: str) -> dict[str, Any]:
    """Train, evaluate and save; return what can be compared."""
    trainer = make_trainer(folder, case)
    batches: list[str] = []
    sample = trainer._generate_and_score_completions

    def remember(inputs: Any) -> Any:
        batch = sample(inputs)
        text = str((batch["prompt_ids"].tolist(), batch["completion_ids"].tolist()))
        batches.append(hashlib.sha256(text.encode()).hexdigest()[:12])
        return batch

    trainer._generate_and_score_completions = remember
    has_begun = (folder / case / "checkpoint-2").exists()
    if case == "killed" and not has_begun and trainer.accelerator.process_index == 1:
        trainer._compute_loss = killed_at(3, trainer._compute_loss)
    trainer.train(resume_from_checkpoint="auto")
    parameter = next(iter(trainer.model.parameters()))
    seen = {
        "batches": batches,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "evaluation": trainer.evaluate(),
        "one_task": trainer.evaluate_tasks(trainer.eval_tasks[:1]).success.num_episodes,
        "layout": f"{trainer.accelerator.distributed_type.value}, {type(parameter).__name__}",
        "wrapped": type(trainer.model_wrapped).__name__,
        "local_numbers": local_numbers(trainer.model),
    }
    trainer.save_model(str(folder / case / "final"))
    return seen


def killed_at(update: int, loss: Callable[..., Any]) -> Callable[..., Any]:
    """Return a loss that ends its process when it is computed for that update."""
    calls = iter(range(1, update))

    def compute(*args: Any) -> Any:
        if next(calls, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(*args)

    return compute


def local_numbers(model: torch.nn.Module) -> int:
    """Return how many numbers of the parameters this rank holds."""
    return sum(
        (x.to_local() if hasattr(x, "to_local") else getattr(x, "ds_tensor", x)).numel() for x in model.parameters()
    )


def main() -> None:
    folder, *cases = Path(sys.argv[1]), *sys.argv[2:]
    shard_on_cpus()
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):
        import deepspeed

        # Its own kernel for gloo takes a minute to build, and torch's does the same.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    for case in cases:
        seen = run(folder, case)
        rank = int(os.environ["RANK"])
        (folder / case / f"seen_{rank}.json").write_text(json.dumps(seen), encoding="utf-8")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
