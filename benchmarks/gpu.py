r"""The first ten minutes on a GPU: speed and memory against stock TRL, bfloat16, 3SPO, vLLM, each with its table.

    python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu.py --json gpu.json --parts numerics train
    python benchmarks/gpu.py --json gpu.json --tiny  # on a CPU, to see that all of it runs

Every part is a process of its own with a limit of its own, and its result is in the file as soon as it has ended: what
fails or is cut off says so and leaves the others alone. Nothing is downloaded; models have random weights.

throughput  Training steps of Qwen2.5's shapes of 0.5B and 1.5B, GRPOTrainer's against ours, by `throughput.py`.
trees       Updates with search trees of growing conversations, by `throughput_tree.py`.
numerics    Log-probabilities in bfloat16 against float32: GRPOTrainer's way, and the ways of sharing prompts.
train       3SPO in small generated ALFWorld games, a model of SmolLM2's shape (135M), until its time is over.
vllm        The same for two updates with vLLM in the trainer's process, where vLLM is installed.

Where packages are missing and nothing can be fetched, bring them along as wheels. At home:

    pip download --dest wheels --only-binary :all: --no-deps --python-version 3.12 --platform manylinux_2_28_x86_64 \
        --platform manylinux2014_x86_64 trl==1.16.0 datasets dill multiprocess pandas pyarrow xxhash

and there `pip install --no-deps --no-index --find-links wheels trl datasets dill multiprocess pandas pyarrow xxhash`.
`pip check` then says whether anything else is missing.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import throughput_tree
import torch
from throughput import NUM_WORDS, commit, measure, random_model, resident, versions
from transformers import TrainerCallback
from trl.import_utils import is_vllm_available
from trl.trainer.utils import add_fused_lm_head

from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.evaluation.policies import load_tokenizer
from trl_3spo.prefix_sharing.log_probs import outputs_by_cache, outputs_by_tree, shared_prompts_of
from trl_3spo.tiny import save_tiny_policy, word_tokenizer

MINUTES = 10
LIMITS = {"throughput": 200, "trees": 120, "numerics": 60, "train": 120, "vllm": 90}
"""Seconds of each part, at most; together less than the ten minutes."""

TRAIN_SECONDS = 45
MEANS = (
    *("seconds/generation", "seconds/environment", "seconds/update", "batch_fill"),
    "sampling/sampling_logp_difference/mean",  # of the engine's log-probabilities and the trainer's
)
SHAPES = ("qwen2.5-0.5b", "qwen2.5-1.5b")
TREES = {SHAPES[0]: [(12, 4, 30), (40, 2, 60), (40, 4, 120)], SHAPES[1]: [(40, 4, 60)]}
"""Steps of a walk, branches and new tokens of a step of the trees that each shape is measured with."""
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HARDWARE = {"use_cpu": DEVICE == "cpu", "bf16": DEVICE == "cuda", "gradient_checkpointing": False}

Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    parser.add_argument("--parts", nargs="+", choices=LIMITS, default=list(LIMITS))
    parser.add_argument("--tiny", action="store_true", help="tiny models and sizes, which a CPU can do")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # a part in its own process
    options = parser.parse_args()
    if options.alone:
        options.json.write_text(json.dumps(PARTS[options.parts[0]](options.tiny)), encoding="utf-8")
    else:
        run_parts(options)


def run_parts(options: argparse.Namespace) -> None:
    """Run the parts one after the other and write the file after each."""
    began = time.monotonic()
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    record = {"tiny": options.tiny, "device": device, "commit": commit(), "versions": versions(), "parts": {}}
    for name in options.parts:
        left = 60 * MINUTES - (time.monotonic() - began)
        part = run_part(name, options.tiny, 600 if options.tiny else min(LIMITS[name], left))
        record["parts"][name] = part
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"\n{name}: {part['seconds']:.0f} s\n\n{table(part['rows'])}", flush=True)


def run_part(name: str, is_tiny: bool, limit: float) -> dict[str, Any]:
    """Return a part's rows, or a row that says why there are none, and the seconds it took."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, __file__, "--json", str(file), "--alone", *["--tiny"] * is_tiny, "--parts", name]
        try:
            ended = subprocess.run(command, timeout=max(limit, 1), capture_output=True, text=True, check=False)
            last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
            rows = json.loads(file.read_text(encoding="utf-8")) if ended.returncode == 0 else [{"error": last}]
        except subprocess.TimeoutExpired:
            rows = [{"error": f"not done within {limit:.0f} seconds"}]
    return {"rows": rows, "seconds": time.monotonic() - began}


