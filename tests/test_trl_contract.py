"""What this package takes for granted of TRL. A failure here says which hook changed before anything else breaks."""

import ast
import inspect
import textwrap
from pathlib import Path

import pytest
import torch
import transformers
from packaging.version import Version
from trl import GRPOTrainer
from trl.trainer import grpo_trainer

from prefix_models import padded_rows, with_head
from prefix_training import make_tokenizer, save_model, trained
from training import corridor_trainer
from trl_3spo.prefix_sharing.log_probs import IGNORED
from trl_3spo.training.agent_trainer import MEANS_OVER_ROWS

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
    "train": ["self", "resume_from_checkpoint", "trial", "ignore_keys_for_eval"],
    "_push_from_checkpoint": ["self", "checkpoint_folder"],
    "evaluate": ["self", "eval_dataset", "ignore_keys", "metric_key_prefix"],
    "predict": ["self", "test_dataset", "ignore_keys", "metric_key_prefix"],
    "save_model": ["self", "output_dir", "_internal_call"],
    "init_hf_repo": ["self", "token", *(["private"] if Version(transformers.__version__) >= Version("5.23") else [])],
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


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def stock(tmp_path_factory, model_folder):
    """Return stock GRPOTrainer after one update of twelve rows, with its checkpoint."""
    settings = {"max_steps": 1, "save_strategy": "steps", "save_steps": 1}
    return trained(tmp_path_factory.mktemp("stock"), model_folder, make_tokenizer(), sharing=None, **settings)[0]


def test_the_tokenizer_is_at_hand(stock):
    assert getattr(stock, "_tokenizer", None) is stock.processing_class, (
        "GRPOTrainer._tokenizer is no longer the tokenizer it was given; padding and chat templates are read off it."
    )


def test_checkpoints_lie_in_the_output_directory(stock):
    folder = Path(stock._get_output_dir(trial=None))
    assert (folder / "checkpoint-1").is_dir(), (
        "Trainer._get_output_dir is no longer the folder of checkpoints; the state beside them is written there."
    )


def test_metrics_are_means_of_lists_under_their_own_name(stock):
    stock._metrics["train"]["of our own"] += [1.0, 2.0]
    stock.log({})
    assert stock.state.log_history[-1].get("of our own") == 1.5, (
        'GRPOTrainer no longer logs the means of the lists in _metrics["train"]; metrics of this package go there.'
    )
    assert not stock._metrics["train"], (
        "GRPOTrainer no longer empties _metrics when it has logged them; means would go over the whole training."
    )


def test_logged_advantages_are_a_row_each_and_can_be_exchanged(stock):
    rows, logged = list(stock._logs["prompt"]), stock._logs["advantages"]
    assert len(logged) == len(rows) == stock.args.generation_batch_size, (
        'GRPOTrainer._logs["advantages"] no longer has one number for every row of the last generation batch.'
    )
    last = logged.pop()
    logged.extend([last])
    assert len(logged) == len(rows), 'GRPOTrainer._logs["advantages"] no longer takes numbers in place of its own.'


class CountedEngine:
    """In the place of TRL's door to vLLM; counts how often it is given weights."""

    def __init__(self, **_):
        self.num_syncs = 0

    def sync_weights(self):
        self.num_syncs += 1

    def generate(self, prompts, **_):
        return prompts, [[4]] * len(prompts), [[[-2.5]]] * len(prompts), None


def test_the_step_of_the_last_sync_decides_about_the_next(tmp_path, model_folder, monkeypatch):
    monkeypatch.setattr(grpo_trainer, "VLLMGeneration", CountedEngine)
    settings = {"use_vllm": True, "vllm_mode": "colocate", "max_steps": 1}
    trainer, _ = trained(tmp_path, model_folder, make_tokenizer(), sharing=None, **settings)

    def num_syncs(last_loaded_step):
        before = trainer.vllm_generation.num_syncs
        trainer._last_loaded_step = last_loaded_step
        trainer._generate_single_turn([[4]], None, {}, 1)
        return trainer.vllm_generation.num_syncs - before

    assert num_syncs(last_loaded_step=trainer.state.global_step) == 0, (
        "GRPOTrainer hands weights to vLLM though _last_loaded_step is the present step, so vllm_sync_steps is dead."
    )
    assert num_syncs(last_loaded_step=-1) == 1, (
        "GRPOTrainer hands no weights to vLLM though _last_loaded_step is -1; samples would be of an old policy."
    )


