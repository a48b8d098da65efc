"""What each way of sharing prefixes gains on small and mixed batches, beside what is estimated before it is chosen.

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

from trl_3spo.prefix_sharing.log_probs import outputs_by_cache, outputs_by_tree, packed_rows, shared_prompts_of
from trl_3spo.prefix_sharing.route import CPU, BatchSizes, RouteKind, TreeSizes, best_route, cost

MODELS = {"2 layers of 64": (64, 2), "4 layers of 256": (256, 4)}
GROUPS = [  # group sizes, prompt tokens, completion tokens
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
    ([1] * 16, 128, 8),
]
CONVERSATIONS = [  # episodes, steps of each, new tokens of a step, completion tokens among them
    (1, 6, 20, 5),
    (4, 6, 20, 5),
    (1, 12, 30, 10),
    (2, 12, 120, 20),
]
WAYS: tuple[RouteKind, ...] = ("cache", "tree")
VOCABULARY = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    parser.add_argument("--repeats", type=int, default=7, help="at least 7")
    arguments = parser.parse_args()
    if arguments.repeats < 7:
        parser.error("at least 7 repeats are required")
    torch.set_num_threads(1)
    batches = [(describe_group(x), random_groups(*x), x[-1]) for x in GROUPS]
    batches += [(describe_conversation(x), random_conversations(*x), x[-1]) for x in CONVERSATIONS]
    cases = [
        {"model": name} | about | measure(model, *batch, completion, has_backward, arguments.repeats)
        for name, model in ((name, random_model(*shape)) for name, shape in MODELS.items())
        for about, batch, completion in batches
        for has_backward in (True, False)
    ]
    results = {"cases": cases, "repeats": arguments.repeats, "versions": versions(), "commit": commit()}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


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


def describe_group(case: tuple[list[int], int, int]) -> dict[str, Any]:
    return dict(zip(("groups", "prompt_tokens", "completion_tokens"), case, strict=True))


def describe_conversation(case: tuple[int, int, int, int]) -> dict[str, Any]:
    return dict(zip(("episodes", "steps", "new_tokens", "completion_tokens"), case, strict=True))


def measure(model: Any, ids: Tensor, mask: Tensor, completion: int, has_backward: bool, repeats: int) -> dict[str, Any]:
    prompt = ids.size(1) - completion
    prompts = shared_prompts_of(ids[:, :prompt], mask[:, :prompt])
    tree = TreeSizes(*packed_rows(ids, mask, completion).sizes)
    sizes = BatchSizes(prompts.completions_per_prompt, prompt, completion, tree)
    estimate = partial(cost, sizes=sizes, config=model.config, device=CPU)
    ways = {
        "plain": lambda: plain(model, ids, mask, completion),
        "cache": lambda: outputs_by_cache(model, ids, mask, completion, prompts)[0],
        "tree": lambda: outputs_by_tree(model, ids, mask, completion)[0],
    }
    rounds = [{kind: seconds(way, model, has_backward) for kind, way in ways.items()} for _ in range(repeats + 1)][1:]
    return {
        "has_backward": has_backward,
        "plain_milliseconds": round(1e3 * statistics.median(x["plain"] for x in rounds), 2),
        "gain": {kind: round(statistics.median(x["plain"] / x[kind] for x in rounds), 2) for kind in WAYS},
        "estimated_gain": {kind: round(estimate("plain") / estimate(kind), 2) for kind in WAYS},
        "chosen": best_route(WAYS, sizes, model.config, "cpu"),
        "chosen_with_checkpointing": best_route(("tree",), sizes, model.config, "cpu"),
    }


def random_groups(group_sizes: list[int], prompt: int, completion: int) -> tuple[Tensor, Tensor]:
    prompts = torch.randint(VOCABULARY, (len(group_sizes), prompt)).repeat_interleave(torch.tensor(group_sizes), 0)
    ids = torch.cat([prompts, torch.randint(VOCABULARY, (len(prompts), completion))], dim=1)
    return ids, torch.ones_like(ids)


def random_conversations(num_episodes: int, num_steps: int, new: int, completion: int) -> tuple[Tensor, Tensor]:
    """Return for every step of an episode a row: all of it so far, and the completion that comes next."""
    episodes = torch.randint(VOCABULARY, (num_episodes, num_steps * new))
    size = num_steps * new
    rows = [(episode[: step * new], size - step * new) for episode in episodes for step in range(1, num_steps + 1)]
    ids = torch.stack([torch.nn.functional.pad(row, (padding, 0)) for row, padding in rows])
    return ids, torch.stack([torch.arange(size) >= padding for _, padding in rows]).long()


def plain(model: Any, ids: Tensor, mask: Tensor, completion: int) -> Tensor:
    labels = ids.clone()
    labels[:, :-completion] = -100
    return model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True).log_probs


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
