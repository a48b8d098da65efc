"""The memory plan against what torch, PEFT and bitsandbytes really hold."""

import re
from dataclasses import replace

import bitsandbytes
import peft
import pytest
import torch
from transformers import BitsAndBytesConfig, DynamicCache, Qwen2Config, Qwen2ForCausalLM

from search_options import FRONTIER
from training import config_for
from trl_3spo import EpisodeGRPOConfig, ThreeSPOConfig
from trl_3spo.cli.memory_plan import GIB, RESERVE, most_rows, plan_memory, remedies, report
from trl_3spo.cli.memory_setup import MemorySetup
from trl_3spo.model_shape import ModelShape

SIZES = {
    "vocab_size": 200,
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}
SHAPE = ModelShape.of(Qwen2Config(**SIZES))
ROWS, PROMPT, COMPLETION = 4, 48, 16
FULL = MemorySetup(
    weight_bytes=4,
    num_bits=None,
    computes_in_half=False,
    adapter_rank=None,
    has_reference=False,
    has_8bit_optimizer=False,
    has_checkpointing=False,
    shares_prefixes=False,
    num_rows=ROWS,
    num_generated=0,
    completions_per_prompt=4,
    prompt_size=PROMPT,
    completion_size=COMPLETION,
)
QWEN_7B = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
}


def plan(**changes):
    return plan_memory(SHAPE, replace(FULL, **changes))


def model(**changes):
    return Qwen2ForCausalLM(Qwen2Config(**SIZES | changes))


