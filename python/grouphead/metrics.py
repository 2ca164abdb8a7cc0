"""Keras's metrics."""

from . import _described
from ._arrays import array
from ._core import models as _core


class Metric:
    """Base class of the metrics: a number gathered over batches.

    A metric given to compile() says what is measured; the model gathers in one of its own.
    """

    def __init__(self, *args, **kwargs):
        self._hold(_described.config_of(type(self), args, kwargs))

    def _hold(self, config):
        self._metric = _core.make_metric({"class_name": type(self).__name__, "config": config})

    @property
    def name(self):
        return self._metric.name

    def update_state(self, y_true, y_pred, sample_weight=None):
        self._metric.update_state(array(y_true), array(y_pred), array(sample_weight))

    def result(self):
        return self._metric.result()

    def reset_state(self):
        self._metric.reset_state()

    def __call__(self, y_true, y_pred, sample_weight=None):
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def get_config(self):
        return self._metric.get_config()

    @classmethod
    def from_config(cls, config):
        metric = cls.__new__(cls)
        metric._hold(_described.plain(config))
        return metric

    def _envelope(self):
        return {"class_name": type(self).__name__, "config": self.get_config()}

    def __reduce__(self):
        return type(self).from_config, (self.get_config(),)

    def __repr__(self):
        return f"<{type(self).__name__} name={self.name}>"


class _OfValues(Metric):
    """A metric of one array."""

    def update_state(self, values, sample_weight=None):
        values = array(values)
        self._metric.update_state(None, values, array(sample_weight))

    def __call__(self, values, sample_weight=None):
        self.update_state(values, sample_weight)
        return self.result()


class Mean(_OfValues):
    """`keras.metrics.Mean`: the weighted mean of values."""


class Sum(_OfValues):
    """`keras.metrics.Sum`: the weighted sum of values."""


__all__ = ["Metric", "get", "deserialize", "serialize"]
__all__ += _described.add_classes("metrics", Metric, globals())


def get(identifier):
    """From a name, a configuration or an object."""
    if identifier is None or isinstance(identifier, Metric):
        return identifier
    made = _core.make_metric(_described.plain(identifier))
    return deserialize({"class_name": made.class_name, "config": made.get_config()})


def deserialize(config):
    return _described.from_envelope(globals(), config)


def serialize(metric):
    return metric._envelope()
