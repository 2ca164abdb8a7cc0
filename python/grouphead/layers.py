"""Keras's layers: their names, arguments and defaults, run by the library."""

from . import _described
from ._core import models as _core
from ._layer import Layer, Variable, register_classes, wrap
from ._lookup import LookupLayer, adapted_array
from ._symbols import KerasTensor

__all__ = [
    "Input",
    "InputLayer",
    "KerasTensor",
    "Layer",
    "Variable",
    "add",
    "average",
    "concatenate",
    "deserialize",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "serialize",
    "subtract",
]


class IntegerLookup(LookupLayer):
    """`keras.layers.IntegerLookup`: integers by their places in a vocabulary."""


class StringLookup(LookupLayer):
    """`keras.layers.StringLookup`: texts by their places in a vocabulary."""


class TextVectorization(LookupLayer):
    """`keras.layers.TextVectorization`: texts split into tokens, by their places."""


class Normalization(Layer):
    """`keras.layers.Normalization`: (x - mean) / deviation."""

    def adapt(self, data) -> None:
        """Takes mean and variance from an array."""
        array = adapted_array(data)
        if not self.built:
            self.build(array.shape)
        _core.adapt(self._layer, array)


_names = _described.add_classes("layers", Layer, globals())
register_classes(globals(), _names)
# Keras's other names of them.
_aliases = {
    "AvgPool1D": "AveragePooling1D",
    "AvgPool2D": "AveragePooling2D",
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "GlobalAvgPool1D": "GlobalAveragePooling1D",
    "GlobalAvgPool2D": "GlobalAveragePooling2D",
    "GlobalMaxPool1D": "GlobalMaxPooling1D",
    "GlobalMaxPool2D": "GlobalMaxPooling2D",
    "GroupedQueryAttention": "GroupQueryAttention",
    "MaxPool1D": "MaxPooling1D",
    "MaxPool2D": "MaxPooling2D",
    "SeparableConvolution1D": "SeparableConv1D",
    "SeparableConvolution2D": "SeparableConv2D",
}
globals().update((alias, globals()[name]) for alias, name in _aliases.items())
__all__ += [*_names, *_aliases]


def Input(
    shape=None, batch_size=None, dtype="float32", name=None, batch_shape=None, optional=False
):
    """`keras.Input`: a symbolic tensor, an input of a model to be.

    `shape` is without the batch, None for an unknown size. `batch_shape` takes both places. Inputs
    of dtype "string" take arrays of texts; as tensors they are uint8, with one more axis of bytes.
    """
    if batch_shape is not None:
        if shape is not None or batch_size is not None:
            raise ValueError("Input: expected batch_shape alone, or shape with batch_size")
        batch_size, shape = batch_shape[0], batch_shape[1:]
    if shape is None:
        raise ValueError("Input: expected a shape, got None")
    shape = [shape] if isinstance(shape, int) else list(shape)
    if dtype == "string":
        shape, dtype = [*shape, None], "uint8"
    symbol = _core.input(shape, batch_size, dtype or "float32", name or "input_layer", optional)
    return KerasTensor(symbol)


InputLayer = Input  # of a Sequential model


def deserialize(config):
    """A layer from Keras's envelope of it."""
    return wrap(_core.layer_from_config(_described.plain(config)))


def serialize(layer):
    """Keras's envelope of a layer."""
    return layer._envelope()


def _functional(cls, name):
    def function(inputs, **kwargs):
        return cls(**kwargs)(inputs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`keras.layers.{name}`: a new `{cls.__name__}` layer, called on `inputs`."
    return function


for _name in ("Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract"):
    globals()[_name.lower()] = _functional(globals()[_name], _name.lower())
