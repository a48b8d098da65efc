"""Sharing prompts changes nothing but the time it takes."""

import pytest
import torch
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from trl.trainer.utils import add_fused_lm_head

from training import corridor_trainer
from trl_3spo.shared_prefix import can_share, completion_outputs, generate_shared, owners_of_prompts

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
MODELS = {
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**SIZES)),
}


def batch(group_sizes, prompt_size=12, completion_size=5, seed=0):
    """Return padded ids and mask of one prompt of random length for every group, with that many completions."""
    rng = torch.Generator().manual_seed(seed)
    ids, masks = [], []
    for size in group_sizes:
        length = int(torch.randint(3, prompt_size + 1, (1,), generator=rng))
        prompt = torch.randint(3, 64, (prompt_size,), generator=rng)
        mask = torch.arange(prompt_size) >= prompt_size - length
        for _ in range(size):
            completion = torch.randint(3, 64, (completion_size,), generator=rng)
            completion_mask = torch.arange(completion_size) < int(torch.randint(1, 6, (1,), generator=rng))
            ids.append(torch.cat([prompt * mask, completion * completion_mask]))
            masks.append(torch.cat([mask, completion_mask]))
    return torch.stack(ids), torch.stack(masks).long()


def plain_outputs(model, ids, mask, completion_size):
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :-completion_size] = -100
    outputs = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
    return outputs.log_probs[:, -completion_size:], outputs.entropy[:, -completion_size:]


def gradient(model, value):
    model.zero_grad()
    value.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_outputs_and_gradients_equal_the_plain_ones(name, seed):
    torch.manual_seed(seed)
    model = MODELS[name]()
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    group_sizes = torch.randint(1, 9, (4,)).tolist()
    ids, mask = batch(group_sizes, seed=seed)
    order = torch.randperm(len(ids))
    ids, mask = ids[order], mask[order]
    shared = completion_outputs(model, ids, mask, 5)
    plain = plain_outputs(model, ids, mask, 5)
    for one, other in zip(shared, plain, strict=True):
        assert (one - other).abs().max() < 1e-5
    weights = torch.randn(len(ids), 5)
    one, other = (gradient(model, (outputs[0] * weights).sum()) for outputs in (shared, plain))
    assert (one - other).norm() / other.norm() < 1e-5


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("do_sample", [False, True])
def test_samples_equal_the_plain_ones(name, do_sample):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    prompts = [[5, 6, 7, 8], [9, 10], [5, 6, 7, 8], [11, 12, 13, 14, 15, 16], [5, 6, 7, 8]]
    config = GenerationConfig(max_new_tokens=8, do_sample=do_sample, top_k=0, pad_token_id=0, eos_token_id=[1])
    torch.manual_seed(3)
    shared = generate_shared(model, prompts, config)
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    torch.manual_seed(3)
    plain = model.generate(input_ids=ids, attention_mask=(ids != 0).long(), generation_config=config)[:, width:]
    for one, other in zip(shared, plain.tolist(), strict=True):
        end = other.index(1) + 1 if 1 in other else len(other)
        assert one == other[:end]


def test_padding_does_not_tell_prompts_apart():
    ids = torch.tensor([[0, 5, 6], [9, 5, 6], [4, 5, 6], [0, 5, 6]])
    mask = torch.tensor([[0, 1, 1], [0, 1, 1], [1, 1, 1], [0, 1, 1]])
    first_rows, owners = owners_of_prompts(ids, mask)
    assert first_rows.tolist() == [0, 2]
    assert owners.tolist() == [0, 0, 1, 0]


def test_layers_that_forget_are_not_shared():
    sliding = Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=4, max_window_layers=1)
    assert not can_share(Qwen2ForCausalLM(sliding))
    model = MODELS["qwen2"]()
    assert can_share(model)
    model.activation_checkpointing_enable()
    assert not can_share(model.train())
    assert can_share(model.eval())


def test_training_is_the_same_with_sharing_on_and_off(tmp_path):
    runs = {}
    for sharing in ("auto", "off"):
        trainer = corridor_trainer(
            tmp_path / sharing, prefix_sharing=sharing, novelty_weight=0.3, max_steps=20, beta=0.0
        )
        trainer.train()
        runs[sharing] = [log["grad_norm"] for log in trainer.state.log_history if "grad_norm" in log]
    assert len(runs["auto"]) == 20
    assert runs["auto"] == pytest.approx(runs["off"], rel=1e-3)
