"""Keras's optimizers, and their learning rates in `schedules`."""

from . import _described, schedules
from ._core import models as _core


class Optimizer:
    """Base class of the optimizers. One belongs to one model, from compile() on."""

    def __init__(self, *args, **kwargs):
        self._hold(_described.config_of(type(self), args, kwargs))

    def _hold(self, config):
        envelope = {"class_name": type(self).__name__, "config": config}
        self._optimizer = _core.make_optimizer(envelope)

    @property
    def name(self):
        return self._optimizer.name

    @property
    def learning_rate(self):
        """That of the next step. It may be set where it is no schedule."""
        return self._optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, rate):
        self._optimizer.learning_rate = float(rate)

    @property
    def iterations(self):
        """Updates made."""
        return self._optimizer.iterations

    @property
    def variables(self):
        """Copies of the state: a list of (path, array)."""
        return self._optimizer.variables()

    @property
    def built(self):
        return self._optimizer.is_built

    def get_config(self):
        return self._optimizer.get_config()

    @classmethod
    def from_config(cls, config):
        optimizer = cls.__new__(cls)
        optimizer._hold(_described.plain(config))
        return optimizer

    def _envelope(self):
        return self._optimizer.envelope()

    def __reduce__(self):
        return type(self).from_config, (self.get_config(),)

    def __repr__(self):
        return f"<{type(self).__name__} name={self.name}>"


__all__ = ["Optimizer", "get", "deserialize", "serialize", "schedules"]
__all__ += _described.add_classes("optimizers", Optimizer, globals())


def _wrapped(held):
    """The Python object of one of the library's."""
    optimizer = globals()[held.class_name].__new__(globals()[held.class_name])
    optimizer._optimizer = held
    return optimizer


def get(identifier):
    """From a name in any case, a configuration or an object."""
    if identifier is None or isinstance(identifier, Optimizer):
        return identifier
    return _wrapped(_core.make_optimizer(_described.plain(identifier)))


def deserialize(config):
    return get(config)


def serialize(optimizer):
    return optimizer._envelope()
