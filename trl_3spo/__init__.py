"""Train language-model agents with 3SPO on top of Hugging Face TRL."""

from typing import TYPE_CHECKING, Any

from trl_3spo._version import __version__

if TYPE_CHECKING:
    from trl_3spo.baselines.config import EpisodeGRPOConfig, GiGPOConfig, StepPOConfig
    from trl_3spo.baselines.trainers import EpisodeGRPOTrainer, GiGPOTrainer, StepPOTrainer
    from trl_3spo.environments.base import Environment
    from trl_3spo.testing import check_environment
    from trl_3spo.three_spo_config import ThreeSPOConfig
    from trl_3spo.three_spo_trainer import ThreeSPOTrainer

__all__ = [
    "Environment",
    "EpisodeGRPOConfig",
    "EpisodeGRPOTrainer",
    "GiGPOConfig",
    "GiGPOTrainer",
    "StepPOConfig",
    "StepPOTrainer",
    "ThreeSPOConfig",
    "ThreeSPOTrainer",
    "__version__",
    "check_environment",
]

_HOMES = {
    "Environment": "trl_3spo.environments.base",
    "EpisodeGRPOConfig": "trl_3spo.baselines.config",
    "EpisodeGRPOTrainer": "trl_3spo.baselines.trainers",
    "GiGPOConfig": "trl_3spo.baselines.config",
    "GiGPOTrainer": "trl_3spo.baselines.trainers",
    "StepPOConfig": "trl_3spo.baselines.config",
    "StepPOTrainer": "trl_3spo.baselines.trainers",
    "ThreeSPOConfig": "trl_3spo.three_spo_config",
    "ThreeSPOTrainer": "trl_3spo.three_spo_trainer",
    "check_environment": "trl_3spo.testing",
}


def __getattr__(name: str) -> Any:
    # On first use: environments and search work without loading torch and TRL.
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
