"""Keras's initializers."""

from . import _described, _seeds
from ._core import models as _core


class Initializer(_described.Rule):
    """Base class of the initializers."""

    _complete = staticmethod(_core.initializer)

    def __call__(self, shape, dtype="float32"):
        """An array of first numbers, drawn anew by each call unless the rule has a seed."""
        return _core.initial_numbers(self._envelope(), shape, dtype, _seeds.next_seed())


__all__ = ["Initializer", "get", "deserialize", "serialize"]
__all__ += _described.add_classes("initializers", Initializer, globals())


def get(identifier):
    """From a name, a configuration or an object."""
    if identifier is None or isinstance(identifier, Initializer):
        return identifier
    return deserialize(_core.initializer(_described.plain(identifier)))


def deserialize(config):
    return _described.from_envelope(globals(), config)


def serialize(initializer):
    return initializer._envelope()
