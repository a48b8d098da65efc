r"""A search tree of growing conversations: what it costs when every distinct token is computed once.

    python benchmarks/throughput.py --tree --steps 40 --branches 2 --new-tokens 60 --repeats 7 --json FILE
    python benchmarks/throughput.py --tree --steps 12 40 --branches 1 2 4 --new-tokens 30 120 --repeats 7 --json FILE

A tree is a walk of so many steps and further walks that branch off at equal distances on it, each to the end. A step
adds so many tokens to the conversation, a third of which are the policy's. Three trainers in one process, of equal
weights, take turns; the learning rate is 0, so that every update is the same.

- tree: `PrefixSharingTrainer` as it is; a step of a walk is a row, all rows are one trie.
- rows: the same without tries and kept prefixes, which is how commit e9b7b57 computed them: a row is computed by
  itself, or from the expanded keys and values of its prompt. Rows go through the model in parts, for their memory.
- stock: GRPOTrainer's own way with many turns: a walk is one row, in which the environment's tokens are masked. The
  same actions are trained on, but what walks have in common is computed in each of them.

- flex: on a GPU, the tree with FlexAttention in place of SDPA in blocks.
- bounded: with `--max-tree-tokens`, the tree in tries of at most so many tokens, whose activations are computed twice.

Rows of long conversations take long: `--without-rows` leaves them out.

With `--updates-only` the policy's tokens are drawn at random too and the optimizer is SGD, so that a GPU measures
large shapes in minutes.

`update` is forward pass, backward pass and optimizer, `generation` is sampling all walks step by step, `step` is both.
Ratios are the other trainer's seconds over the tree's, medians over the repeats; seconds are those of one processor
core, or of the clock on a GPU. `tokens_computed_per_distinct` counts what an update puts through the model, and
`peak_memory_mebibytes` is what an update adds at its peak.
"""

import argparse
import itertools
import json
import statistics
import tempfile
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from throughput import (
    NUM_WORDS,
    SharingTrainer,
    StockTrainer,
    Timed,
    commit,
    now,
    peak_memory,
    random_model,
    varied_reward,
    versions,
)
from torch.nn.utils.rnn import pad_sequence
from tree_walks import Row, draw_walks, episode_of, num_distinct, rows_of, sample_walks, starts_of
from trl import GRPOConfig

from trl_3spo.prefix_sharing.config import PrefixSharingConfig
from trl_3spo.prefix_sharing.trainer import PrefixSharingTrainer
from trl_3spo.tiny import word_tokenizer

SIZES = ("steps", "branches", "new_tokens")
ROWS_AT_ONCE = 16
"""Rows of the way without tries that go through the model together."""


class RowsTrainer(Timed, PrefixSharingTrainer):
    """The trainer without tries."""

    def _obstacles(self, model: Any, *, is_checkpointing: bool) -> Any:
        return super()._obstacles(model, is_checkpointing=is_checkpointing) | {"tree": "it is left out here"}


def main(arguments: argparse.Namespace) -> None:
    cases = [dict(zip(SIZES, x, strict=True)) for x in itertools.product(*(vars(arguments)[name] for name in SIZES))]
    about = {"model": arguments.model, "repeats": arguments.repeats, "versions": versions(), "commit": commit()}
    known = (
        json.loads(arguments.json.read_text(encoding="utf-8"))["cells"]
        if arguments.json.exists() and len(cases) > 1
        else []
    )
    for case in cases:
        if not any(case.items() <= cell.items() for cell in known):
            known.append(case | measure(arguments, **case))
            results = known[0] if len(cases) == 1 else {"cells": known}
            arguments.json.write_text(json.dumps(results | about, indent=2) + "\n", encoding="utf-8")
            print(json.dumps(known[-1]), flush=True)


def measure(arguments: argparse.Namespace, steps: int, branches: int, new_tokens: int) -> dict[str, Any]:
    answer = new_tokens // 3
    shown = new_tokens - answer
    starts = starts_of(steps, branches)
    with tempfile.TemporaryDirectory() as folder:
        optimizer = "sgd" if arguments.updates_only else "adamw_torch"
        trainers = make_trainers(arguments.model, folder, answer, optimizer, arguments.max_tree_tokens)
        if arguments.without_rows:
            del trainers["rows"]
        draw = draw_walks if arguments.updates_only else partial(sample_walks, trainers["tree"])
        walks = draw(starts, steps, shown, answer, seed=0)
        batch = rows_of(walks, starts)
        episodes = [[episode_of(walk)] for walk in walks]
        parts = {"rows": [batch[i : i + ROWS_AT_ONCE] for i in range(0, len(batch), ROWS_AT_ONCE)], "stock": episodes}
        tensors = {name: [tensors_of(x, trainers[name]) for x in parts.get(name, [batch])] for name in trainers}
        numbers = differences(trainers["tree"], trainers["rows"], batch) if "rows" in trainers else {}
        updates = {name: partial(update, trainers[name], tensors[name]) for name in trainers}
        numbers["tokens_computed_per_distinct"] = computed(trainers["tree"], updates["tree"]) / num_distinct(batch)
        memory = {name: round(peak_memory(do) / 2**20) for name, do in updates.items()}
        samplings = {
            f"{name} sampling": partial(sample_walks, trainers[name], starts, steps, shown, answer)
            for name in ("tree", "rows")
            if name in trainers and not arguments.updates_only
        }
        seconds: dict[str, list[float]] = {name: [] for name in (*updates, *samplings)}
        for i in range(arguments.repeats + 1):
            for some in (updates, {name: partial(sampling, seed=i) for name, sampling in samplings.items()}):
                for name in (list(some), list(some)[::-1])[i % 2]:
                    seconds[name].append(timed(some[name]))
    about = {"rows": len(batch), "distinct_tokens": num_distinct(batch), "peak_memory_mebibytes": memory}
    return numbers | ratios({name: values[1:] for name, values in seconds.items()}) | about


