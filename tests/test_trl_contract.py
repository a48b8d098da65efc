"""What this package takes for granted of TRL. A failure here says which hook changed before anything else breaks."""

import inspect

import pytest
import torch
from trl import GRPOTrainer

from training import corridor_trainer

HOOKS = {
    "_generate_and_score_completions": ["self", "inputs"],
    "_generate_single_turn": [
        "self",
        "prompt_ids",
        "images",
        "multimodal_fields",
        "num_generations",
        "has_tool_images",
    ],
    "_compute_loss": ["self", "model", "inputs"],
    "_get_per_token_logps_and_entropies": [
        "self",
        "model",
        "input_ids",
        "attention_mask",
        "logits_to_keep",
        "batch_size",
        "compute_entropy",
        "compute_aux_loss",
    ],
    "_prepare_inputs": ["self", "generation_batch"],
    "_tokenize_prompts": ["self", "prompts"],
    "_save_checkpoint": ["self", "model", "trial"],
    "_load_optimizer_and_scheduler": ["self", "checkpoint"],
    "evaluate": ["self", "eval_dataset", "ignore_keys", "metric_key_prefix"],
    "create_model_card": ["self", "model_name", "dataset_name", "tags"],
}


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_exist_with_their_arguments(name):
    hook = getattr(GRPOTrainer, name, None)
    assert hook is not None, f"GRPOTrainer.{name} is gone; trainers here override or call it."
    found = list(inspect.signature(hook).parameters)[: len(HOOKS[name])]
    assert found == HOOKS[name], f"GRPOTrainer.{name} now takes {found}; they were written for {HOOKS[name]}."


def test_batches_of_an_optimizer_step_are_buffered(tmp_path):
    trainer = corridor_trainer(
        tmp_path, novelty_weight=0.3, per_device_train_batch_size=16, gradient_accumulation_steps=2
    )
    trainer.train()
    assert len(trainer._buffered_inputs) == 2, "GRPOTrainer._buffered_inputs is no list of the batches of a step."
    assert trainer._step == 2, "GRPOTrainer._step no longer counts batches."


def test_batches_carry_what_the_loss_reads(tmp_path):
    trainer = corridor_trainer(tmp_path, novelty_weight=0.3)
    batches = []
    plain = trainer._compute_loss
    trainer._compute_loss = lambda model, inputs: batches.append(inputs) or plain(model, inputs)
    trainer.train()
    (batch,) = batches
    keys = {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages", "num_items_in_batch"}
    assert keys <= set(batch), f"GRPOTrainer's batch lost {sorted(keys - set(batch))}; batch.py builds on them."
    assert set(batch) - keys <= {"tool_mask"}, (
        f"GRPOTrainer's batch gained {sorted(set(batch) - keys)}; look at batch.py."
    )
    assert len({len(batch[name]) for name in keys - {"num_items_in_batch"}}) == 1
    assert batch["advantages"].abs().sum() > 0
    assert batch["num_items_in_batch"] == (batch["completion_mask"] * batch.get("tool_mask", torch.tensor(1))).sum()
