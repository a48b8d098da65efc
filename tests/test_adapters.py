"""Full, LoRA and QLoRA training by GRPOTrainer's own arguments: what moves, what the reference is, what is saved."""

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from training import config_for, tokenizer_for, untrained
from trl_3spo import ThreeSPOTrainer, cli
from trl_3spo.cli.memory_plan import plan_memory
from trl_3spo.cli.memory_setup import MemorySetup
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.evaluation.policies import evaluate_checkpoint, load_tokenizer, merge_adapter
from trl_3spo.model_shape import ModelShape
from trl_3spo.tiny import tiny_model

BITS = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32},
    "int8": {"load_in_8bit": True},
}
MODES = ["fp32", "lora", *BITS]


@pytest.fixture(scope="module")
def env():
    return CorridorEnv(length=4)


@pytest.fixture(scope="module")
def base(env, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tokenizer = tokenizer_for(env)
    untrained(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def init_kwargs(mode):
    return {"quantization_config": BitsAndBytesConfig(**BITS[mode])} if mode in BITS else {}


def lora():
    return peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")


@pytest.fixture(scope="module", params=MODES)
def run(request, env, base, tmp_path_factory):
    """Train for three updates with KL; return the mode, the trainer, its weights before, and its last batch."""
    mode, folder = request.param, tmp_path_factory.mktemp(request.param)
    config = config_for(
        folder, model_init_kwargs=init_kwargs(mode), beta=0.05, max_steps=3, learning_rate=1e-2, novelty_weight=0.3
    )
    trainer = ThreeSPOTrainer(
        base, env, config, processing_class=load_tokenizer(base), peft_config=None if mode == "fp32" else lora()
    )
    before = {name: weight.detach().clone() for name, weight in trainer.model.state_dict().items()}
    batches, loss = [], trainer._compute_loss
    trainer._compute_loss = lambda model, inputs: batches.append(inputs) or loss(model, inputs)
    trainer.train()
    trainer.save_model()
    load_tokenizer(base).save_pretrained(folder)
    return mode, trainer, before, batches[-1]


def test_what_is_to_be_trained_moves_and_nothing_else(run):
    mode, trainer, before, _ = run
    after = trainer.model.state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    expected = {name for name in after if mode == "fp32" or "lora_" in name}
    assert moved == expected
    assert len(expected) >= 20


def test_the_reference_is_the_model_before_training(run, base):
    """With adapters it is the same model, its adapter disabled."""
    mode, trainer, _, batch = run
    assert (trainer.ref_model is None) == (mode != "fp32")
    reference = AutoModelForCausalLM.from_pretrained(base, **init_kwargs(mode))
    # Eight bits are rounded anew in every batch.
    tolerance = 0.05 if mode == "int8" else 1e-3
    assert float((batch["ref_per_token_logps"] - plain_logps(reference, batch)).abs().max()) < tolerance
    assert float((batch["ref_per_token_logps"] - plain_logps(trainer.model, batch)).abs().max()) > 2 * tolerance


def plain_logps(model, batch):
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    size = batch["completion_ids"].size(1)
    with torch.no_grad():  # in training mode: in the other one four bits are repacked for processors with AVX-512
        logits = model.train()(input_ids=ids, attention_mask=mask).logits[:, -size - 1 : -1]
    return logits.log_softmax(-1).gather(-1, batch["completion_ids"].unsqueeze(-1)).squeeze(-1)


def test_checkpoints_of_all_modes_are_evaluated(run, env):
    """Adapters bring their base with them; after quantized training that is the base in full precision."""
    _, trainer, _, _ = run
    result = evaluate_checkpoint(trainer.args.output_dir, env, max_completion_length=1)
    assert result.success.num_episodes == len(env.tasks())


def test_a_merged_adapter_is_a_plain_model_that_answers_alike(run, tmp_path):
    mode, trainer, _, _ = run
    folder = trainer.args.output_dir
    if mode == "fp32":
        with pytest.raises(FileNotFoundError, match=r"no adapter_config.json.*full model"):
            merge_adapter(folder, tmp_path)
        return
    cli.main(["merge", "--adapter", folder, "--output", str(tmp_path)])
    ids = torch.arange(12).reshape(2, 6)
    merged, adapted = (AutoModelForCausalLM.from_pretrained(x).eval()(ids).logits for x in (tmp_path, folder))
    torch.testing.assert_close(merged, adapted, atol=1e-4, rtol=1e-4)
    assert not (tmp_path / "adapter_config.json").exists()
    assert load_tokenizer(str(tmp_path)).get_vocab() == load_tokenizer(folder).get_vocab()


def test_sixteen_bits_round_a_small_adapter_away(env, tmp_path):
    tokenizer, base, folder = tokenizer_for(env), tmp_path / "base", tmp_path / "adapter"
    untrained(tokenizer).to(torch.bfloat16).save_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    name = "model.layers.0.mlp.up_proj"
    before = model.get_submodule(name).weight.detach().float()
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["up_proj"], init_lora_weights=False))
    with torch.no_grad():
        parts = [x for key, x in adapted.named_parameters() if name in key and "lora_" in key]
        parts[0].fill_(1.0)
        parts[1].fill_(before.abs().mean() / 4000)
    adapted.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

    merged = {}
    for dtype in ("auto", "float32"):
        cli.main(["merge", "--adapter", str(folder), "--output", str(tmp_path / dtype), "--dtype", dtype])
        merged[dtype] = AutoModelForCausalLM.from_pretrained(tmp_path / dtype).get_submodule(name).weight.detach()
    change = adapted.get_submodule(f"base_model.model.{name}").get_delta_weight("default").float()
    torch.testing.assert_close(merged["float32"], before + change, atol=1e-6, rtol=1e-5)
    assert merged["auto"].dtype == torch.bfloat16
    assert (merged["auto"].float() == before).float().mean() > 0.5
    assert (merged["float32"] == before).float().mean() < 0.01


def test_adam_with_moments_of_eight_bits(env, tmp_path):
    """Of all matrices but the embedding; and the memory plan knows it."""
    tokenizer = tokenizer_for(env)
    model = tiny_model(tokenizer, hidden_size=128, initializer_range=0.1)
    before = [p.detach().clone() for p in model.parameters()]
    config = config_for(tmp_path, optim="adamw_8bit", novelty_weight=0.3)
    trainer = ThreeSPOTrainer(model, env, config, processing_class=tokenizer)
    trainer.train()
    assert not any(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    moments = [state[name] for state in trainer.optimizer.state.values() for name in ("state1", "state2")]
    held = sum(x.numel() * x.element_size() for x in moments if x.numel() >= 4096)
    setup = MemorySetup.of(config, dtype="float32", prompt_size=8, peft_config=None, quantization_config=None)
    assert plan_memory(ModelShape.of(model.config), setup).optimizer == held