def table(rows: Rows) -> str:
    """Return rows of equal keys as Markdown."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    lines += ["| " + " | ".join(cell(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# -- parts -------------------------------------------------------------------------------------------------------------


def throughput(is_tiny: bool) -> Rows:
    """Measure a training step of stock GRPOTrainer and of ours, by turns."""
    sizes = {"prompt_tokens": 1024, "completion_tokens": 64, "num_groups": 4}
    if is_tiny:
        sizes = {"prompt_tokens": 48, "completion_tokens": 4, "num_groups": 1}
    rows = []
    for shape in ("small",) if is_tiny else SHAPES:
        how = {"model": shape, "group_size": 8, "repeats": 7, "activation_checkpointing": False}
        result = measure(argparse.Namespace(**how, **sizes))
        free_memory()
        rows.append(
            {"shape": shape}
            | {f"{name} ratio": result[f"{name}_ratio"] for name in ("step", "generation", "update", "peak_memory")}
            | {f"stock {name}": result[key]["stock"] for name, key in THROUGHPUT_COLUMNS.items()}
            | {f"ours {name}": result[key]["sharing"] for name, key in THROUGHPUT_COLUMNS.items()}
            | {"route": result["route"], "ceiling": result["ceiling"]}
            | {"log-probability difference": result["max_abs_logprob_difference"]}
        )
    return rows


def free_memory() -> None:
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()


def trees(is_tiny: bool) -> Rows:
    """Measure updates with search trees against row by row, GRPOTrainer's episodes, and FlexAttention."""
    rows = []
    for shape, cases in {"small": [(3, 2, 12)]}.items() if is_tiny else TREES.items():
        how = argparse.Namespace(model=shape, repeats=7, updates_only=True, without_rows=False, max_tree_tokens=None)
        for case in cases:
            sizes = dict(zip(throughput_tree.SIZES, case, strict=True))
            result = throughput_tree.measure(how, **sizes)
            memory = result.pop("peak_memory_mebibytes")
            rows.append({"shape": shape} | sizes | result | {f"{name} MiB": x for name, x in memory.items()})
            free_memory()
    return rows


THROUGHPUT_COLUMNS = {
    "tokens/s": "tokens_per_second",
    "MiB": "peak_memory_mebibytes",
    "share of matrix rate": "update_share_of_matrix_rate",
}


def numerics(is_tiny: bool) -> Rows:
    """Compare log-probabilities in bfloat16 with those of float32, each way of computing them."""
    torch.manual_seed(0)
    model = random_model("small" if is_tiny else SHAPES[0], word_tokenizer(["a"])).to(DEVICE).eval()
    add_fused_lm_head(model)
    prompt, completion, groups, size = (16, 4, 2, 3) if is_tiny else (512, 64, 4, 8)
    prompts = torch.randint(NUM_WORDS, (groups, prompt)).repeat_interleave(size, 0)
    ids = torch.cat([prompts, torch.randint(NUM_WORDS, (groups * size, completion))], dim=1).to(DEVICE)
    mask = torch.ones_like(ids)
    shared = shared_prompts_of(ids[:, :prompt], mask[:, :prompt])
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "plain": lambda: plain_logps(model, ids, mask, completion),
        "cache": lambda: outputs_by_cache(model, ids, mask, completion, shared)[0],
        "tree": lambda: outputs_by_tree(model, ids, mask, completion)[0],
        "tree, FlexAttention": lambda: outputs_by_tree(model, ids, mask, completion, uses_flex=True)[0],
    }
    rows = []
    with torch.no_grad():
        exact = ways["plain"]().float()
        for precision in (torch.float32, torch.bfloat16):
            with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == torch.bfloat16):
                for name, way in ways.items():
                    apart = (way().float() - exact).abs()
                    row = {"way": name, "precision": str(precision).removeprefix("torch.")}
                    rows.append(row | {"mean difference": float(apart.mean()), "largest": float(apart.max())})
    return rows


