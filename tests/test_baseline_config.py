"""Options of the baselines that cannot work say so, and the published presets are their sources'."""

import pytest

from training import config_for
from trl_3spo import EpisodeGRPOConfig, GiGPOConfig, StepPOConfig

BAD = [
    (EpisodeGRPOConfig, "advantage_scaling", "batch"),
    (EpisodeGRPOConfig, "max_idle_rounds", 0),
    (GiGPOConfig, "discount", 1.1),
    (GiGPOConfig, "step_advantage_weight", -1.0),
    (StepPOConfig, "advantage_scaling", "group"),
    (StepPOConfig, "discount", -0.1),
    (StepPOConfig, "gae_lambda", 1.5),
    (StepPOConfig, "value_source", "oracle"),
    (StepPOConfig, "critic_learning_rate", 0.0),
    (StepPOConfig, "history_half_life", 0.0),
    (StepPOConfig, "backoff_strength", -1.0),
]


@pytest.mark.parametrize(("config_class", "name", "value"), BAD)
def test_bad_values_are_named_with_what_is_required(tmp_path, config_class, name, value):
    with pytest.raises(ValueError, match=rf"{name} is .*{value}.*must be "):
        config_for(tmp_path, config_class, **{name: value})


def test_a_device_plays_whole_groups(tmp_path):
    config = config_for(tmp_path, EpisodeGRPOConfig, per_device_train_batch_size=8, num_generations=8)
    config.per_device_train_batch_size = 12  # what each of two processes has of a generation batch of 24
    with pytest.raises(ValueError, match=r"is 12 episodes; it must be a multiple of num_generations \(8\)"):
        config._check_batch()


def test_published_numbers(tmp_path):
    settings = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False}
    gigpo = GiGPOConfig.published(**settings)
    assert (gigpo.num_generations, gigpo.discount, gigpo.step_advantage_weight) == (8, 0.95, 1.0)
    assert (gigpo.advantage_scaling, gigpo.learning_rate, gigpo.beta) == ("group", 1e-6, 0.01)
    step_po = StepPOConfig.published(**settings, beta=0.0)
    assert (step_po.value_source, step_po.discount, step_po.gae_lambda) == ("critic", 1.0, 1.0)
    assert (step_po.importance_sampling_level, step_po.loss_type) == ("sequence", "grpo")
    assert (step_po.epsilon, step_po.epsilon_high, step_po.learning_rate) == (3e-4, 4e-4, 1e-6)
    assert not step_po.bootstraps_truncated
    assert step_po.beta == 0.0


@pytest.mark.parametrize("config_class", [EpisodeGRPOConfig, GiGPOConfig, StepPOConfig])
def test_every_own_option_has_help(config_class):
    own = config_class.__annotations__.keys() - {"scalings"}
    assert all(config_class.__dataclass_fields__[name].metadata["help"] for name in own)


@pytest.mark.parametrize("config_class", [GiGPOConfig, StepPOConfig])
def test_the_discount_has_one_name(tmp_path, config_class):
    with pytest.raises(TypeError, match=r"gamma is no option .* any more: it is called discount"):
        config_for(tmp_path, config_class, gamma=0.9)
