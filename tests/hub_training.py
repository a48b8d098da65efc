"""Trains and pushes in a process for which the stand-in is the Hub, and loads back what is there: `python … FOLDER`."""

import contextlib
import io
import json
import logging
import re
import sys
from pathlib import Path

import peft
from huggingface_hub import HfApi, hf_hub_download
from transformers import AutoModelForCausalLM, AutoTokenizer

from training import config_for, corridor_trainer, tokenizer_for, untrained
from trl_3spo import ThreeSPOTrainer, cli
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.evaluation.policies import evaluate_checkpoint, load_policy

STRATEGIES = ("end", "every_save", "checkpoint", "all_checkpoints")
ENV = CorridorEnv(length=4)
WORLD = ("--environment", "trl_3spo.environments.corridor:CorridorEnv", "--environment_options", "length=4")


def settings(strategy):
    """Return options with a checkpoint after each of two steps and an evaluation before and after."""
    return {
        "max_steps": 2,
        "save_strategy": "steps",
        "save_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "eval_on_start": True,
        "push_to_hub": True,
        "hub_strategy": strategy,
        "hub_model_id": f"somebody/{strategy}",
        "hub_always_push": True,
    }


def push(folder, strategy):
    """Train, push at the end as `trl-3spo train` does, and return what the policy answers before."""
    trainer = corridor_trainer(folder / strategy, env=ENV, hub_license="apache-2.0", **settings(strategy))
    trainer.train()
    trainer.push_to_hub()
    messages, _ = trainer.example
    return answers(str(folder / strategy), messages) | {
        "messages": messages,
        "evaluation": trainer.evaluation.to_dict(),
        "panel": trainer.evaluation.panel,
    }


def push_adapter(folder, base, strategy):
    """Train an adapter of a base, push it, and return what was said, and its answers if its base has a name."""
    config = config_for(folder / "adapters" / strategy, **settings(strategy) | {"hub_strategy": "checkpoint"})
    lora = peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger("trl_3spo").addHandler(handler)
    trainer = ThreeSPOTrainer(base, ENV, config, processing_class=tokenizer_for(ENV), peft_config=lora)
    logging.getLogger("trl_3spo").removeHandler(handler)
    trainer.train()
    trainer.push_to_hub()
    messages, _ = trainer.example
    return {"said": said.getvalue()} | answers(config.output_dir, messages) | {"messages": messages}


def answers(model, messages):
    """Return a prompt's tokens by AutoTokenizer, the likeliest next one, and the policy's answer."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, return_tensors="pt")
    logits = AutoModelForCausalLM.from_pretrained(model)(**ids).logits[0, -1]
    answer = load_policy(model)([messages])[0]
    return {"ids": ids["input_ids"][0].tolist(), "next": int(logits.argmax()), "answer": answer}


def printed_by_the_card(repo):
    """Run the code of a card as it stands there, and return what it prints."""
    card = Path(hf_hub_download(repo, "README.md")).read_text(encoding="utf-8")
    names, output = {}, io.StringIO()
    with contextlib.redirect_stdout(output):
        for block in re.findall(r"```python\n(.*?)```", card, re.DOTALL):
            exec(block, names)
    return output.getvalue()


def answer_sizes(repo, folder):
    """Push another policy.json, and return the limits on answers of the commit before and of the latest.

    The last two are the same by the command line.
    """
    api = HfApi()
    before = api.model_info(repo).sha
    settings = json.dumps({"format": 1, "max_completion_length": 3}).encode()
    api.upload_file(path_or_fileobj=settings, path_in_repo="policy.json", repo_id=repo)
    sizes = [load_policy(repo, revision=x).settings.max_completion_length for x in (before, None)]
    for revision in (["--revision", before], []):
        cli.main(["evaluate", "--model", repo, *WORLD, *revision, "--json", str(folder / "result.json")])
        sizes.append(json.loads((folder / "result.json").read_text())["policy"]["max_completion_length"])
    return sizes


def main(folder):
    """Do all of it, and write what was found to `found.json`."""
    found = {}
    for strategy in STRATEGIES:
        pushed = push(folder, strategy)
        found[strategy] = {"pushed": pushed, "loaded": answers(f"somebody/{strategy}", pushed["messages"])}
    tokenizer = tokenizer_for(ENV)
    untrained(tokenizer).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    untrained(tokenizer).push_to_hub("somebody/base")
    tokenizer.push_to_hub("somebody/base")
    for name, base in {"named": "somebody/base", "unnamed": str(folder / "base")}.items():
        found[name] = {"pushed": push_adapter(folder, base, name)}
    found["named"]["loaded"] = answers("somebody/named", found["named"]["pushed"]["messages"])
    found["printed"] = {repo: printed_by_the_card(repo) for repo in ("somebody/end", "somebody/named")}
    found["evaluation"] = evaluate_checkpoint("somebody/end", ENV).to_dict()
    found["revisions"] = answer_sizes("somebody/end", folder)
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