def plain_logps(model: Any, ids: torch.Tensor, mask: torch.Tensor, completion_size: int) -> torch.Tensor:
    """Return (B, C) log-probabilities as GRPOTrainer has them computed: by the fused head, over whole rows."""
    labels = torch.nn.functional.pad(ids[:, 1:], (0, 1), value=-100)
    labels[:, : -completion_size - 1] = -100
    outputs = model(input_ids=ids, attention_mask=mask, shift_labels=labels, fused_lm_head=True)
    logps: torch.Tensor = outputs.log_probs[:, -completion_size - 1 : -1]
    return logps


class TimeLimit(TrainerCallback):
    """Ends a training after some seconds; the first update, which warms up, is not counted."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.began = 0.0

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 1:
            self.began = time.monotonic()
        elif time.monotonic() - self.began >= self._seconds:
            control.should_training_stop = True


def train(is_tiny: bool) -> Rows:
    """Train a model of SmolLM2's shape in games; actions are single tokens, so that it begins by acting at random."""
    seconds = 0 if is_tiny else TRAIN_SECONDS
    return [{"sharing": way} | train_for(is_tiny, seconds, prefix_sharing=way) for way in ("auto", "off")]


def train_for(is_tiny: bool, seconds: float, **changes: Any) -> dict[str, Any]:
    """Return speed and memory of a training that ends after some seconds, or `max_steps` updates."""
    reset_peak_memory()
    sizes = {"num_receptacles": (4, 8), "num_objects": (4, 10), "max_steps": 6 if is_tiny else 20}
    env = AlfworldEnv(generated=64, prompt_format="action", **sizes)
    with tempfile.TemporaryDirectory() as folder:
        save_tiny_policy(env, folder, num_tasks=64)
        tokenizer = load_tokenizer(folder)
        model = random_model("small" if is_tiny else "smollm2-135m", tokenizer)
        model.save_pretrained(folder)
        limit = TimeLimit(seconds)
        options: dict[str, Any] = {
            "output_dir": f"{folder}/run",
            "max_steps": 1000,
            "learning_rate": 1e-5,
            "per_device_train_batch_size": 16 if is_tiny else 96,
            "max_completion_length": 4,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        }
        config = ThreeSPOConfig(**(options | HARDWARE | changes))
        trainer = ThreeSPOTrainer(folder, env, config, processing_class=tokenizer, callbacks=[limit])
        trainer.train()
    log = [entry for entry in trainer.state.log_history if "sampled_actions" in entry][1:]
    spent = max(time.monotonic() - limit.began, 1e-9)
    means = {name: fmean(entry[name] for entry in log if name in entry) for name in MEANS if name in log[-1]}
    return {
        "updates": len(log),
        "actions/s": sum(entry["sampled_actions"] for entry in log) / spent,
        "sampled tokens/s": sum(entry["sampled_tokens"] for entry in log) / spent,
        "peak MiB": round(peak_memory() / 2**20),
    } | means


def reset_peak_memory() -> None:
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak_memory() -> int:
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else resident("VmHWM")


def vllm(is_tiny: bool) -> Rows:
    """Train with vLLM in the trainer's process."""
    if not is_vllm_available():
        return [{"vLLM": "not installed"}]
    if DEVICE == "cpu":
        prepare_vllm_for_a_cpu()
    engine = {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.3, "max_steps": 3}
    return [train_for(is_tiny, 60, **engine)]


def prepare_vllm_for_a_cpu() -> None:
    """Give vLLM 1 GiB, compile nothing, and leave weights as they are: TRL cannot load into those packed for oneDNN."""
    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_CI_ENV": "1"}
    import vllm._custom_ops
    import vllm.model_executor.layers.utils

    vllm._custom_ops._supports_onednn = False
    vllm.model_executor.layers.utils.check_cpu_sgl_kernel = lambda *_: False


PARTS: dict[str, Callable[[bool], Rows]] = {
    "throughput": throughput,
    "trees": trees,
    "numerics": numerics,
    "train": train,
    "vllm": vllm,
}

if __name__ == "__main__":
    main()
