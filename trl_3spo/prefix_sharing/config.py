"""Configuration of [`PrefixSharingTrainer`]."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from trl import GRPOConfig

PrefixSharing = Literal["auto", "cache", "mask", "off"]
"""Values of the option `prefix_sharing`."""


@dataclass
class PrefixSharingConfig(GRPOConfig):
    r"""Configuration class for the [`~trl_3spo.prefix_sharing.trainer.PrefixSharingTrainer`].

    Everything of [`~trl.GRPOConfig`] keeps its name and meaning.

    Parameters:
        prefix_sharing (`str`, *optional*, defaults to `"auto"`):
            How the log-probabilities of a batch compute every distinct prompt once: `"cache"` by expanding keys and
            values, `"mask"` by putting a prompt and its completions in one row, `"auto"` by whichever of the two is
            estimated to be cheaper, or by neither where neither is, `"off"` never. The cache is ruled out by activation
            checkpointing (GRPOConfig's default) and several processes, the mask by attention other than SDPA and
            positions that are not rotary, both by sliding-window and recurrent layers. Where nothing is left, prompts
            are computed for every completion, and the log says so once. Generation shares prompts too, unless `"off"`.
    """

    prefix_sharing: PrefixSharing = field(
        default="auto", metadata={"help": "How equal prompts are computed once: auto, cache, mask or off."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prefix_sharing not in get_args(PrefixSharing):
            raise ValueError(f"prefix_sharing is {self.prefix_sharing!r}; it must be 'auto', 'cache', 'mask' or 'off'.")