def test_the_fused_head_takes_shifted_labels_and_gives_log_probabilities_and_entropies():
    model = with_head("qwen2")
    ids, mask = padded_rows([2, 3])
    labels = ids.roll(-1, 1).masked_fill(torch.rand(ids.shape, generator=torch.manual_seed(0)) < 0.5, IGNORED)
    outputs = model(input_ids=ids, attention_mask=mask, shift_labels=labels, fused_lm_head=True)
    logps = model(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
    is_kept = labels != IGNORED
    expected = {
        "log_probs": logps.gather(-1, labels.clamp(min=0)[..., None])[..., 0] * is_kept,
        "entropy": -(logps.exp() * logps).sum(-1) * is_kept,
    }
    for name, values in expected.items():
        found = getattr(outputs, name, None)
        assert found is not None, f"TRL's fused head gives no {name}; prefix_sharing/log_probs.py reads them."
        assert torch.allclose(found, values, atol=1e-5), (
            f"TRL's fused head gives other {name} for shift_labels: they are expected unshifted and 0 at {IGNORED}."
        )


def test_the_trainer_gives_its_model_the_fused_head(stock):
    ids = torch.tensor([[4, 5, 6]])
    outputs = stock.model(input_ids=ids, shift_labels=ids, fused_lm_head=True)
    for name in ("log_probs", "entropy"):
        assert getattr(outputs, name).shape == (1, 3), f"GRPOTrainer's model no longer gives {name} by its fused head."


def losses():
    """Return the names that GRPOTrainer's loss is compared with."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(GRPOTrainer._compute_loss)))
    compared = [x for x in ast.walk(tree) if isinstance(x, ast.Compare) and ast.unparse(x.left) == "self.loss_type"]
    return sorted({x.value for node in compared for x in ast.walk(node) if isinstance(x, ast.Constant)})


@pytest.fixture(scope="module")
def shrinkage(stock):
    """Return by how much a loss shrinks where six rows without a token join four."""
    rng = torch.manual_seed(0)
    batch = {
        "prompt_ids": torch.randint(4, 9, (10, 6), generator=rng),
        "prompt_mask": torch.ones(10, 6, dtype=torch.long),
        "completion_ids": torch.randint(4, 9, (10, 4), generator=rng),
        "completion_mask": (torch.tensor([4, 2, 3, 1] + 6 * [0])[:, None] > torch.arange(4)).long(),
        "advantages": torch.randn(10, generator=rng),
    }
    num_items = {"num_items_in_batch": batch["completion_mask"].sum()}

    def ratio(loss_type):
        stock.loss_type = loss_type
        with torch.no_grad():
            few, all_rows = (
                stock._compute_loss(stock.model, {name: x[:n] for name, x in batch.items()} | num_items)
                for n in (4, 10)
            )
        return float(few / all_rows)

    plain = stock.loss_type
    yield ratio
    stock.loss_type = plain


@pytest.mark.parametrize("loss_type", losses())
def test_rows_without_a_token_make_these_losses_smaller_and_no_others(shrinkage, loss_type):
    expected = 10 / 4 if loss_type in MEANS_OVER_ROWS else 1.0
    assert shrinkage(loss_type) == pytest.approx(expected, rel=1e-5), (
        f"GRPOTrainer's loss {loss_type!r} must shrink by {expected} where rows without a token join in, since "
        f"MEANS_OVER_ROWS is {MEANS_OVER_ROWS}."
    )


def test_there_are_losses_that_divide_by_the_number_of_rows():
    assert set(MEANS_OVER_ROWS) < set(losses()), "GRPOTrainer no longer has some loss that MEANS_OVER_ROWS names."
