"""The way through TRL's seam for vLLM, with an engine of ten lines in vLLM's place."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from training import config_for, corridor_trainer, tokenizer_for, untrained
from trl_3spo.environments.corridor import CorridorEnv


class Engine:
    """Samples one token a prompt from the weights of its last sync, and reports its log-probability.

    It reports it too small by `error`, as another kernel might.
    """

    error = 0.0

    def __init__(self, model, **settings):
        self.model, self.temperature = model, settings["temperature"]
        self.copy = AutoModelForCausalLM.from_config(model.config)
        self.synced_at, self.asked, self.reported = [], [], {}

    def sync_weights(self):
        self.copy.load_state_dict(self.model.state_dict())
        self.synced_at.append(len(self.asked))

    def generate(self, prompts, images, num_generations, profiler):
        self.asked.append(len(prompts))
        logps = [logp_of_next(self.copy, prompt) for prompt in prompts]
        tokens = [int(x.argmax() if self.temperature == 0 else torch.multinomial(x.exp(), 1)) for x in logps]
        sampled = [float(x[token]) - self.error for x, token in zip(logps, tokens, strict=True)]
        self.reported |= {(tuple(p), t): x for p, t, x in zip(prompts, tokens, sampled, strict=True)}
        return (
            prompts,
            [[token] for token in tokens],
            [[[x]] for x in sampled],
            [[[token]] for token in tokens],
        )


def logp_of_next(model, prompt):
    with torch.no_grad():
        return model(input_ids=torch.tensor([prompt])).logits[0, -1].log_softmax(-1)


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train with the engine; return the trainer, and each update's batch with the policy's log-probabilities then."""
    monkeypatch.setattr("trl.trainer.grpo_trainer.VLLMGeneration", Engine)
    monkeypatch.setattr("trl_3spo.training.engine.is_vllm_available", lambda: True)

    def run(**changes):
        env = CorridorEnv(length=4)
        untrained(tokenizer_for(env)).save_pretrained(tmp_path / "model")
        settings = {"use_vllm": True, "max_steps": 4, "novelty_weight": 0.3}
        trainer = corridor_trainer(tmp_path, env=env, model=str(tmp_path / "model"), **settings | changes)
        updates, loss = [], trainer._compute_loss

        def remember(model, inputs):
            updates.append((inputs, [float(logp_of_next(model, p)[t]) for p, t in rows_of(inputs)]))
            return loss(model, inputs)

        trainer._compute_loss = remember
        trainer.train()
        return trainer, updates

    return run


def rows_of(batch):
    prompts = [ids[mask.bool()].tolist() for ids, mask in zip(batch["prompt_ids"], batch["prompt_mask"], strict=True)]
    return list(zip(prompts, batch["completion_ids"][:, 0].tolist(), strict=True))


def test_only_real_rows_are_sampled(train):
    trainer, _ = train(max_steps=12)
    log = trainer.state.log_history[:12]
    assert sum(trainer.vllm_generation.asked) == sum(entry["sampled_actions"] for entry in log)
    assert any(entry["batch_fill"] < 1 for entry in log), "some rows are padding"


def test_weights_are_synced_once_an_update(train):
    trainer, _ = train()
    engine = trainer.vllm_generation
    assert len(engine.synced_at) == 4
    assert len(engine.asked) > 4, "several calls an update"
    assert [entry["sampling/staleness"] for entry in trainer.state.log_history[:4]] == [0, 0, 0, 0]


def test_log_probabilities_of_the_engine_reach_the_loss(train):
    trainer, updates = train(max_steps=1)
    ((batch, _),) = updates
    reported = [trainer.vllm_generation.reported[tuple(prompt), token] for prompt, token in rows_of(batch)]
    assert batch["sampling_per_token_logps"][:, 0].tolist() == pytest.approx(reported)


def test_older_weights_are_corrected_for(train):
    """Ratio of the present policy to that of the sync, recomputed row by row, on every other update."""
    trainer, updates = train(vllm_sync_steps=2, learning_rate=1e-2)
    assert len(trainer.vllm_generation.synced_at) == 2
    assert [entry["sampling/staleness"] for entry in trainer.state.log_history[:4]] == [0, 1, 0, 1]
    for number, (batch, present) in enumerate(updates):
        sampled = batch["sampling_per_token_logps"][:, 0]
        ratio = (torch.tensor(present) - sampled).exp()
        ratio[ratio > trainer.args.vllm_importance_sampling_clip_max] = 0  # left out, in the default mode
        real = batch.get("tool_mask", batch["completion_mask"])[:, 0].bool()
        torch.testing.assert_close(batch["importance_sampling_ratio"][real, 0], ratio[real], atol=1e-4, rtol=1e-4)
        assert bool((ratio[real] - 1).abs().max() > 0.01) == (number % 2 == 1)


def test_evaluations_are_up_to_date(train):
    trainer, _ = train(vllm_sync_steps=100)
    engine = trainer.vllm_generation
    assert len(engine.synced_at) == 1
    trainer.evaluate()
    assert len(engine.synced_at) == 2
    assert all(torch.equal(p, q) for p, q in zip(engine.copy.parameters(), trainer.model.parameters(), strict=True))


@pytest.mark.parametrize("correction", [True, False])
@pytest.mark.parametrize("error", [0.0, 0.25])
def test_how_far_the_engine_is_from_the_trainer_is_always_logged(train, monkeypatch, correction, error):
    monkeypatch.setattr(Engine, "error", error)
    trainer, _ = train(max_steps=2, vllm_importance_sampling_correction=correction)
    for entry in trainer.state.log_history[:2]:
        for statistic in ("mean", "max"):
            assert entry[f"sampling/sampling_logp_difference/{statistic}"] == pytest.approx(error, abs=1e-5)


def test_older_weights_need_the_correction(tmp_path):
    with pytest.raises(ValueError, match=r"vllm_sync_steps is 2.*Switch the correction on"):
        config_for(tmp_path, vllm_sync_steps=2, vllm_importance_sampling_correction=False)