def make_trainers(model: str, folder: str, answer: int, optimizer: str, max_tree_tokens: int | None) -> dict[str, Any]:
    tokenizer = word_tokenizer([" ".join(f"w{i}" for i in range(NUM_WORDS))])
    has_gpu = torch.cuda.is_available()
    settings = {
        "output_dir": folder,
        "use_cpu": not has_gpu,
        "bf16": has_gpu,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 2,
        "num_generations": 2,
        "max_completion_length": answer,
        "generation_kwargs": {"min_new_tokens": answer},
        "learning_rate": 0.0,
        "optim": optimizer,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    kinds: dict[str, tuple[Any, Any]] = {
        # On a GPU the estimates that "auto" goes by are what this measures.
        "tree": (SharingTrainer, PrefixSharingConfig(**settings, prefix_sharing="tree" if has_gpu else "auto")),
        "rows": (RowsTrainer, PrefixSharingConfig(**settings, prefix_sharing="auto", kept_prefixes_gib=0.0)),
        "stock": (StockTrainer, GRPOConfig(**settings)),
    }
    if has_gpu:
        flexible = PrefixSharingConfig(**settings, prefix_sharing="tree", tree_attention="flex")
        kinds["flex"] = (SharingTrainer, flexible)
    if max_tree_tokens:
        bounded = PrefixSharingConfig(**settings, prefix_sharing="tree", max_tree_tokens=max_tree_tokens)
        kinds["bounded"] = (SharingTrainer, bounded)
    made = {
        name: kind(
            random_model(model, tokenizer),
            varied_reward,
            args=config,
            train_dataset=Dataset.from_list([{"prompt": "w1 w2"}]),
            processing_class=tokenizer,
        )
        for name, (kind, config) in kinds.items()
    }
    for trainer in made.values():
        trainer.create_optimizer()
        trainer.current_gradient_accumulation_steps = 1
        trainer.model.train()
    return made


# -- measuring ---------------------------------------------------------------------------------------------------------


def tensors_of(rows: list[Row], trainer: Any) -> dict[str, Any]:
    """Return rows as a batch of GRPOTrainer."""
    device = trainer.accelerator.device

    def padded(values: list[list[int]], side: str) -> torch.Tensor:
        return pad_sequence([torch.tensor(x) for x in values], True, 0, side).to(device)

    prompts, completions, own = (list(x) for x in zip(*rows, strict=True))
    return {
        "prompt_ids": padded(prompts, "left"),
        "prompt_mask": padded([[1] * len(x) for x in prompts], "left"),
        "completion_ids": padded(completions, "right"),
        "completion_mask": padded([[1] * len(x) for x in completions], "right"),
        "tool_mask": padded(own, "right"),
        "advantages": torch.tensor([1.0 + sum(x) % 7 for x in completions], device=device),
        "num_items_in_batch": torch.tensor(sum(map(sum, own)), device=device),
    }


def update(trainer: Any, batches: list[dict[str, Any]]) -> None:
    for batch in batches:
        trainer.accelerator.backward(trainer.compute_loss(trainer.model, batch))
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()


def timed(do: Any) -> float:
    began = now()
    do()
    return now() - began


def computed(trainer: Any, do: Any) -> int:
    """Return how many positions go through the model."""
    seen: list[int] = []
    embeddings = trainer.model.get_input_embeddings()
    hook = embeddings.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].numel()))
    do()
    hook.remove()
    return sum(seen)


def differences(tree: Any, rows: Any, batch: list[Row]) -> dict[str, float]:
    """Return how far apart log-probabilities and gradients are, computed as a tree and row by row."""
    logps, gradients = [], []
    for trainer, parts in (
        (tree, [batch]),
        (rows, [batch[i : i + ROWS_AT_ONCE] for i in range(0, len(batch), ROWS_AT_ONCE)]),
    ):
        found = []
        for part in parts:
            inputs = tensors_of(part, trainer)
            ids, mask = (torch.cat([inputs[f"prompt_{x}"], inputs[f"completion_{x}"]], 1) for x in ("ids", "mask"))
            values = trainer._get_per_token_logps_and_entropies(
                trainer.model, ids, mask, inputs["completion_ids"].size(1)
            )[0]
            (values * inputs["advantages"][:, None]).sum().backward()
            found.append(values.detach())
        logps.append(torch.cat(found))
        gradients.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]))
        trainer.optimizer.zero_grad()
    return {
        "max_abs_logprob_difference": float((logps[0] - logps[1]).abs().max()),
        "gradient_relative_difference": float((gradients[0] - gradients[1]).norm() / gradients[1].norm()),
    }


def ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    def median(one: list[float], other: list[float]) -> float:
        return round(statistics.median(a / b for a, b in zip(one, other, strict=True)), 2)

    numbers = {
        "update_ratio" if name == "rows" else f"update_ratio_to_{name}": median(seconds[name], seconds["tree"])
        for name in ("rows", "stock", "flex", "bounded")
        if name in seconds
    }
    numbers["update_seconds"] = round(statistics.median(seconds["tree"]), 4)
    if "rows sampling" in seconds:
        steps = {
            name: [a + b for a, b in zip(seconds[name], seconds[f"{name} sampling"], strict=True)]
            for name in ("tree", "rows")
        }
        numbers["generation_ratio"] = median(seconds["rows sampling"], seconds["tree sampling"])
        numbers["step_ratio"] = median(steps["rows"], steps["tree"])
    if "tree sampling" in seconds:
        numbers["generation_seconds"] = round(statistics.median(seconds["tree sampling"]), 3)
    return numbers
