"""What each way of sharing prompts gains on small and mixed batches, beside what is estimated before it is chosen.

    python benchmarks/prefix_routes.py --json benchmarks/results/prefix_routes.json

The larger batches are throughput.py's. The plain computation is GRPOTrainer's: TRL's head on whole rows. Every case is
a forward pass, with or without its backward pass; the ways alternate in one process, and seconds are those of one
processor core. Gains are medians over the repeats of plain seconds over a way's seconds; `chosen` is what
prefix_sharing="auto" takes.
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
from throughput import commit, versions
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl.trainer.utils import add_fused_lm_head

from trl_3spo.prefix_sharing.log_probs import SharedPrompts, outputs_by_cache, outputs_by_mask, shared_prompts_of
from trl_3spo.prefix_sharing.route import CPU, BatchSizes, Route, best_route, cost

MODELS = {"2 layers of 64": (64, 2), "4 layers of 256": (256, 4)}
CASES = [  # group sizes, prompt tokens, completion tokens
    ([4], 16, 4),
    ([4], 32, 4),
    ([2], 64, 8),
    ([8], 64, 1),
    ([8], 128, 8),
    ([2, 2, 2, 2], 128, 8),
    ([1, 8, 2, 1, 3], 128, 16),
    ([1, 8, 2, 1, 3], 128, 64),
    ([1, 1, 1, 1, 1, 1, 2, 2], 128, 8),
    ([4, 4], 32, 64),
    ([4], 128, 256),
    ([8], 32, 256),
]
VOCABULARY = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    parser.add_argument("--repeats", type=int, default=7, help="at least 7")
    arguments = parser.parse_args()
    if arguments.repeats < 7:
        parser.error("at least 7 repeats are required")
    torch.set_num_threads(1)
    cases = [
        {"model": name} | measure(model, *case, has_backward=has_backward, repeats=arguments.repeats)
        for name, model in ((name, random_model(*shape)) for name, shape in MODELS.items())
        for case in CASES
        for has_backward in (True, False)
    ]
    results = {"cases": cases, "repeats": arguments.repeats, "versions": versions(), "commit": commit()}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def random_model(hidden_size: int, num_layers: int) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=hidden_size // 32,
        num_key_value_heads=hidden_size // 64,
    )
    model = Qwen2ForCausalLM(config).train()
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    return model


def measure(
    model: Any, group_sizes: list[int], prompt: int, completion: int, *, has_backward: bool, repeats: int
) -> dict[str, Any]:
    ids = random_rows(group_sizes, prompt, completion)
    mask, prompts = torch.ones_like(ids), shared_prompts_of(ids[:, :prompt], torch.ones_like(ids[:, :prompt]))
    sizes = BatchSizes(group_sizes, prompt, completion)
    estimate = partial(cost, sizes=sizes, config=model.config, device=CPU)
    routes = {"cache": Route("cache"), "mask": best_mask(sizes, model.config)}
    ways = {"plain": partial(plain, completion=completion)} | {
        kind: partial(shared, route=route, completion=completion, prompts=prompts) for kind, route in routes.items()
    }
    rounds = [
        {kind: seconds(partial(way, model, ids, mask), model, has_backward) for kind, way in ways.items()}
        for _ in range(repeats + 1)
    ][1:]
    return {
        "groups": group_sizes,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "has_backward": has_backward,
        "plain_milliseconds": round(1e3 * statistics.median(x["plain"] for x in rounds), 2),
        "gain": {kind: round(statistics.median(x["plain"] / x[kind] for x in rounds), 2) for kind in routes},
        "estimated_gain": {
            kind: round(estimate(Route("plain")) / estimate(route), 2) for kind, route in routes.items()
        },
        "completions_per_row": routes["mask"].completions_per_row,
        "chosen": best_route(("cache", "mask"), sizes, model.config, "cpu").kind,
        "chosen_with_checkpointing": best_route(("mask",), sizes, model.config, "cpu").kind,
    }


def best_mask(sizes: BatchSizes, config: Any) -> Route:
    return best_route(("mask",), sizes, config, "cpu", min_saving=-float("inf"))


def random_rows(group_sizes: list[int], prompt: int, completion: int) -> Tensor:
    prompts = torch.randint(VOCABULARY, (len(group_sizes), prompt)).repeat_interleave(torch.tensor(group_sizes), 0)
    return torch.cat([prompts, torch.randint(VOCABULARY, (len(prompts), completion))], dim=1)


def plain(model: Any, ids: Tensor, mask: Tensor, *, completion: int) -> Tensor:
    labels = ids.clone()
    labels[:, :-completion] = -100
    return model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True).log_probs


def shared(model: Any, ids: Tensor, mask: Tensor, *, route: Route, completion: int, prompts: SharedPrompts) -> Tensor:
    if route.kind == "cache":
        return outputs_by_cache(model, ids, mask, completion, prompts)[0]
    return outputs_by_mask(model, ids, mask, completion, prompts, route.completions_per_row)[0]


def seconds(forward: Callable[[], Tensor], model: Any, has_backward: bool) -> float:
    model.zero_grad()
    began = time.process_time()
    with torch.set_grad_enabled(has_backward):
        logps = forward()
    if has_backward:
        logps.sum().backward()
    return time.process_time() - began


if __name__ == "__main__":
    main()
