"""Generation that shares prompts samples what the plain one does."""

import pytest
import torch
from transformers import GenerationConfig

from prefix_models import MODELS
from trl_3spo.prefix_sharing.generation import generate_shared, left_padded
from trl_3spo.prefix_sharing.log_probs import shared_prompts_of

PROMPTS = [[5, 6, 7, 8], [9, 10], [5, 6, 7, 8], [11, 12, 13, 14, 15, 16], [5, 6, 7, 8], [3]]


@pytest.mark.parametrize("name", ["qwen2", "llama", "gemma", "gpt2"])
@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_samples_equal_the_plain_ones(name, do_sample, attention):
    torch.manual_seed(0)
    model = MODELS[name](attn_implementation=attention).eval()
    config = GenerationConfig(max_new_tokens=8, do_sample=do_sample, top_k=0, pad_token_id=0, eos_token_id=[1, 4])
    ids, mask = left_padded(PROMPTS, 0, model.device)
    torch.manual_seed(3)
    with torch.no_grad():
        shared = generate_shared(model, ids, mask, shared_prompts_of(ids, mask), config)
    torch.manual_seed(3)
    plain = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)[:, ids.size(1) :]
    for one, other in zip(shared, plain.tolist(), strict=True):
        ends = [i for i, token in enumerate(other) if token in (1, 4)]
        assert one == other[: ends[0] + 1 if ends else None]


def test_prompts_are_padded_on_the_left():
    ids, mask = left_padded([[5, 6, 7], [8]], 0, torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