def num_bytes(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize("sizes", [SIZES, QWEN_7B])
def test_weights_are_those_of_the_model(sizes):
    with torch.device("meta"):
        parameters = list(model(**sizes).parameters())
    planned = plan_memory(ModelShape.of(Qwen2Config(**sizes)), FULL)
    assert planned.weights == pytest.approx(num_bytes(parameters), rel=0.01)
    assert planned.gradients == planned.weights


def test_a_7b_model_in_bfloat16_by_hand():
    """7.6 billion weights: 2 bytes each, as much again for the reference and gradients, twice as much for AdamW."""
    planned = plan_memory(
        ModelShape.of(Qwen2Config(**QWEN_7B)), replace(FULL, weight_bytes=2, has_reference=True, num_rows=0)
    )
    assert planned.weights / 1e9 == pytest.approx(2 * 2 * 7.61, rel=0.01)
    assert planned.optimizer / 1e9 == pytest.approx(4 * 7.61, rel=0.01)
    assert planned.peak == planned.weights + planned.gradients + planned.optimizer + RESERVE


def test_adapters_are_those_of_peft():
    adapted = peft.get_peft_model(model(), peft.LoraConfig(r=4, target_modules="all-linear"))
    trained = [p for p in adapted.parameters() if p.requires_grad]
    planned = plan(adapter_rank=4)
    assert planned.gradients == num_bytes(trained)
    assert planned.weights - plan().weights == num_bytes(trained)


@pytest.mark.parametrize("bits", [4, 8])
def test_quantized_weights_are_those_of_bitsandbytes(bits):
    kinds = {4: lambda i, o: bitsandbytes.nn.Linear4bit(i, o, bias=False, compress_statistics=False)}
    kinds[8] = lambda i, o: bitsandbytes.nn.Linear8bitLt(i, o, bias=False, has_fp16_weights=False)
    total = 0
    for inputs, outputs in SHAPE.layer.matrices:
        weight = kinds[bits](inputs, outputs).to("cpu").weight
        scales = [weight.quant_state.absmax] if bits == 4 else []
        total += num_bytes([weight.data, *scales])
    planned = plan(num_bits=bits).weights - plan(num_bits=bits).gradients + SHAPE.num_linear * 4
    assert planned == SHAPE.num_layers * total


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_moments_are_those_of_adamw(dtype, size):
    trained = model().to(dtype)
    optimizer = torch.optim.AdamW(trained.parameters())
    trained(input_ids=torch.arange(8)[None]).logits.sum().backward()
    optimizer.step()
    moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert plan(weight_bytes=size).optimizer == pytest.approx(num_bytes(moments), rel=0.01)


def kept_for_backward(work, network):
    """Return the bytes autograd keeps, but for the weights and copies of them."""
    shapes = {tuple(p.shape) for p in network.parameters() if p.ndim == 2}
    shapes |= {shape[::-1] for shape in shapes}
    kept = {}

    def keep(tensor):
        if tuple(tensor.shape) not in shapes:
            kept[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("is_half", [False, True])
@pytest.mark.parametrize("sharing", [False, True])
def test_activations_are_those_autograd_keeps(is_half, sharing):
    """A prompt shared by four completions is one row of so many tokens; its mask is counted on top."""
    network = model().train()
    shape = (1, PROMPT + ROWS * COMPLETION) if sharing else (ROWS, PROMPT + COMPLETION)
    ids = torch.randint(0, 200, shape)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
        kept = kept_for_backward(lambda: network.model(input_ids=ids), network)
    mask = shape[1] ** 2 * (2 if is_half else 4) if sharing else 0
    planned = plan(computes_in_half=is_half, shares_prefixes=sharing).activations
    assert planned - mask == pytest.approx(kept, rel=0.06)


@pytest.mark.parametrize("is_half", [False, True])
def test_checkpointing_keeps_the_input_of_every_layer(is_half):
    network = model().train()
    network.gradient_checkpointing_enable({"use_reentrant": True})
    embedded = torch.randn(ROWS, PROMPT + COMPLETION, 128, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
        kept = kept_for_backward(lambda: network.model(inputs_embeds=embedded), network)
    planned = plan(computes_in_half=is_half, has_checkpointing=True).activations
    one_layer = plan_memory(replace(SHAPE, num_layers=1), replace(FULL, computes_in_half=is_half)).activations
    norm = 2 * ROWS * (PROMPT + COMPLETION) * 128 * 4
    assert planned - one_layer + norm == pytest.approx(kept, rel=0.01)
    assert planned < 0.5 * plan(computes_in_half=is_half).activations


def test_the_cache_holds_keys_and_values():
    cache = DynamicCache()
    network = model()
    with torch.no_grad():
        network(input_ids=torch.zeros(ROWS, PROMPT + COMPLETION, dtype=torch.long), past_key_values=cache)
    logits = 3 * 4 * ROWS * 200
    assert plan(num_generated=ROWS).cache - logits == num_bytes(x for y in cache.layers for x in (y.keys, y.values))


def test_shards_and_copies():
    spread = plan(weight_shards=4, gradient_shards=4, optimizer_shards=4, num_processes=4)
    assert spread.weights == plan().weights / 4
    assert spread.gradients == plan().gradients / 4
    assert spread.optimizer == plan().optimizer / 4
    assert plan(num_processes=4).gradients == 2 * plan().gradients


def test_sharing_a_prompt_saves_what_it_says():
    shared, plain = plan(shares_prefixes=True, prompt_size=480), plan(prompt_size=480)
    tokens = (480 + ROWS * COMPLETION) / (ROWS * (480 + COMPLETION))
    mask = (480 + ROWS * COMPLETION) ** 2 * 4
    assert (shared.activations - mask) / plain.activations == pytest.approx(tokens)


def test_activations_do_not_grow_beyond_the_largest_trie():
    tokens = ROWS * (PROMPT + COMPLETION)
    assert plan(max_tree_tokens=tokens).activations == plan(max_tree_tokens=2 * tokens).activations
    assert plan(max_tree_tokens=tokens).activations == plan().activations
    assert plan(max_tree_tokens=tokens // 2).activations == plan(num_rows=ROWS // 2).activations
    assert plan(max_tree_tokens=tokens // 2, num_rows=100 * ROWS) == plan(num_rows=ROWS // 2)


def test_most_rows_fit_and_one_more_does_not():
    rows = most_rows(SHAPE, FULL, RESERVE + 40 * 2**20)
    assert rows > 0
    assert plan(num_rows=rows).peak <= RESERVE + 40 * 2**20 < plan(num_rows=rows + 1).peak
    assert most_rows(SHAPE, FULL, RESERVE) == 0


def test_remedies_name_the_flag_and_what_fits():
    shape = ModelShape.of(Qwen2Config(**QWEN_7B))
    setup = replace(FULL, weight_bytes=2, computes_in_half=True, has_checkpointing=True, shares_prefixes=True)
    setup = replace(
        setup, has_reference=True, num_rows=64, completions_per_prompt=8, prompt_size=1024, completion_size=512
    )
    assert remedies(shape, setup, 400 * GIB) == []
    assert "set use_peft and load_in_4bit" in remedies(shape, setup, 40 * GIB)
    assert remedies(shape, setup, 4 * GIB)[0].startswith("take a smaller model")
    lora = replace(setup, adapter_rank=16, has_reference=False, num_rows=256)
    (advice,) = remedies(shape, lora, 30 * GIB)
    rows = most_rows(shape, lora, 30 * GIB)
    assert f"per_device_train_batch_size from 256 to {rows} " in advice
    assert 0 < rows < 256


def test_the_report_adds_up_and_says_what_to_change():
    text = report(SHAPE, FULL, memory=None)
    (peak,) = re.findall(r"peak +(\d+\.\d+) GiB", text)
    assert float(peak) == pytest.approx(plan().peak / GIB, abs=0.01)
    assert report(SHAPE, FULL, memory=4 * GIB).endswith("There are 4.0 GiB. That should fit.")
    assert "may not fit; one of these would help:\n  - set " in report(SHAPE, FULL, memory=plan().peak - 1)


def test_a_setup_is_read_off_the_configuration(tmp_path):
    options = {"gradient_checkpointing": True, "beta": 0.1, "optim": "paged_adamw_8bit", "steps_per_generation": 2}
    args = config_for(tmp_path, **FRONTIER, **options)
    given = {"prompt_size": 100, "peft_config": None, "quantization_config": None}
    setup = MemorySetup.of(args, dtype="float32", **given)
    assert (setup.num_rows, setup.num_generated, setup.completions_per_prompt, setup.completion_size) == (32, 64, 8, 1)
    assert (setup.has_checkpointing, setup.has_reference, setup.has_8bit_optimizer) == (True, True, True)
    assert (setup.weight_bytes, setup.num_bits, setup.shares_prefixes, setup.weight_shards) == (4, None, True, 1)
    given |= {"peft_config": peft.LoraConfig(r=4), "quantization_config": BitsAndBytesConfig(load_in_4bit=True)}
    setup = MemorySetup.of(args, dtype="bfloat16", **given)
    assert (setup.adapter_rank, setup.num_bits, setup.has_reference, setup.trained_bytes) == (4, 4, False, 2)


@pytest.mark.parametrize("config_class", [ThreeSPOConfig, EpisodeGRPOConfig])
def test_prompts_of_single_samples_are_counted_once_each(tmp_path, config_class):
    args = config_for(tmp_path, config_class, num_generations=8)
    given = {"prompt_size": 100, "peft_config": None, "quantization_config": None}
    assert MemorySetup.of(args, dtype="float32", **given).completions_per_prompt == 1


def test_what_is_kept_of_prompts_is_part_of_the_cache():
    assert plan(kept_bytes=5.0).cache - plan().cache == 5.0
