"""Sizes of a decoder from its configuration: the cost of a token, and the number of weights."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LayerShape:
    """Sizes of a decoder layer with a gated linear unit and grouped queries.

    Args:
        hidden_size: Width of the residual stream.
        intermediate_size: Width inside the gated linear unit.
        query_size: Width of all query heads together.
        key_size: Width of all key heads together, and of all value heads together.
    """

    hidden_size: int
    intermediate_size: int
    query_size: int
    key_size: int

    @classmethod
    def of(cls, config: Any, *, expansion: int | None = None) -> "LayerShape":
        """Return the sizes a transformers configuration has.

        Args:
            config: The configuration of a language model.
            expansion: Ratio of `intermediate_size` to `hidden_size`, if the configuration has no `intermediate_size`.

        Raises:
            AttributeError: The configuration lacks a size other than the one that `expansion` replaces.
        """
        heads, hidden = config.num_attention_heads, config.hidden_size
        head_size = getattr(config, "head_dim", None) or hidden // heads
        inner = getattr(config, "intermediate_size", None)
        if not inner:
            inner = config.intermediate_size if expansion is None else expansion * hidden
        key_heads = getattr(config, "num_key_value_heads", None) or heads
        return cls(hidden, inner, heads * head_size, key_heads * head_size)

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """Numbers of inputs and outputs of every matrix."""
        hidden, inner = self.hidden_size, self.intermediate_size
        attention = [(hidden, self.query_size), (hidden, self.key_size), (hidden, self.key_size)]
        return [*attention, (self.query_size, hidden), (hidden, inner), (hidden, inner), (inner, hidden)]

    @property
    def num_weights(self) -> int:
        """Number of weights in all matrices; one token takes as many multiplications."""
        return sum(inputs * outputs for inputs, outputs in self.matrices)


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a decoder of such layers: Qwen2, Llama, Mistral and similar models.

    Args:
        layer: Sizes of every decoder layer.
        num_layers: Number of decoder layers.
        vocab_size: Number of rows of the embedding.
        has_tied_head: Whether the head shares the embedding's weights.
    """

    layer: LayerShape
    num_layers: int
    vocab_size: int
    has_tied_head: bool

    @classmethod
    def of(cls, config: Any) -> "ModelShape":
        """Return the sizes a transformers configuration has.

        Raises:
            AttributeError: The configuration lacks a size, so its layers are of another kind.
        """
        return cls(LayerShape.of(config), config.num_hidden_layers, config.vocab_size, config.tie_word_embeddings)

    @property
    def num_linear(self) -> int:
        """Number of weights in the matrices of all decoder layers. These are the weights that get quantized."""
        return self.num_layers * self.layer.num_weights

    @property
    def num_other(self) -> int:
        """Number of weights of embedding and head. Norms and biases are few and not counted."""
        return self.vocab_size * self.layer.hidden_size * (1 if self.has_tied_head else 2)
