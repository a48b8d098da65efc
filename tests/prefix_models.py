"""Small models, padded batches and plain computations for the tests of prefix sharing."""

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from trl.trainer.utils import add_fused_lm_head

VOCABULARY = 64
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
WITHOUT_HEAD_DIM = {name: size for name, size in SIZES.items() if name != "head_dim"}
MODELS = {
    "qwen2": lambda **x: Qwen2ForCausalLM(Qwen2Config(**WITHOUT_HEAD_DIM, **x)),
    "llama": lambda **x: LlamaForCausalLM(LlamaConfig(**SIZES, **x)),
    "gemma": lambda **x: GemmaForCausalLM(GemmaConfig(**SIZES, **x)),
    "gpt2": lambda **x: GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, eos_token_id=1, **x)
    ),
    "gemma2": lambda **x: Gemma2ForCausalLM(Gemma2Config(**SIZES, sliding_window=4, **x)),
    "mistral": lambda **x: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=4, **x)),
    "mamba": lambda **x: MambaForCausalLM(MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, **x)),
}


def with_head(name, seed=0, **settings):
    """Return a model of random weights, in training mode, with the head that GRPOTrainer gives it."""
    torch.manual_seed(seed)
    model = MODELS[name](**settings).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    return model


def padded_rows(group_sizes, prompt_size=12, completion_size=5, seed=0):
    """Return ids and mask of one prompt of random length for every group, with that many completions, shuffled."""
    rng = torch.Generator().manual_seed(seed)
    ids, masks = [], []
    for size in group_sizes:
        length = int(torch.randint(1, prompt_size + 1, (1,), generator=rng))
        prompt = torch.randint(3, VOCABULARY, (prompt_size,), generator=rng)
        mask = torch.arange(prompt_size) >= prompt_size - length
        for _ in range(size):
            completion = torch.randint(3, VOCABULARY, (completion_size,), generator=rng)
            length = int(torch.randint(1, completion_size + 1, (1,), generator=rng))
            completion_mask = torch.arange(completion_size) < length
            ids.append(torch.cat([prompt * mask, completion * completion_mask]))
            masks.append(torch.cat([mask, completion_mask]))
    order = torch.randperm(len(ids), generator=rng)
    return torch.stack(ids)[order], torch.stack(masks).long()[order]


def plain_outputs(model, ids, mask, completion_size):
    """Return log-probabilities and entropies as GRPOTrainer computes them."""
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :-completion_size] = -100
    outputs = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
    return outputs.log_probs[:, -completion_size:], outputs.entropy[:, -completion_size:]


def gradient(model, value):
    """Return the gradient of a value by everything that is trained, as one vector."""
    model.zero_grad()
    value.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
