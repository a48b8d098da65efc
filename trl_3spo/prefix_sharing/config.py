"""Configuration of [`PrefixSharingTrainer`]."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from trl import GRPOConfig

PrefixSharing = Literal["auto", "tree", "cache", "off"]
"""Values of the option `prefix_sharing`."""

TreeAttention = Literal["auto", "sdpa", "flex"]
"""Values of the option `tree_attention`."""


@dataclass
class PrefixSharingConfig(GRPOConfig):
    r"""Configuration class for the [`~trl_3spo.prefix_sharing.trainer.PrefixSharingTrainer`].

    The options of [`~trl.GRPOConfig`] keep their names and meanings.

    Parameters:
        prefix_sharing (`str`, *optional*, defaults to `"auto"`):
            Method that computes shared prefixes of a batch once for the log-probabilities.

            - `"tree"` computes all rows as one trie. Samples of a state, steps of an episode and branches of a search
              tree share every token up to where they differ. It needs SDPA attention and rotary positions.
            - `"cache"` computes each prompt once and expands its keys and values to all its completions. It needs one
              process and no activation checkpointing (GRPOConfig's default is on).
            - `"auto"` chooses the method with the lower estimated cost. If neither is cheaper, nothing is shared.
            - `"off"` shares nothing.

            Models with sliding-window or recurrent layers allow neither method. If no method is possible, every row is
            computed by itself, and the log says so once. Generation shares equal prompts too, unless `"off"`.
        tree_attention (`str`, *optional*, defaults to `"auto"`):
            What computes attention over a trie: `"sdpa"`, in blocks, or `"flex"`, FlexAttention in one call, which has
            no gradients on a CPU and has not run on a GPU yet. `"auto"` is SDPA, and so is training with attention
            dropout, which FlexAttention lacks.
        max_tree_tokens (`int`, *optional*):
            Largest number of distinct tokens in a trie; `None`: no limit. The rows of a larger batch are computed as
            several tries, one after the other, also if `"auto"` would share nothing. The backward pass computes each
            again, so the memory of an update does not grow with the batch. If the longest row has more tokens, its
            length is the limit. It needs one process, and a model that allows tries.
        kept_prefixes_gib (`float`, *optional*, defaults to `1.0`):
            Memory in GiB per process for the keys and values of generated sequences. While the weights stay the same, a
            prompt that continues an earlier prompt and its completion computes only its new tokens. Nothing is kept at
            0, or if less than half of the prompt tokens could be reused. vLLM has its own prompt cache.
    """

    prefix_sharing: PrefixSharing = field(
        default="auto",
        metadata={"help": "Method that computes shared prefixes once: 'auto', 'tree', 'cache' or 'off'."},
    )

    tree_attention: TreeAttention = field(
        default="auto",
        metadata={"help": "What computes attention over a trie: 'auto', 'sdpa' or 'flex' (CUDA devices)."},
    )

    max_tree_tokens: int | None = field(
        default=None,
        metadata={"help": "Largest number of distinct tokens computed at once as a trie; None: no limit."},
    )

    kept_prefixes_gib: float = field(
        default=1.0,
        metadata={"help": "Memory in GiB per process for keys and values that later prompts reuse; 0: none."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kept_prefixes_gib < 0:
            raise ValueError(f"kept_prefixes_gib is {self.kept_prefixes_gib!r}; it must be at least 0 (GiB).")
        if self.prefix_sharing not in get_args(PrefixSharing):
            raise ValueError(f"prefix_sharing is {self.prefix_sharing!r}; it must be 'auto', 'tree', 'cache' or 'off'.")
        if self.max_tree_tokens is not None:
            self._check_tree_tokens(self.max_tree_tokens)
        if self.tree_attention not in get_args(TreeAttention):
            raise ValueError(f"tree_attention is {self.tree_attention!r}; it must be 'auto', 'sdpa' or 'flex'.")
        if self.tree_attention == "flex" and self.device.type == "cpu":
            raise ValueError("tree_attention is 'flex', but FlexAttention has no gradients on a CPU; set 'sdpa'.")

    def _check_tree_tokens(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"max_tree_tokens is {limit!r}; it must be at least 1, or None for no limit.")
        if self.prefix_sharing not in ("auto", "tree"):
            raise ValueError(
                f"max_tree_tokens is {limit} and prefix_sharing is {self.prefix_sharing!r}, which makes no tries; set "
                "prefix_sharing to 'auto' or 'tree'."
            )
        if self.world_size > 1:
            raise ValueError(
                f"max_tree_tokens is {limit} and there are {self.world_size} processes. A model in parallel expects "
                "one forward pass before each backward pass. Leave it out, and raise gradient_accumulation_steps."
            )
