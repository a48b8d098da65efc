"""Every option of GRPOConfig works, is refused, or is said to have no meaning; the docs say which."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig
from trl import GRPOConfig

from training import baseline_trainer, config_for, corridor_trainer
from trl_3spo.algorithm.options import ThreeSPOOptions
from trl_3spo.baselines.config import EpisodeGRPOConfig, GiGPOConfig, StepPOConfig
from trl_3spo.baselines.trainers import EpisodeGRPOTrainer
from trl_3spo.prefix_sharing.config import PrefixSharingConfig
from trl_3spo.training import grpo_options
from trl_3spo.training.agent_config import AgentConfig
from trl_3spo.training.batch import policy_loss_times
from trl_3spo.training.grpo_options import (
    NO_MEANING,
    NOT_WARNED_OF,
    NOTES,
    REFUSED,
    REFUSED_IN_GENERATION,
    TRUNCATING,
    WARNED_IN_GENERATION,
)
from trl_3spo.training.option_checks import remarks_on

PAGE = Path(__file__).parents[1] / "docs" / "options.md"
OPTIONS = {field.name: field for field in fields(GRPOConfig)}
LATER = {
    "activation_checkpointing",
    "activation_checkpointing_kwargs",
    "dataloader_in_order",
    "dataloader_multiprocessing_context",
}
"""Options that the oldest transformers does not have yet."""
FORMER = {"logging_dir", "warmup_ratio"}
"""Options that only the oldest transformers still has."""
CONFIGS = (AgentConfig, EpisodeGRPOConfig, GiGPOConfig, StepPOConfig)
HARMFUL = {
    "multi_objective_aggregation": "normalize_then_sum",
    "data_seed": 1,
    "label_smoothing_factor": 0.1,
    "repetition_penalty": 1.2,
    "scale_rewards": "batch",
    "auto_find_batch_size": True,
}
CHANGED = {
    "dataloader_multiprocessing_context": "spawn",
    "dataloader_num_workers": 2,
    "dataloader_persistent_workers": True,
    "dataloader_prefetch_factor": 2,
    "eval_accumulation_steps": 4,
    "include_for_metrics": ["loss"],
    "include_num_input_tokens_seen": "all",
    "label_names": ["labels"],
    "length_column_name": "size",
    "max_tool_calling_iterations": 3,
    "train_sampling_strategy": "sequential",
}
"""Other values of options without a meaning that are not booleans."""
SAMPLING = {"top_k": 5, "top_p": 0.9, "min_p": 0.1, "vllm_structured_outputs_regex": "a+"}


# -- the table ---------------------------------------------------------------------------------------------------------


def rows() -> Iterator[tuple[str, str, str]]:
    return iter(re.findall(r"^\| `(\w+)` \| ([a-z ]+) \| ?(.*?) ?\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))


def test_the_page_has_every_option_once_with_what_becomes_of_it():
    names = [name for name, _, _ in rows()]
    assert len(names) == len(set(names))
    differing = set(names) ^ set(OPTIONS)
    assert differing <= LATER | FORMER, "docs/options.md has to list GRPOConfig's options, those of this TRL."
    for name, status, note in rows():
        assert (status, note) == (grpo_options.status(name), grpo_options.note(name)), f"docs/options.md on {name}"


def test_the_page_has_this_package_s_options_with_their_defaults_and_helps():
    found = re.findall(r"^\| `\w+` \| `.+` \| .+ \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    own = [
        x
        for config in (ThreeSPOOptions, PrefixSharingConfig, *CONFIGS)
        for x in fields(config)
        if x.name in vars(config)["__annotations__"] and x.init
    ]
    assert sorted(found) == sorted(f"| `{x.name}` | `{x.default!r}` | {x.metadata['help']} |" for x in own)


def test_the_rules_are_about_options_that_there_are():
    for named in (REFUSED, NO_MEANING, NOTES, TRUNCATING):
        assert set(named) <= set(OPTIONS) | LATER
    assert not set(REFUSED) & set(NO_MEANING)
    assert set(TRUNCATING) <= set(NOTES)


def test_defaults_are_neither_refused_nor_warned_of(tmp_path):
    for config_class in CONFIGS:
        config = config_for(tmp_path, config_class, per_device_train_batch_size=8)
        assert list(remarks_on(config)) == []


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config_class", CONFIGS)
@pytest.mark.parametrize("name", REFUSED)
def test_what_the_page_says_is_refused_is(tmp_path, name, config_class):
    with pytest.raises(ValueError, match=rf"{name} is "):
        config_for(tmp_path, config_class, **{name: HARMFUL[name]})


@pytest.mark.parametrize("name", sorted(set(REFUSED) - {"scale_rewards", "auto_find_batch_size"}))
def test_it_is_refused_too_where_it_is_set_later(tmp_path, name):
    from trl_3spo import ThreeSPOTrainer
    from trl_3spo.environments.corridor import CorridorEnv

    config = config_for(tmp_path)
    setattr(config, name, HARMFUL[name])
    with pytest.raises(ValueError, match=rf"{name} is .* refused"):
        ThreeSPOTrainer("./nowhere", CorridorEnv(length=4), config)


@pytest.mark.parametrize("name", [*REFUSED_IN_GENERATION, "temperature"])
def test_generation_that_weighs_tokens_otherwise_is_refused(tmp_path, name):
    value = False if name == "do_sample" else 2
    with pytest.raises(ValueError, match=rf"generation_kwargs has {name}={value}: samples would be of another"):
        config_for(tmp_path, generation_kwargs={name: value})
    neutral = REFUSED_IN_GENERATION.get(name, (1.0,))[-1]
    config_for(tmp_path, generation_kwargs={name: neutral, "use_cache": True})


def test_keys_of_generation_are_transformers_or_vllm_s():
    known = set(vars(GenerationConfig(top_h=0.5))) | {
        "n",
        "best_of",
        "logit_bias",
        "presence_penalty",
        "frequency_penalty",
    }
    known |= {"min_tokens", "bad_words", "allowed_token_ids", "guided_decoding", "structured_outputs"}
    known |= {"num_beam_groups", "diversity_penalty", "penalty_alpha"}  # of earlier versions
    assert set(REFUSED_IN_GENERATION) | set(WARNED_IN_GENERATION) <= known


def test_half_precision_needs_an_accelerator(tmp_path):
    with pytest.raises(ValueError, match="fp16 is on and training is on a CPU, where it would do nothing"):
        config_for(tmp_path, fp16=True)


@pytest.mark.parametrize("metric", ["loss", "eval_loss"])
def test_the_best_model_is_chosen_by_a_metric_that_there_is(tmp_path, metric):
    choosing = {"load_best_model_at_end": True, "eval_strategy": "steps", "save_strategy": "steps"}
    steps = {"eval_steps": 1, "save_steps": 1}
    with pytest.raises(ValueError, match="metric_for_best_model='success_rate'"):
        config_for(tmp_path, **choosing, **steps, metric_for_best_model=metric)
    trainer = corridor_trainer(tmp_path, **choosing, **steps, metric_for_best_model="success_rate")
    trainer.train()
    assert trainer.state.best_metric is not None
    args = config_for(tmp_path, **choosing, **steps)
    assert (args.metric_for_best_model, args.greater_is_better) == ("eval_success_rate", True)


# -- warned of ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted((set(NO_MEANING) & set(OPTIONS)) - NOT_WARNED_OF))
def test_what_has_no_meaning_is_said_at_the_start(tmp_path, name):
    value = CHANGED[name] if name in CHANGED else not OPTIONS[name].default
    config = config_for(tmp_path)
    setattr(config, name, value)
    (remark,) = remarks_on(config)
    assert remark.startswith(f"{name} is {value!r} and has no meaning here. ")


@pytest.mark.parametrize("name", TRUNCATING)
def test_what_cuts_tokens_off_is_said_at_the_start(tmp_path, name):
    (remark,) = remarks_on(config_for(tmp_path, **{name: SAMPLING[name]}))
    assert remark.startswith(f"{name} is {SAMPLING[name]!r}. ")
    assert "importance ratio" in remark


@pytest.mark.parametrize("name", WARNED_IN_GENERATION)
def test_so_is_what_does_so_by_generation_kwargs(tmp_path, name):
    (remark,) = remarks_on(config_for(tmp_path, generation_kwargs={name: 3}))
    assert remark.startswith(f"generation_kwargs has {name}=3. ")


def test_the_trainer_says_it_once_and_the_page_where_to_read_on(tmp_path, caplog):
    corridor_trainer(tmp_path, top_p=0.9, shuffle_dataset=False, generation_kwargs={"min_new_tokens": 1})
    said = [record.getMessage() for record in caplog.records if "docs/options.md" in record.getMessage()]
    assert [text.split()[0] for text in said] == ["shuffle_dataset", "top_p", "generation_kwargs"]


def test_a_batch_in_which_all_was_cut_off_is_said_to_train_nothing(tmp_path, caplog):
    endless = {"mask_truncated_completions": True, "generation_kwargs": {"min_new_tokens": 1}}
    trainer = corridor_trainer(tmp_path, **endless, max_steps=1)
    trainer.train()
    assert "every completion of this batch was cut off after 1 tokens" in caplog.text
    caplog.clear()
    corridor_trainer(tmp_path, mask_truncated_completions=False, max_steps=1).train()
    assert "cut off" not in caplog.text


# -- the entropy bonus -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return corridor_trainer(tmp_path_factory.mktemp("loss"), loss_type="grpo", per_device_train_batch_size=8)


def batch_of(num_rows: int) -> dict[str, torch.Tensor]:
    """Return rows of which the first four have tokens and the others are padding."""
    rng = torch.manual_seed(0)
    batch = {
        "prompt_ids": torch.randint(4, 9, (10, 6), generator=rng),
        "prompt_mask": torch.ones(10, 6, dtype=torch.long),
        "completion_ids": torch.randint(4, 9, (10, 4), generator=rng),
        "completion_mask": (torch.tensor([4, 2, 3, 1] + 6 * [0])[:, None] > torch.arange(4)).long(),
        "advantages": torch.randn(10, generator=rng),
        "ref_per_token_logps": -torch.rand(10, 4, generator=rng),
        "old_per_token_logps": -torch.rand(10, 4, generator=rng) - 2,
    }
    return {name: value[:num_rows] for name, value in batch.items()} | {"num_items_in_batch": torch.tensor(10)}


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo", "luspo", "sapo"])
@pytest.mark.parametrize(("beta", "entropy"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.7), (0.3, 0.7)])
def test_padding_changes_no_part_of_a_loss_that_is_a_mean_over_rows(stock, monkeypatch, loss_type, beta, entropy):
    for name, value in {
        "loss_type": loss_type,
        "beta": beta,
        "entropy_coef": entropy,
        "_entropy_bonus_enabled": entropy > 0,
        "_padding_correction": 1.0,
        "current_gradient_accumulation_steps": 1,
    }.items():
        monkeypatch.setattr(stock, name, value, raising=False)
    with torch.no_grad():
        expected = stock._compute_loss(stock.model, batch_of(4))
        monkeypatch.setattr(stock, "_padding_correction", 10 / 4)
        padded = stock._compute_loss(stock.model, batch_of(10))
    assert float(padded) == pytest.approx(float(expected), rel=1e-5, abs=1e-7)
    assert stock.beta == beta


def test_a_failing_loss_leaves_beta_as_it_was(stock, monkeypatch):
    monkeypatch.setattr(stock, "beta", 0.5)
    with policy_loss_times(stock, batch_of(4), 2.0) as batch:
        assert torch.equal(batch["advantages"], batch_of(4)["advantages"] * 2)
        assert stock.beta == 1.0
    assert stock.beta == 0.5
    monkeypatch.setattr(stock, "_padding_correction", 2.0)
    with pytest.raises(KeyError):
        stock._compute_loss(stock.model, {"advantages": batch["advantages"]})
    assert stock.beta == 0.5


@pytest.mark.parametrize("loss_type", ["grpo", "dapo"])
def test_training_with_the_bonus_goes_on(tmp_path, loss_type):
    trainer = baseline_trainer(EpisodeGRPOTrainer, tmp_path, loss_type=loss_type, entropy_coef=0.01, max_steps=2)
    trainer.train()
    assert all(entry["entropy_coef"] == 0.01 for entry in trainer.state.log_history if "entropy_coef" in entry)
