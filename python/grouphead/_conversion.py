"""Fewer key/value heads for trained models."""

from __future__ import annotations

from . import _data, _seeds
from ._core import models as _core
from ._layer import Layer, wrap


def convert_heads(
    model: Layer, num_key_value_heads: int, pooling: str = "mean", seed: int | None = None
) -> Layer:
    """A model, or an attention layer, with fewer key/value heads.

    All MultiHeadAttention and GroupQueryAttention layers become GroupQueryAttention with
    `num_key_value_heads`; a new head is the `mean` of the old ones that served the same query
    heads, the `first` of them, or `random`. The model itself stays as it is. Raises ConfigError.
    """
    seed = _seeds.next_seed() if seed is None else seed
    return wrap(_core.convert_heads(model._layer, num_key_value_heads, pooling, seed))


def compare_heads(before, after, inputs):
    """What a conversion changed, on these inputs: errors and cache sizes of each layer, and
    `output_error`, all relative. `table` is the same as text."""
    arrays = _data.ordered(inputs, before._names().inputs, "inputs")
    return _core.compare_heads(before._layer, after._layer, arrays)
