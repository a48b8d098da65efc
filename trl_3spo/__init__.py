"""Train language-model agents with 3SPO on top of Hugging Face TRL."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trl_3spo.three_spo_config import ThreeSPOConfig
    from trl_3spo.three_spo_trainer import ThreeSPOTrainer

__version__ = "0.1.0"
__all__ = ["ThreeSPOConfig", "ThreeSPOTrainer", "__version__"]

_HOMES = {"ThreeSPOConfig": "trl_3spo.three_spo_config", "ThreeSPOTrainer": "trl_3spo.three_spo_trainer"}


def __getattr__(name: str) -> Any:
    # On first use: environments and search work without loading torch and TRL.
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
