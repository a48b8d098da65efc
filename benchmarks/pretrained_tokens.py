"""How many tokens a step of `examples/pretrained.py`'s games takes, by the form of the prompt.

    python benchmarks/pretrained_tokens.py --json benchmarks/results/pretrained_tokens.json

`row` counts a step as a row of its own, with its whole prompt. `once` counts every token of an episode once, as
imitation by whole episodes does, and training by a tree. The expert's episodes, with SmolLM2's tokenizer and template.
"""

import argparse
import json
import sys
from itertools import product
from pathlib import Path
from typing import Any

from provenance import provenance

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from pretrained_imitation import sequences
from pretrained_model import smollm2
from pretrained_worlds import World, games

from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.evaluation.policies import load_tokenizer

NUM_EPISODES = 100


def num_tokens(world: World, tokenizer: Any) -> dict[str, float]:
    """Return the tokens of a step, prompt and answer."""
    steps = list(world.demonstrate(world.shown[:NUM_EPISODES]))
    as_rows, as_episodes = ([*sequences([step], tokenizer)] for step in steps), sequences(steps, tokenizer)
    rows = sum(len(row["input_ids"]) for (row,) in as_rows)
    once = sum(len(sequence["input_ids"]) for sequence in as_episodes)
    return {"row": round(rows / len(steps), 1), "once": round(once / len(steps), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "trl_3spo", help="for the model")
    arguments = parser.parse_args()
    tokenizer = load_tokenizer(str(smollm2(arguments.cache)))
    world = games("action", 64)
    assert isinstance(world.env, AlfworldEnv)
    world.env.history_length = 1
    results = {}
    for style, lists_actions in product(("window", "conversation"), (True, False)):
        world.env.prompt_style, world.env.shows_admissible_actions = style, lists_actions
        results[f"{style}, {'with' if lists_actions else 'without'} actions"] = num_tokens(world, tokenizer)
    record = {"tokens_of_a_step": results, "episodes": NUM_EPISODES} | provenance("transformers")
    arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
