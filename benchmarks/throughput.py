r"""A training step with every prompt computed once, against stock GRPOTrainer's on the same groups.

    python benchmarks/throughput.py --prompt-tokens 1024 --completion-tokens 64 --group-size 8 --repeats 7 --json FILE
    python benchmarks/throughput.py --prompt-tokens 256 1024 2048 --completion-tokens 16 64 256 --group-size 4 8 \
        --repeats 7 --json FILE

Two trainers in one process, of equal weights and settings, take one training step each by turns: stock GRPOTrainer, and
PrefixSharingTrainer, which differs in prefix_sharing="auto" alone. The learning rate is 0, so that every step is the
same; the optimizer works all the same. The prompt and the completions have exactly as many tokens as asked for.

All ratios are GRPOTrainer's number over ours, medians over the repeats. `update` is forward pass, backward pass and
optimizer; `generation` is sampling; `step` is everything. `ceiling` is n · (P + C) / (P + n · C), how many times fewer
tokens there are to compute. Peak memory is what a step adds to what was there before it.

Seconds are those of one processor core on the CPU, whatever else the machine is doing, and of the clock on a GPU, where
the model is one of Qwen2.5's shapes with random weights and computes in bfloat16. Of several sizes all combinations are
measured and written as they are done; those the file has already are left out.
"""

import argparse
import ctypes
import gc
import importlib.metadata
import itertools
import json
import platform
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerFast, PrinterCallback, Qwen2Config, Qwen2ForCausalLM, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from trl_3spo import __version__
from trl_3spo.prefix_sharing.config import PrefixSharingConfig
from trl_3spo.prefix_sharing.route import RouteKind
from trl_3spo.prefix_sharing.trainer import PrefixSharingTrainer
from trl_3spo.tiny import word_tokenizer

SIZES = ("prompt_tokens", "completion_tokens", "group_size")
MODELS = {
    "small": (256, 1024, 4, 4, 2, 2048),
    "smollm2-135m": (576, 1536, 30, 9, 3, 49152),
    "qwen2.5-0.5b": (896, 4864, 24, 14, 2, 151936),
    "qwen2.5-1.5b": (1536, 8960, 28, 12, 2, 151936),
}
"""Hidden size, intermediate size, layers, heads, key heads, vocabulary."""

NUM_WORDS = 2000


def main() -> None:
    has_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt-tokens", type=int, nargs="+", default=[1024])
    parser.add_argument("--completion-tokens", type=int, nargs="+", default=[64])
    parser.add_argument("--group-size", type=int, nargs="+", default=[8], help="completions of a prompt, at least 2")
    parser.add_argument("--num-groups", type=int, default=1, help="prompts in a batch")
    parser.add_argument("--repeats", type=int, default=7, help="steps of either trainer, at least 7")
    parser.add_argument("--tree", action="store_true", help="trees of conversations, see throughput_tree.py")
    parser.add_argument("--steps", type=int, nargs="+", default=[40], help="of a walk, with --tree")
    parser.add_argument("--branches", type=int, nargs="+", default=[2], help="walks of a tree, with --tree")
    parser.add_argument("--new-tokens", type=int, nargs="+", default=[60], help="of a step, with --tree")
    parser.add_argument("--updates-only", action="store_true", help="with --tree, generate nothing")
    parser.add_argument("--without-rows", action="store_true", help="with --tree, do not compute row by row")
    parser.add_argument("--max-tree-tokens", type=int, help="with --tree, measure tries of at most so many tokens too")
    parser.add_argument("--model", choices=MODELS, default="qwen2.5-0.5b" if has_gpu else "small")
    parser.add_argument("--activation-checkpointing", action="store_true", help="recompute activations, in both")
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    arguments = parser.parse_args()
    if arguments.repeats < 7 or min(arguments.group_size) < 2:
        parser.error("at least 7 repeats and a group size of 2 are required")
    if not has_gpu:
        torch.set_num_threads(1)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    if arguments.tree:
        import throughput_tree  # it builds on this one

        throughput_tree.main(arguments)
        return
    cases = [dict(zip(SIZES, x, strict=True)) for x in itertools.product(*(vars(arguments)[name] for name in SIZES))]
    if len(cases) == 1:
        write(arguments.json, measure(argparse.Namespace(**vars(arguments) | cases[0])) | about(arguments))
    else:
        measure_grid(arguments, cases)


