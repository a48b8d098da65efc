"""What reading and training cost with a model of SmolLM2's shape (135M, random weights), by how much of it is trained.

    python benchmarks/pretrained_costs.py --json benchmarks/results/pretrained_costs.json

Tokens for every processor second of one thread, medians over the repeats, which go through the cases by turns: 2 rows
of 190 tokens. And the rate of one product of matrices of the model's size in float32 and bfloat16.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from provenance import provenance
from throughput import MODELS, random_model

from trl_3spo.tiny import word_tokenizer

SHAPE = "smollm2-135m"
ROWS, TOKENS, COMPLETION = 2, 190, 8
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = random_model(SHAPE, word_tokenizer(["a"]))
    ids = torch.randint(5, 1000, (ROWS, TOKENS))
    seconds = medians({"all weights, logits of all": lambda: train(model, ids, TOKENS)}, arguments.repeats)
    layers = MODELS[SHAPE][2]
    upper = LoraConfig(r=16, lora_alpha=32, target_modules=LINEAR, layers_to_transform=list(range(layers // 2, layers)))
    adapted = get_peft_model(model, upper)
    cases: dict[str, Callable[[], object]] = {
        "reading": lambda: read(model, ids),
        "upper half by LoRA, logits of all": lambda: train(adapted, ids, TOKENS),
        "upper half by LoRA, logits of completions": lambda: train(adapted, ids, COMPLETION),
        "the same, products in bfloat16": lambda: in_bfloat16(lambda: train(adapted, ids, COMPLETION)),
        "reading, products in bfloat16": lambda: in_bfloat16(lambda: read(model, ids)),
    }
    seconds |= medians(cases, arguments.repeats)
    rates = {name: ROWS * TOKENS / spent for name, spent in seconds.items()}
    products = {str(x).removeprefix("torch."): matrix_rate(x) for x in (torch.float32, torch.bfloat16)}
    record: dict[str, Any] = {"tokens_per_processor_second": rates, "matrix_gigaflops": products}
    record |= {"cpu": torch.backends.cpu.get_cpu_capability()} | provenance("torch", "transformers", "peft")
    arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))


def medians(cases: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the processor seconds of each case; the first round warms up."""
    spent: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats + 1):
        for name, case in cases.items():
            began = time.process_time()
            case()
            spent[name].append(time.process_time() - began)
    return {name: statistics.median(values[1:]) for name, values in spent.items()}


def in_bfloat16(case: Callable[[], object]) -> None:
    """Run a case as a trainer with `bf16=True` does: weights in float32, products of matrices in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        case()


@torch.no_grad()
def read(model: Any, ids: torch.Tensor) -> None:
    model(input_ids=ids, logits_to_keep=1)


def train(model: Any, ids: torch.Tensor, num_logits: int) -> None:
    """Compute the gradients of the last so many tokens' log-probabilities."""
    logits = model(input_ids=ids, logits_to_keep=num_logits).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, -num_logits:].flatten()).backward()
    model.zero_grad()


def matrix_rate(dtype: torch.dtype) -> float:
    """Return 10⁹ operations per processor second of one layer's largest product."""
    hidden, inner = MODELS[SHAPE][:2]
    rows, weights = torch.randn(256, hidden, dtype=dtype), torch.randn(inner, hidden, dtype=dtype)
    seconds = medians({"product": partial(torch.nn.functional.linear, rows, weights)}, 7)["product"]
    return 2 * 256 * hidden * inner / seconds / 1e9


if __name__ == "__main__":
    main()
