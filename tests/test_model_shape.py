"""Sizes are those of the configuration; where it lacks one, that is said, or assumed where an estimate suffices."""

from types import SimpleNamespace

import pytest
from transformers import GPT2Config, LlamaConfig, Qwen2Config

from trl_3spo.model_shape import LayerShape, ModelShape
from trl_3spo.prefix_sharing.route import EXPANSION

QWEN2 = {"hidden_size": 32, "intermediate_size": 80, "num_attention_heads": 4, "num_key_value_heads": 2}


def test_grouped_queries_by_hand():
    layer = LayerShape.of(Qwen2Config(**QWEN2))
    assert layer == LayerShape(hidden_size=32, intermediate_size=80, query_size=32, key_size=16)
    assert layer.num_weights == 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 80


def test_heads_may_have_a_size_of_their_own():
    layer = LayerShape.of(LlamaConfig(**QWEN2, head_dim=16))
    assert (layer.query_size, layer.key_size) == (4 * 16, 2 * 16)


def test_without_key_heads_of_their_own_there_are_as_many_as_heads():
    config = SimpleNamespace(hidden_size=32, intermediate_size=80, num_attention_heads=4)
    assert LayerShape.of(config) == LayerShape(32, 80, 32, 32)
    config.num_key_value_heads = None
    assert LayerShape.of(config).key_size == 32


def test_an_inner_width_that_is_not_told_is_refused_or_assumed():
    config = GPT2Config(n_embd=32, n_head=4)
    with pytest.raises(AttributeError, match="intermediate_size"):
        LayerShape.of(config)
    layer = LayerShape.of(config, expansion=EXPANSION)
    assert layer == LayerShape(32, 4 * 32, 32, 32)
    assert layer.num_weights == 4 * 32 * 32 + 3 * 32 * 128
    assert LayerShape.of(Qwen2Config(**QWEN2), expansion=EXPANSION).intermediate_size == 80


@pytest.mark.parametrize(("is_tied", "num_embeddings"), [(True, 1), (False, 2)])
def test_a_model_is_its_layers_and_its_embedding(is_tied, num_embeddings):
    shape = ModelShape.of(Qwen2Config(**QWEN2, num_hidden_layers=3, vocab_size=100, tie_word_embeddings=is_tied))
    assert shape.num_linear == 3 * shape.layer.num_weights
    assert shape.num_other == num_embeddings * 100 * 32
