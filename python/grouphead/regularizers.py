"""Keras's regularizers."""

from . import _described
from ._arrays import array
from ._core import models as _core


class Regularizer(_described.Rule):
    """Base class of the regularizers."""

    _complete = staticmethod(_core.regularizer)

    def __call__(self, x):
        """The penalty of an array."""
        return _core.penalty(self._envelope(), array(x))


__all__ = ["Regularizer", "get", "deserialize", "serialize"]
__all__ += _described.add_classes("regularizers", Regularizer, globals())


def get(identifier):
    """From a name, a configuration or an object."""
    if identifier is None or isinstance(identifier, Regularizer):
        return identifier
    return deserialize(_core.regularizer(_described.plain(identifier)))


def deserialize(config):
    return _described.from_envelope(globals(), config)


def serialize(regularizer):
    return regularizer._envelope()
