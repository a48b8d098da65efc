"""Options that cannot work say so, and the published preset is the paper's."""

import inspect

import pytest
from transformers import HfArgumentParser

from training import config_for
from trl_3spo import ThreeSPOConfig
from trl_3spo.algorithm.options import ThreeSPOOptions

BAD = {
    "score_sharpness": -1.0,
    "score_annealing_rate": -0.1,
    "max_failures": 0.0,
    "min_success_rate": 1.5,
    "novelty": "sometimes",
    "novelty_weight": 0.6,
    "novelty_decay_rate": -1.0,
    "success_weight": -0.5,
    "max_episodes_per_tree": 0,
    "history_half_life": 0.0,
    "backoff_strength": -1.0,
    "max_idle_rounds": 0,
    "num_eval_tasks": 0,
    "vllm_sync_steps": 0,
    "eval_temperature": -0.5,
    "prefix_sharing": "maybe",
    "discount": 0.0,
    "outcome_weight": 1.5,
    "baseline": "sea level",
    "advantage_scaling": "twice",
    "update_after": "lunch",
    "search": "high and low",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_named_with_what_is_required(tmp_path, name):
    with pytest.raises(ValueError, match=rf"{name} is .*{BAD[name]}.*must be "):
        config_for(tmp_path, **{name: BAD[name]})


def test_dividing_by_a_groups_spread_needs_its_mean(tmp_path):
    with pytest.raises(ValueError, match=r"advantage_scaling is 'group'; it must .* baseline='group'"):
        config_for(tmp_path, advantage_scaling="group", search="frontier")
    with pytest.raises(ValueError, match=r"advantage_scaling is 'group'; it must .* where search is 'branch'"):
        config_for(tmp_path, advantage_scaling="group", baseline="group")
    config_for(tmp_path, advantage_scaling="group", baseline="group", search="frontier")


def test_states_need_scores_that_differ(tmp_path):
    with pytest.raises(ValueError, match=r"score_sharpness is 0\.0; it must be above 0 where"):
        config_for(tmp_path, score_sharpness=0.0, score_annealing_rate=0.0)
    config_for(tmp_path, score_sharpness=0.0, score_annealing_rate=1.0)


def test_awaited_trees_must_end(tmp_path):
    with pytest.raises(ValueError, match=r"max_episodes_per_tree is None; it must be at least 1 where update_after"):
        config_for(tmp_path, max_episodes_per_tree=None)
    config_for(tmp_path, max_episodes_per_tree=None, outcome_weight=0.0, update_after="step", search="best_first")


def test_branching_waits_for_the_ends_of_walks(tmp_path):
    with pytest.raises(ValueError, match=r"update_after is 'step'; it must be 'walks' where search is 'branch'"):
        config_for(tmp_path, update_after="step", outcome_weight=0.0)


def test_outcomes_are_not_known_right_after_a_step(tmp_path):
    with pytest.raises(ValueError, match=r"outcome_weight is 0\.9; it must be 0 where update_after is 'step'"):
        config_for(tmp_path, update_after="step")


@pytest.mark.parametrize("value", ["batch", "none", False])
def test_what_advantages_are_divided_by_has_a_name_of_its_own(tmp_path, value):
    with pytest.raises(ValueError, match=r"scale_rewards is .* no meaning here.*set advantage_scaling"):
        config_for(tmp_path, scale_rewards=value)


GONE = {
    "score_difference_weight": "make_scorer",
    "has_adaptive_group_size": "min_group_size=num_generations",
    "min_group_size": "make_scorer",
    "has_backtracking": "has_backtracking=False",
    "advantage_delta": "advantages=",
    "follows_best": "best_first",
    "min_batch_fill": "0.9 of the batch",
    "max_fill_rounds": "at most 4 rounds",
}


@pytest.mark.parametrize("name", GONE)
def test_options_that_have_gone_say_what_to_do(tmp_path, name):
    with pytest.raises(TypeError, match=rf"{name} is no option of ThreeSPOConfig any more.*{GONE[name]}"):
        config_for(tmp_path, **{name: 1})


def test_the_signature_is_that_of_the_options():
    assert "score_sharpness" in inspect.signature(ThreeSPOConfig).parameters


def test_a_group_must_fit_on_a_device(tmp_path):
    config = config_for(tmp_path, per_device_train_batch_size=8, num_generations=8)
    config.per_device_train_batch_size = 4  # what each of two processes has of the same generation batch
    with pytest.raises(ValueError, match=r"is 4; it must be at least num_generations \(8\)"):
        config._check_batch()


def test_published_numbers(tmp_path):
    config = ThreeSPOConfig.published(output_dir=str(tmp_path), use_cpu=True, bf16=False)
    assert config.num_generations == 8
    assert (config.score_sharpness, config.score_annealing_rate) == (0.0, 50.0)
    assert (config.max_failures, config.min_success_rate) == (10.0, 0.1)
    assert (config.novelty_weight, config.novelty_decay_rate) == (0.5, 0.1)
    assert (config.learning_rate, config.beta) == (1e-6, 0.01)
    assert (config.update_after, config.max_episodes_per_tree) == ("step", None)
    assert (config.success_weight, config.search) == (1.0, "best_first")
    assert (config.discount, config.outcome_weight, config.baseline) == (1.0, 0.0, "group")
    assert config.advantage_scaling == "group"
    assert (config.history_half_life, config.backoff_strength) == (None, 0.0)


def test_published_numbers_can_be_overridden(tmp_path):
    config = ThreeSPOConfig.published(output_dir=str(tmp_path), use_cpu=True, bf16=False, score_annealing_rate=0.5)
    assert config.score_annealing_rate == 0.5


def test_every_option_has_help_and_can_be_given_on_the_command_line(tmp_path):
    for name, option in ThreeSPOOptions.__dataclass_fields__.items():
        assert option.metadata["help"], name
    (config,) = HfArgumentParser(ThreeSPOConfig).parse_args_into_dataclasses(
        [
            "--output_dir",
            str(tmp_path),
            "--use_cpu",
            "--bf16",
            "false",
            "--score_sharpness",
            "3",
            "--novelty",
            "changed",
        ]
    )
    assert (config.score_sharpness, config.novelty) == (3.0, "changed")
