"""Training by stock GRPOTrainer and by the trainer that shares prompts, for comparison."""

from datasets import Dataset
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer

from trl_3spo.prefix_sharing.config import PrefixSharingConfig
from trl_3spo.prefix_sharing.trainer import PrefixSharingTrainer
from trl_3spo.tiny import tiny_model, word_tokenizer

WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
]
PROMPTS = [" ".join(WORDS[i : i + 4 + i % 5] * 4) for i in range(8)]


def reward_length(completion_ids, **_):
    return [float(sum(ids) % 7) for ids in completion_ids]


def trained(folder, model, tokenizer, *, sharing, peft=False, **changes):
    """Train, by stock GRPOTrainer where `sharing` is None; return the trainer and how many tokens its model saw."""
    settings = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 12,
        "num_generations": 4,
        "max_completion_length": 4,
        "learning_rate": 1e-3,
        "max_steps": 2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 7,
    } | changes
    kind, config = (GRPOTrainer, GRPOConfig) if sharing is None else (PrefixSharingTrainer, PrefixSharingConfig)
    settings |= {} if sharing is None else {"prefix_sharing": sharing}
    trainer = kind(
        model,
        reward_length,
        args=config(**settings),
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in PROMPTS * 4]),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear") if peft else None,
    )
    seen = []
    trainer.model.get_input_embeddings().register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].numel()))
    trainer.train()
    return trainer, sum(seen)


def curve(trainer, name="loss"):
    return [log[name] for log in trainer.state.log_history if name in log]


def make_tokenizer():
    return word_tokenizer([" ".join(WORDS)])


def save_model(folder):
    tiny_model(make_tokenizer(), hidden_size=32, initializer_range=0.1).save_pretrained(folder)
    return str(folder)


def train_both_ways(rank, folder, model):
    """Train with and without sharing, as one of several processes or alone; return what came out of each."""
    results = {}
    for sharing in (None, "tree"):
        trainer, num_tokens = trained(folder, model, make_tokenizer(), sharing=sharing, num_iterations=2)
        results[sharing] = {"loss": curve(trainer), "grad_norm": curve(trainer, "grad_norm"), "tokens": num_tokens}
    return results | {"processes": trainer.accelerator.num_processes}
