"""Keras's losses."""

from . import _described
from ._arrays import array
from ._core import models as _core


class Loss(_described.Rule):
    """Base class of the losses."""

    _complete = staticmethod(_core.loss)

    @property
    def name(self):
        return self._config["name"]

    @property
    def reduction(self):
        return self._config["reduction"]

    def __call__(self, y_true, y_pred, sample_weight=None):
        """The reduced loss, a float; with `reduction=None` an array of values."""
        return _core.loss_value(
            self._envelope(), array(y_true), array(y_pred), array(sample_weight)
        )


__all__ = ["Loss", "get", "deserialize", "serialize"]
__all__ += _described.add_classes("losses", Loss, globals())


def get(identifier):
    """From a name (`mse`, `binary_crossentropy`, ...), a configuration or an object."""
    if identifier is None or isinstance(identifier, Loss):
        return identifier
    return deserialize(_core.loss(_described.plain(identifier)))


def deserialize(config):
    return _described.from_envelope(globals(), config)


def serialize(loss):
    return loss._envelope()
