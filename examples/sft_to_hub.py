"""From SFT to 3SPO to the Hub, on a laptop CPU and without a download, as docs/sft_to_hub.md explains.

python examples/sft_to_hub.py
"""

import argparse
from pathlib import Path

from datasets import Dataset
from huggingface_hub import HfApi, ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.expert.demonstrations import demonstrate

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output_dir", type=Path, default=Path("runs/sft_to_hub"))
parser.add_argument("--share", type=float, default=1.0, help="share of all games and updates; less is a quick try")
parser.add_argument("--demonstrations", type=int, default=30, help="games that the expert shows, at most 200")
options = parser.parse_args()

num_games, num_unseen, num_shown, num_train, num_updates = (
    round(options.share * number) for number in (800, 200, options.demonstrations, 400, 24)
)
env = AlfworldEnv(
    generated=num_games,
    seed=11,
    num_receptacles=(4, 8),
    num_objects=(4, 10),
    max_steps=20,
    prompt_format="action",
    history_length=3,
)
tasks = env.tasks()
unseen, shown, train = tasks[:num_unseen], tasks[num_unseen:][:num_shown], tasks[-num_train:]
steps = Dataset.from_list(list(demonstrate(env, shown, plays_by_prompt=True)))
print(f"The expert played {len(shown)} games in {len(steps)} steps. Its first step:")
print(steps[0]["prompt"][0]["content"])
print("->", steps[0]["completion"][0]["content"])

BASE = Path(__file__).parent / "warm_start" / "alfworld"  # or the name of a model on the Hub
CPU = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "disable_tqdm": True}
model = AutoModelForCausalLM.from_pretrained(BASE)
tokenizer = AutoTokenizer.from_pretrained(BASE)
sft_config = SFTConfig(
    output_dir=str(options.output_dir / "_sft"),  # the underscore keeps it off the Hub
    num_train_epochs=1,
    per_device_train_batch_size=32,
    learning_rate=3e-4,
    logging_steps=4,
    save_strategy="no",
    **CPU,
)
SFTTrainer(model, args=sft_config, train_dataset=steps, processing_class=tokenizer).train()

config = ThreeSPOConfig(
    output_dir=str(options.output_dir),
    max_steps=num_updates,
    learning_rate=6e-4,
    per_device_train_batch_size=192,
    max_completion_length=10,  # tokens of an action
    per_device_eval_batch_size=num_unseen,
    eval_temperature=1.0,
    logging_steps=6,
    save_strategy="no",
    hub_license="apache-2.0",
    **CPU,
)
trainer = ThreeSPOTrainer(model, env, config, train_tasks=train, eval_tasks=unseen, processing_class=tokenizer)
trainer.evaluate()
before = trainer.evaluation
trainer.train()
trainer.evaluate()
after = trainer.evaluation
trainer.save_model()

print(f"{'unseen games':32}{'after SFT':>22}{'after 3SPO':>22}")
for kind in ("all", *after.success_by_kind):
    found = [x.success if kind == "all" else x.success_by_kind[kind] for x in (before, after)]
    print(f"{kind:32}" + "".join(f"{f'{x.rate:.0%} ({x.low:.0%} to {x.high:.0%})':>22}" for x in found))

try:
    HfApi().whoami()
except Exception as error:  # no login, no network, HF_HUB_OFFLINE=1: each has its own
    print(f"Not pushed, because there is no access to the Hub ({type(error).__name__}): see {config.output_dir}.")
else:
    trainer.push_to_hub()
    card = ModelCard.load(trainer.hub_model_id)
    print(f"{trainer.hub_model_id} has the success rate {card.data.eval_results[0].metric_value:.1%} in its card.")
    print(*HfApi().list_repo_files(trainer.hub_model_id), sep="\n")