def measure_grid(arguments: argparse.Namespace, cases: list[dict[str, int]]) -> None:
    cells = json.loads(arguments.json.read_text(encoding="utf-8"))["cells"] if arguments.json.exists() else []
    for case in cases:
        if not any(case.items() <= cell.items() for cell in cells):
            cells.append(case | measure(argparse.Namespace(**vars(arguments) | case)))
            write(arguments.json, {"cells": cells} | about(arguments))


def write(path: Path, results: dict[str, Any]) -> None:
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results.get("cells", [results])[-1], indent=2), flush=True)


def about(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "model": arguments.model,
        "num_groups": arguments.num_groups,
        "gradient_checkpointing": arguments.activation_checkpointing,
        "repeats": arguments.repeats,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu, 1 thread",
        "versions": versions(),
        "commit": commit(),
    }


# -- the two trainers --------------------------------------------------------------------------------------------------


class Timed:
    """A trainer that adds up the seconds of its phases."""

    add_callback: Any
    remove_callback: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seconds: dict[str, float] = defaultdict(float)
        self.remove_callback(PrinterCallback)
        self.add_callback(StepClock(self))

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        began = now()
        samples = super()._generate_single_turn(*args, **kwargs)
        self.seconds["generation"] += now() - began
        return samples

    def _prepare_inputs(self, *args: Any) -> Any:
        began = now()
        inputs = super()._prepare_inputs(*args)
        self.seconds["inputs"] += now() - began
        return inputs


class StepClock(TrainerCallback):
    def __init__(self, trainer: Timed) -> None:
        self.trainer = trainer
        self.began = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.trainer.seconds.clear()
        self.began = now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        seconds = self.trainer.seconds
        seconds["step"] = now() - self.began
        seconds["update"] = seconds["step"] - seconds["inputs"]


class StockTrainer(Timed, GRPOTrainer):
    pass


class SharingTrainer(Timed, PrefixSharingTrainer):
    def _route(self, *args: Any) -> RouteKind:
        self.route = super()._route(*args)  # the last of a step is the loss's
        return self.route


