"""Stock GRPOTrainer on rows that one of our trainers has sampled."""

from datasets import Dataset
from trl import GRPOTrainer

from training import untrained


def stock_trainer(args, tokenizer, rows, *, masks, rewards):
    """Return a GRPOTrainer that samples these rows.

    Args:
        args: Its GRPOConfig.
        tokenizer: Its tokenizer.
        rows: Rows of one batch.
        masks: Of every row, 1 for each completion token that is trained on.
        rewards: Of every row; `None` for padding.
    """
    stock = GRPOTrainer(
        untrained(tokenizer),
        lambda reward, **_: reward,
        args=args,
        train_dataset=Dataset.from_list([{"prompt": row.sample.prompt} for row in rows]),
        processing_class=tokenizer,
    )
    stock.rollout_func = lambda prompts, _: {
        "prompt_ids": [row.sample.prompt_ids for row in rows],
        "completion_ids": [row.sample.completion_ids for row in rows],
        "logprobs": None,
        "env_mask": masks,
        "reward": rewards,
    }
    return stock
