"""Keras's constraints."""

from . import _described
from ._arrays import array
from ._core import models as _core


class Constraint(_described.Rule):
    """Base class of the constraints."""

    _complete = staticmethod(_core.constraint)

    def __call__(self, w):
        """The array that the rule makes of `w`."""
        return _core.constrained(self._envelope(), array(w))


__all__ = ["Constraint", "get", "deserialize", "serialize"]
__all__ += _described.add_classes("constraints", Constraint, globals())


def get(identifier):
    """From a name, a configuration or an object."""
    if identifier is None or isinstance(identifier, Constraint):
        return identifier
    return deserialize(_core.constraint(_described.plain(identifier)))


def deserialize(config):
    return _described.from_envelope(globals(), config)


def serialize(constraint):
    return constraint._envelope()
