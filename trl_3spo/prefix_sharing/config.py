"""Configuration of [`PrefixSharingTrainer`]."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from trl import GRPOConfig

PrefixSharing = Literal["auto", "tree", "cache", "off"]
"""Values of the option `prefix_sharing`."""


@dataclass
class PrefixSharingConfig(GRPOConfig):
    r"""Configuration class for the [`~trl_3spo.prefix_sharing.trainer.PrefixSharingTrainer`].

    Everything of [`~trl.GRPOConfig`] keeps its name and meaning.

    Parameters:
        prefix_sharing (`str`, *optional*, defaults to `"auto"`):
            How the log-probabilities of a batch compute what rows have in common once. `"tree"` computes all rows as
            one trie: samples of a state, steps of an episode, and branches of a tree share every token up to where they
            differ. `"cache"` expands keys and values of equal prompts. `"auto"` takes whichever of the two is estimated
            to be cheaper, or neither where neither is; `"off"` never shares. The tree is ruled out by attention other
            than SDPA and positions that are not rotary, the cache by activation checkpointing (GRPOConfig's default)
            and several processes, both by sliding-window and recurrent layers. Where nothing is left, every row is
            computed by itself, and the log says so once. Generation shares equal prompts too, unless `"off"`.
        kept_prefixes_gib (`float`, *optional*, defaults to `1.0`):
            Memory for keys and values of what has been generated, in GiB, of each process. A prompt that goes on from
            an earlier prompt and its completion then computes only what is new, as long as the weights stay. Nothing
            is kept while less than half of the prompts is known, nor at 0. vLLM keeps its own.
    """

    prefix_sharing: PrefixSharing = field(
        default="auto", metadata={"help": "How shared prefixes are computed once: auto, tree, cache or off."}
    )

    kept_prefixes_gib: float = field(
        default=1.0, metadata={"help": "GiB for keys and values that prompts go on from; 0 keeps none."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kept_prefixes_gib < 0:
            raise ValueError(f"kept_prefixes_gib is {self.kept_prefixes_gib!r}; it must be at least 0 (GiB).")
        if self.prefix_sharing not in get_args(PrefixSharing):
            raise ValueError(f"prefix_sharing is {self.prefix_sharing!r}; it must be 'auto', 'tree', 'cache' or 'off'.")
