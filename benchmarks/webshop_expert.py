"""How often the expert that shops by reading buys what is wanted, within 15 steps.

    python benchmarks/webshop_expert.py --json benchmarks/results/webshop_expert.json

Plays different goals of generated catalogues, all of which can be reached. With noise, any admissible action but a
purchase takes the place of the expert's at that share of the steps.
"""

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from alfworld_speed import provenance

from trl_3spo.environments.base import Task, Turn
from trl_3spo.environments.webshop import WebShopEnv, World
from trl_3spo.environments.webshop.catalogue.catalogue import generate_catalogue, write_catalogue
from trl_3spo.environments.webshop.expert.expert import ShoppingExpert
from trl_3spo.evaluation import EpisodeResult, summarize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    parser.add_argument("--episodes", type=int, default=1000, help="per row, as far as there are goals")
    arguments = parser.parse_args()
    bundled = World.bundled()
    rows = {
        "bundled catalogue": WebShopEnv(bundled, split=None),
        "the same, mode compat": WebShopEnv(bundled, split=None, mode="compat"),
        "human goals": WebShopEnv(make_world(480, human=True), split=None),
        "1,000 products": WebShopEnv(make_world(1_000), split=None),
        "10,000 products": WebShopEnv(make_world(10_000), split=None),
    }
    results = {name: measure(env, arguments.episodes) for name, env in rows.items()}
    results["bundled catalogue, 20 % noise"] = measure(rows["bundled catalogue"], arguments.episodes, noise=0.2)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({"results": results} | provenance(), indent=2) + "\n", encoding="utf-8")
    print("| goals of | episodes | success | 95 % interval | steps |\n|---|---|---|---|---|")
    for name, row in results.items():
        rate, low, high, num_episodes = row["success"].values()
        print(f"| {name} | {num_episodes} | {rate:.1%} | {low:.1%} to {high:.1%} | {row['mean_steps']:.1f} |")


def make_world(num_products: int, *, human: bool = False) -> World:
    with tempfile.TemporaryDirectory() as folder:
        paths = write_catalogue(generate_catalogue(num_products), folder)
        return World.from_files(*paths[: 2 + human])


def measure(env: WebShopEnv, num_episodes: int, noise: float = 0.0) -> dict[str, Any]:
    rng = random.Random(0)
    tasks = rng.sample(env.tasks(), min(num_episodes, len(env.tasks())))
    return summarize([play(env, task, noise, rng) for task in tasks]).to_dict()


def play(env: WebShopEnv, task: Task, noise: float, rng: random.Random) -> EpisodeResult:
    expert = ShoppingExpert(env.max_steps)
    observation, result = env.reset(task), None
    turns: list[Turn] = []
    while result is None or not result.is_final:
        action = expert.act(observation, turns)
        others = [other for other in observation.admissible_actions if other != "click[buy now]"]
        if others and rng.random() < noise:
            action = rng.choice(others)
        turns.append(Turn(observation.text, action))
        result = env.step(action)
        observation = result.observation
    return EpisodeResult(task.id, task.kind, result.success, len(turns), 0)


if __name__ == "__main__":
    main()
