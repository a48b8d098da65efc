"""Train language-model agents with 3SPO on top of Hugging Face TRL."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trl_3spo.episode_config import EpisodeGRPOConfig, GiGPOConfig, StepPOConfig
    from trl_3spo.episode_trainer import EpisodeGRPOTrainer, GiGPOTrainer
    from trl_3spo.step_po_trainer import StepPOTrainer
    from trl_3spo.three_spo_config import ThreeSPOConfig
    from trl_3spo.three_spo_trainer import ThreeSPOTrainer

__version__ = "0.1.0"
__all__ = [
    "EpisodeGRPOConfig",
    "EpisodeGRPOTrainer",
    "GiGPOConfig",
    "GiGPOTrainer",
    "StepPOConfig",
    "StepPOTrainer",
    "ThreeSPOConfig",
    "ThreeSPOTrainer",
    "__version__",
]

_HOMES = {
    "EpisodeGRPOConfig": "trl_3spo.episode_config",
    "EpisodeGRPOTrainer": "trl_3spo.episode_trainer",
    "GiGPOConfig": "trl_3spo.episode_config",
    "GiGPOTrainer": "trl_3spo.episode_trainer",
    "StepPOConfig": "trl_3spo.episode_config",
    "StepPOTrainer": "trl_3spo.step_po_trainer",
    "ThreeSPOConfig": "trl_3spo.three_spo_config",
    "ThreeSPOTrainer": "trl_3spo.three_spo_trainer",
}


def __getattr__(name: str) -> Any:
    # On first use: environments and search work without loading torch and TRL.
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
