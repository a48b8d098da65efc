"""How often the expert that searches wins within 50 steps: from the start, and wherever others have led.

    python benchmarks/alfworld_expert.py --games FOLDER --json benchmarks/results/alfworld_expert.json

Plays released games, by their split, and generated ones of their size in six situations. The last two are those of
demonstrations whose every choice a prompt supports (`plays_by_prompt`), with the default two past turns. Games that
nobody could win any more when the expert takes over, as the oracle tells, are left out and counted. Prints the tables
of docs/environments.md.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from provenance import provenance

from trl_3spo.environments.alfworld.assignment import SLICED_SENTENCES
from trl_3spo.environments.alfworld.data.files import source_from_path
from trl_3spo.environments.alfworld.expert.expert import SearchExpert
from trl_3spo.environments.alfworld.generation.generator import generate_games
from trl_3spo.environments.alfworld.generation.oracle import assignment_of, oracle_plan
from trl_3spo.environments.alfworld.simulator.game import Game
from trl_3spo.evaluation import EpisodeResult, Interval, summarize

MAX_STEPS = 50
SPLITS = ("valid_seen", "valid_unseen", "train")


class Situation(NamedTuple):
    """Where the expert takes over.

    Args:
        num_random: Random actions before.
        is_told: Whether it reads what these were answered.
        noise: Share of random actions from then on, which count as steps.
        history_length: Past turns by which it plays; `None` for all.
    """

    num_random: int = 0
    is_told: bool = True
    noise: float = 0.0
    history_length: int | None = None


SITUATIONS = {
    "from the start": Situation(),
    "after 15 random actions it has read": Situation(num_random=15),
    "after 15 random actions it has not read": Situation(num_random=15, is_told=False),
    "with 20 % random actions": Situation(noise=0.2),
    "from the start, by the prompt alone": Situation(history_length=2),
    "the same, with 20 % random actions": Situation(noise=0.2, history_length=2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=Path, required=True, help="folder searched for released game.tw-pddl files")
    parser.add_argument("--generated", type=int, default=1200, help="number of games to generate")
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    options = parser.parse_args()
    released = {split: load(options.games, split) for split in SPLITS}
    if not any(released.values()):
        parser.error(f"there are no games of {', '.join(SPLITS)} below {options.games}")
    sets = {f"{len(games)} released, {split}": games for split, games in released.items() if games} | {
        f"{options.generated} generated": generate(options.generated, options.seed),
        f"{options.generated // 4} generated, sliced targets": generate(
            options.generated // 4, options.seed, kinds=list(SLICED_SENTENCES), sliced_share=1.0
        ),
    }
    results = {
        name: {situation: measure(games, SITUATIONS[situation]) for situation in SITUATIONS}
        for name, games in sets.items()
    }
    record = {"results": results, "max_steps": MAX_STEPS, "seed": options.seed} | provenance()
    options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(table(results))


def load(folder: Path, split: str) -> list[Game]:
    paths = sorted(path for path in folder.rglob("game.tw-pddl") if split in path.parts)
    return [source_from_path(path).load() for path in paths]


def generate(count: int, seed: int, **changes: Any) -> list[Game]:
    data = generate_games(count, seed, **changes)
    return [Game(game, kind=game["kind"], parameters=game["parameters"]) for game in data]


def measure(games: Sequence[Game], situation: Situation) -> dict[str, Any]:
    """Return what became of the games."""
    outcomes = [play(game, situation, seed) for seed, game in enumerate(games)]
    results = [outcome for outcome in outcomes if outcome is not None]
    return summarize(results).to_dict() | {"left_out": len(outcomes) - len(results)}


def play(game: Game, situation: Situation, seed: int) -> EpisodeResult | None:
    """Return what became of a game; nothing if it was won or lost before the expert took over."""
    rng = random.Random(seed)
    expert = SearchExpert(assignment_of(game), seed, history_length=situation.history_length)
    state, text = game.initial, game.introduction()
    for _ in range(situation.num_random):
        if situation.is_told:
            expert.observe(text)
        state, text = game.step(state, rng.choice(list(game.admissible(state))))
    if game.is_won(state) or oracle_plan(game, state) is None:
        return None
    num_steps = 0
    while num_steps < MAX_STEPS and not game.is_won(state):
        expert.observe(text)
        action = expert.act(game.admissible(state))
        if rng.random() < situation.noise:
            action = rng.choice(list(game.admissible(state)))
        state, text = game.step(state, action)
        num_steps += 1
    return EpisodeResult(str(seed), assignment_of(game).kind, game.is_won(state), num_steps, 0)


def table(results: dict[str, Any]) -> str:
    """Return success and mean steps as Markdown, and by task type from the start."""
    lines = ["| games | situation | episodes | success | 95 % interval | mean steps |", "|---|---|---|---|---|---|"]
    for name, situations in results.items():
        for situation, result in situations.items():
            lines.append(f"| {name} | {situation} | {cells(result['success'])} | {result['mean_steps']:.1f} |")
    lines += [
        "",
        "| games, by the prompt alone | task type | episodes | success | 95 % interval |",
        "|---|---|---|---|---|",
    ]
    by_prompt = "from the start, by the prompt alone"
    for name, situations in results.items():
        for kind, interval in situations[by_prompt]["success_by_kind"].items():
            lines.append(f"| {name} | {kind} | {cells(interval)} |")
    return "\n".join(lines)


def cells(numbers: dict[str, Any]) -> str:
    interval = Interval(**numbers)
    return f"{interval.num_episodes} | {interval.rate:.1%} | {interval.low:.1%} to {interval.high:.1%}"


if __name__ == "__main__":
    main()
