"""Run what a GPU machine would train with, on CPUs: vLLM as the engine; FSDP2, ZeRO-2 and ZeRO-3 on two processes.

    make engines        # builds the two environments, then: python benchmarks/engines.py --json FILE

FSDP2 and DeepSpeed start by `trl-3spo config` and `accelerate launch`. Accelerate shards on accelerators only, so
engines_rank.py calls two CPU processes some; everything after that is accelerate's, PyTorch's and DeepSpeed's own.
Compared are the parameters after four updates with DDP's, and with KL, activation checkpointing and accumulation, and
LoRA with KL after two. Then one of the two ranks is killed in the third update and the same command is run again:
`resume_bitwise` says whether it ends with the weights of the run that nobody killed. All models are read by plain
transformers.

vLLM (engines_vllm.py) runs in an environment of its own, since its versions exclude the newest transformers.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from engines_rank import CASES, SpokenCorridor
from provenance import provenance
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from trl_3spo.tiny import tiny_model, word_tokenizer

HERE = Path(__file__).parent
FILES = {"fsdp2": "fsdp2.yaml", "zero2": "zero2.yaml", "zero3": "zero3.yaml"}
UNKILLED = [case for case in CASES if case != "killed"]
PATIENCE = {"vllm": 7200.0}
"""Seconds after which a program is taken for hanging, else 600: vLLM's has many cases."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=["vllm", *FILES], default=["vllm", *FILES])
    parser.add_argument("--vllm-python", default=".venv-vllm/bin/python", help="interpreter of vLLM's environment")
    parser.add_argument("--cases", nargs="+", help="of vLLM's part, those to measure; the file keeps the others")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    origin = provenance("torch", "transformers", "trl", "accelerate", "peft")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "vllm" in arguments.parts:
            results["vllm"] = origin | measured_vllm(arguments, folder / "vllm.json")
        if names := [name for name in FILES if name in arguments.parts]:
            results |= {name: origin | measured for name, measured in measured_shards(folder, names).items()}
    print(json.dumps(results, indent=2))
    if arguments.json is not None:
        # Parts that are not measured now stay as they were; each says itself where it comes from.
        earlier = json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.json.exists() else {}
        arguments.json.write_text(json.dumps(earlier | results, indent=2) + "\n", encoding="utf-8")


def measured_vllm(arguments: argparse.Namespace, file: Path) -> dict[str, Any]:
    """Run vLLM's part in its own environment; of some cases, beside what was measured of the others."""
    python = arguments.vllm_python
    if not Path(python).exists():
        sys.exit(f"There is no {python}; `make .venv-vllm/stamp` builds vLLM's environment. Or choose other --parts.")
    chosen = ["--cases", *arguments.cases] if arguments.cases else []
    if chosen and arguments.json is not None and arguments.json.exists():
        earlier = json.loads(arguments.json.read_text(encoding="utf-8"))
        file.write_text(json.dumps(earlier.get("vllm", {})), encoding="utf-8")
    run([python, str(HERE / "engines_vllm.py"), "--json", str(file), *chosen], "vllm")
    measured: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return measured


def measured_shards(folder: Path, names: list[str]) -> dict[str, Any]:
    """Train by DDP, and by each way of sharding; return how far they are from each other."""
    for name in ("ddp", *names):
        save_model(folder / name)
    launch(folder / "ddp", "ddp.yaml", UNKILLED)
    results = {}
    for name in names:
        launch(folder / name, FILES[name], UNKILLED)
        launch(folder / name, FILES[name], ["killed"], ends_well=False)
        launch(folder / name, FILES[name], ["killed"])
        results[name] = compared(folder / name, folder / "ddp")
    return results


def save_model(folder: Path) -> None:
    """Save a small model and the tokenizer of its world."""
    env = SpokenCorridor(length=4)
    prompts = [env.prompt(task, env.reset(task), [])[0]["content"] for task in env.tasks()]
    tokenizer = word_tokenizer([*prompts, "left right open cellar place 0 1 2 3 4 5 6 7 8 9"])
    tiny_model(tokenizer, num_heads=2, initializer_range=0.15).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def launch(folder: Path, file: str, cases: list[str], *, ends_well: bool = True) -> None:
    """Start two ranks as a user would."""
    config = HERE.parent / "trl_3spo" / "configurations" / "accelerate" / file
    options = ["--config_file", str(config), "--num_processes", "2", "--mixed_precision", "no"]
    program = [str(HERE / "engines_rank.py"), str(folder), *cases]
    run([sys.executable, "-m", "accelerate.commands.launch", *options, *program], folder.name, ends_well=ends_well)


def run(command: list[str], name: str, *, ends_well: bool = True) -> None:
    """Run a program to its end and show what it said if that was another one than expected."""
    began = time.perf_counter()
    env = os.environ | {"DS_ACCELERATOR": "cpu", "PYTHONPATH": str(HERE.parent)}
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE.get(name, 600.0))
    print(f"{name}: {' '.join(command[-4:])} {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    if (result.returncode == 0) != ends_well:
        sys.exit(f"{' '.join(command)} ended with {result.returncode}:\n{result.stdout[-3000:]}{result.stderr[-6000:]}")


def compared(folder: Path, ddp: Path) -> dict[str, Any]:
    """Compare what a way of sharding has left in its folder with DDP's, and with itself unkilled."""
    seen, reference = seen_by(folder / "plain"), seen_by(ddp / "plain")
    again = seen_by(folder / "killed")
    plain, resumed = weights(folder / "plain"), weights(folder / "killed")
    return {
        "layout": seen[0]["layout"],
        "share_of_parameters_held": seen[0]["local_numbers"] / reference[0]["local_numbers"],
        "same_batches": [x["batches"] for x in seen] == [x["batches"] for x in reference],
        "same_evaluation": [x["evaluation"] for x in seen] == [x["evaluation"] for x in reference],
        "evaluation_of_one_task": [x["one_task"] for x in seen] == [1, 1],
        "max_abs_parameter_change_by_training": difference(plain, weights(folder, name="")),
        "max_abs_parameter_difference": difference(plain, weights(ddp / "plain")),
        "kl_checkpointing_accumulation": difference(weights(folder / "kl"), weights(ddp / "kl")),
        "lora_kl": difference(adapter(folder / "lora"), adapter(ddp / "lora")),
        "resume_bitwise": all(torch.equal(resumed[name], plain[name]) for name in plain),
        "resumed_batches": [x["batches"] for x in again] == [x["batches"][2:] for x in seen],
    }


def seen_by(folder: Path) -> list[dict[str, Any]]:
    """Return what each rank has told."""
    return [json.loads((folder / f"seen_{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]


def weights(folder: Path, name: str = "final") -> dict[str, torch.Tensor]:
    """Return the weights of a saved model, as transformers reads them."""
    model, report = AutoModelForCausalLM.from_pretrained(folder / name, output_loading_info=True)
    assert not report["missing_keys"], report
    assert not report["unexpected_keys"], report
    return dict(model.named_parameters())


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a saved adapter."""
    return load_file(folder / "final" / "adapter_model.safetensors")


def difference(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """Return the largest absolute difference of weights of the same names."""
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


if __name__ == "__main__":
    main()