def now() -> float:
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def trainers(arguments: argparse.Namespace, folder: str) -> tuple[Any, Any]:
    """Return stock GRPOTrainer and ours, with equal models, settings and prompts."""
    words = [f"w{i}" for i in range(NUM_WORDS)]
    tokenizer = word_tokenizer([" ".join(words)])
    rng = torch.Generator().manual_seed(0)
    prompts = [
        " ".join(words[i] for i in torch.randint(NUM_WORDS, (arguments.prompt_tokens,), generator=rng))
        for _ in range(arguments.num_groups)
    ]
    has_gpu = torch.cuda.is_available()
    settings = {
        "output_dir": folder,
        "use_cpu": not has_gpu,
        "bf16": has_gpu,
        "gradient_checkpointing": arguments.activation_checkpointing,
        "per_device_train_batch_size": arguments.num_groups * arguments.group_size,
        "num_generations": arguments.group_size,
        "max_completion_length": arguments.completion_tokens,
        "generation_kwargs": {"min_new_tokens": arguments.completion_tokens},
        "learning_rate": 0.0,
        "max_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    kinds = ((StockTrainer, GRPOConfig), (SharingTrainer, PrefixSharingConfig))
    stock, sharing = (
        trainer(
            random_model(arguments.model, tokenizer),
            varied_reward,
            args=config(**settings),
            train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
            processing_class=tokenizer,
        )
        for trainer, config in kinds
    )
    return stock, sharing


def random_model(name: str, tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    hidden, intermediate, layers, heads, key_heads, vocabulary = MODELS[name]
    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=intermediate,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=key_heads,
            max_position_embeddings=8192,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )


def varied_reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [float(sum(ids) % 7) for ids in completion_ids]


# -- measuring ---------------------------------------------------------------------------------------------------------


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        both = trainers(arguments, folder)
        difference = differences(both, arguments)
        memory = [peak_memory(partial(step, x, seed=0)) for x in both]  # the first step, which is not timed
        rounds = []
        for i in range(arguments.repeats):
            order = both if i % 2 == 0 else both[::-1]
            seconds = {trainer: step(trainer, seed=i) for trainer in order}
            rounds.append([seconds[trainer] for trainer in both])
    phases = ("update", "generation", "step")
    prompt, completion, size = arguments.prompt_tokens, arguments.completion_tokens, arguments.group_size
    medians = {
        name: {phase: statistics.median(pair[i][phase] for pair in rounds) for phase in phases}
        for i, name in enumerate(("stock", "sharing"))
    }
    return {
        **{f"{phase}_ratio": round(statistics.median(x[phase] / y[phase] for x, y in rounds), 2) for phase in phases},
        "ceiling": round(size * (prompt + completion) / (prompt + size * completion), 2),
        **difference,
        "peak_memory_ratio": round(memory[0] / memory[1], 2),
        "route": both[1].route,
        "peak_memory_mebibytes": dict(zip(medians, (round(x / 2**20) for x in memory), strict=True)),
        "seconds": medians,
        **speed(both[0].model, medians, arguments),
    }


def step(trainer: Any, seed: int) -> dict[str, float]:
    """Take one training step; return its seconds by phase."""
    torch.manual_seed(seed)
    trainer.train()
    return dict(trainer.seconds)


def peak_memory(do: Callable[[], Any]) -> int:
    """Do something, such as a training step; return the bytes it adds at its peak to what is allocated before it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        do()
        return int(torch.cuda.max_memory_allocated() - before)
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget the peak so far
    before = resident("VmRSS")
    do()
    return resident("VmHWM") - before


def resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def differences(both: tuple[Any, Any], arguments: argparse.Namespace) -> dict[str, float]:
    """Compare log-probabilities of random completions and the gradient of their weighted sum."""
    torch.manual_seed(1)
    rows = arguments.num_groups * arguments.group_size
    prompts = torch.randint(NUM_WORDS, (arguments.num_groups, arguments.prompt_tokens))
    completions = torch.randint(NUM_WORDS, (rows, arguments.completion_tokens))
    ids = torch.cat([prompts.repeat_interleave(arguments.group_size, 0), completions], dim=1)
    weights = torch.randn(completions.shape)
    results = []
    for trainer in both:
        model, device = trainer.model.train(), trainer.accelerator.device
        logps, _, _ = trainer._get_per_token_logps_and_entropies(
            model, ids.to(device), torch.ones_like(ids, device=device), arguments.completion_tokens
        )
        (logps * weights.to(device)).sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        model.zero_grad()
        results.append((logps.detach(), gradient))
    (stock_logps, stock_gradient), (logps, gradient) = results
    return {
        "max_abs_logprob_difference": float((logps - stock_logps).abs().max()),
        "gradient_relative_difference": float((gradient - stock_gradient).norm() / stock_gradient.norm()),
    }


def speed(model: Any, seconds: dict[str, dict[str, float]], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return rows' tokens per second of a step, and the share of the matrix rate that the arithmetic of updates is."""
    groups, size = arguments.num_groups, arguments.group_size
    prompt, completion = arguments.prompt_tokens, arguments.completion_tokens
    tokens = {"stock": groups * size * (prompt + completion), "sharing": groups * (prompt + size * completion)}
    # Forward pass, twice as much for the backward pass, and the forward pass again where activations are recomputed.
    operations = (8 if arguments.activation_checkpointing else 6) * sum(p.numel() for p in model.parameters())
    rate = matrix_rate()
    return {
        "tokens_per_second": {name: round(tokens["stock"] / x["step"]) for name, x in seconds.items()},
        "matrix_teraflops": round(rate / 1e12, 4),
        "update_share_of_matrix_rate": {
            name: round(operations * tokens[name] / x["update"] / rate, 3) for name, x in seconds.items()
        },
    }


def matrix_rate() -> float:
    """Return operations per second of a large matrix product in the precision of the measurement."""
    has_gpu = torch.cuda.is_available()
    size, dtype = (8192, torch.bfloat16) if has_gpu else (1024, torch.float32)
    matrix = torch.randn(size, size, dtype=dtype, device="cuda" if has_gpu else "cpu")
    rates = []
    for _ in range(7):
        began = now()
        matrix @ matrix
        rates.append(2 * size**3 / (now() - began))
    return statistics.median(rates)


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "trl_3spo": __version__,
        **{package: importlib.metadata.version(package) for package in ("torch", "transformers", "trl")},
        "platform": platform.platform(),
    }


def commit() -> str | None:
    """Return the commit the code is at, `+` after it where files have changed since."""
    git = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=False).stdout
    return (head + ("+" if changed else "")) or None


if __name__ == "__main__":
    main()
