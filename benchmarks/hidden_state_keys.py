"""What keys from a policy's hidden states would add to the score keys of the environments.

    python benchmarks/hidden_state_keys.py --json benchmarks/results/hidden_state_keys.json

A policy plays, frozen: the demo's starting point, and the same after reinforcement by 3SPO. Its last layer's hidden
state at the end of the prompt is put into clusters (k-means, 16, 64 and 256 of them, found on the first episodes). A
history then observes the episodes one by one. What it predicts of each beforehand is compared with what the base rate
predicts, in nats per visited state: with the environment's keys, with the clusters between the exact state and the time
in their place, and with the 64 clusters beside them. In training clusters would be worth less than here, because a
policy's hidden states move with it.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from compare import WORLDS, make_trainer
from numpy.typing import NDArray
from provenance import provenance
from scipy.cluster.vq import kmeans2, vq
from transformers import AutoModelForCausalLM

from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.algorithm.predictive_gain import PredictiveGain
from trl_3spo.algorithm.records import Episode, Visit
from trl_3spo.environments.base import Environment, Key, Message
from trl_3spo.evaluation import play
from trl_3spo.evaluation.policies import load_policy, load_tokenizer

NUM_FITTED = 48
"""Episodes on which clusters are found; they are not measured."""
NUM_CLUSTERS = (256, 64, 16)


def hidden_states(folder: str, prompts: Sequence[list[Message]]) -> NDArray[np.float32]:
    """Return the last layer's hidden states at the ends of prompts, (number of prompts, width)."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(folder)
    rows = []
    for start in range(0, len(prompts), 64):
        inputs = tokenizer.apply_chat_template(
            prompts[start : start + 64], add_generation_prompt=True, return_dict=True, return_tensors="pt", padding=True
        )
        with torch.inference_mode():
            rows.append(model(**inputs, output_hidden_states=True).hidden_states[-1][:, -1].numpy())
    return np.concatenate(rows)


def cluster_keys(states: NDArray[np.float32], num_fitted: int) -> list[list[Key]]:
    """Return for every row its cluster among many, some and few, found on the first rows."""
    columns = []
    for count in NUM_CLUSTERS:
        centres, _ = kmeans2(states[:num_fitted], count, minit="++", seed=0)
        columns.append([("cluster", count, int(which)) for which in vq(states, centres)[0]])
    return [list(row) for row in zip(*columns, strict=True)]


def with_keys(episode: Episode, keys: Sequence[Sequence[Key]]) -> Episode:
    """Return an episode whose visits go by other score keys."""
    visit: Visit | None = None
    for old, new in zip(episode.end.path(), keys, strict=True):
        observation = replace(old.observation, score_keys=tuple(new))
        visit = replace(old, result=replace(old.result, observation=observation), parent=visit)
    assert visit is not None
    return Episode(visit)


def gains(episodes: Sequence[Episode]) -> dict[str, float]:
    """Return the predictive gains of all score keys and of each alone, in nats per visited state."""
    options = ThreeSPOOptions()
    history = StateHistory(backoff_strength=options.backoff_strength)
    gain = PredictiveGain(history, options.discount)
    sums: dict[str, float] = {}
    for episode in episodes:
        for name, value in gain.of([episode]).items():
            sums[name] = sums.get(name, 0.0) + value * episode.num_steps
        history.observe(episode.worths(options.discount))
    num_states = sum(episode.num_steps for episode in episodes)
    return {name: total / num_states for name, total in sums.items()}


def measure(env: Environment, episodes: Sequence[Episode], folder: str) -> dict[str, Any]:
    """Return success and gains of three chains of keys over the episodes after the first."""
    visits = [visit for episode in episodes for visit in episode.end.path()]
    states = hidden_states(folder, [env.prompt(x.task, x.observation, x.turns()) for x in visits])
    num_fitted = sum(len(episode.end.path()) for episode in episodes[:NUM_FITTED])
    clusters = iter(cluster_keys(states, num_fitted))
    chains: dict[str, list[Episode]] = {"environment": [], "clusters": [], "both": []}
    for episode in episodes:
        own = [visit.observation.score_keys for visit in episode.end.path()]
        found = [next(clusters) for _ in own]
        pairs = list(zip(own, found, strict=True))
        chains["environment"].append(episode)
        chains["clusters"].append(with_keys(episode, [(x[0], *y, x[-1]) for x, y in pairs]))
        chains["both"].append(with_keys(episode, [(*x[:-1], y[1], x[-1]) for x, y in pairs]))
    measured = {name: gains(chain[NUM_FITTED:]) for name, chain in chains.items()}
    success = float(np.mean([episode.success for episode in episodes[NUM_FITTED:]]))
    return {"success": success, "states": len(visits) - num_fitted, "gains": measured}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=800)
    parser.add_argument("--budget", type=int, default=4000, help="sampled actions of the reinforcement")
    arguments = parser.parse_args()
    record = provenance("torch", "transformers", "trl") | {"environments": {}}
    for name in ("alfworld", "webshop"):
        world = WORLDS[name]
        tasks = world.make_tasks(1)
        with TemporaryDirectory() as folder:
            trainer = make_trainer(world, "3spo", 0, arguments.budget, Path(folder) / "run")
            trainer.train()
            trainer.save_model(folder)
            measured = {}
            for policy, path in {"before": str(world.warm_start), "after": folder}.items():
                model = load_policy(path, temperature=1.0, max_completion_length=world.options["max_completion_length"])
                torch.manual_seed(0)
                episodes = play(
                    model.answering(tasks.env), tasks.env, tasks.train[: arguments.episodes], batch_size=128
                )
                measured[policy] = measure(tasks.env, episodes, path)
                print(name, policy, json.dumps(measured[policy], indent=1), flush=True)
        record["environments"][name] = measured
    arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
