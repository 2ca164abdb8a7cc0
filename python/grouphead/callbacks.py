"""Keras's callbacks. One of your own derives Callback."""

from . import _described
from ._core import models as _core


class Callback:
    """What fit() and evaluate() call, in the thread that called them. `self.model` is the model.

    A method that raises ends the training, whose weights are those of the last step.
    """

    model = None
    params = None

    def set_model(self, model):
        self.model = model

    def set_params(self, params):
        self.params = params

    def on_train_begin(self, logs=None):
        pass

    def on_train_end(self, logs=None):
        pass

    def on_epoch_begin(self, epoch, logs=None):
        pass

    def on_epoch_end(self, epoch, logs=None):
        pass

    def on_train_batch_begin(self, batch, logs=None):
        pass

    def on_train_batch_end(self, batch, logs=None):
        pass

    def on_test_begin(self, logs=None):
        pass

    def on_test_end(self, logs=None):
        pass


class LambdaCallback(Callback):
    """`keras.callbacks.LambdaCallback`: functions in the methods' place."""

    def __init__(self, *args, **kwargs):
        bound = type(self).__signature__.bind(*args, **kwargs)
        for method, function in bound.arguments.items():
            if function is not None:
                setattr(self, method, function)


class LearningRateScheduler(Callback):
    """`keras.callbacks.LearningRateScheduler`: the rate of an epoch by a function of the epoch and
    the rate before, or of the epoch alone."""

    def __init__(self, schedule, verbose=0):
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch, logs=None):
        before = self.model.optimizer.learning_rate
        try:
            rate = self.schedule(epoch, before)
        except TypeError:
            rate = self.schedule(epoch)
        self.model.optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {float(rate):.6g}")


class History(Callback):
    """What fit() returns: `history`, a list of numbers by name, and `epoch`."""

    def __init__(self, history=None, epoch=None):
        self.history = {} if history is None else history
        self.epoch = [] if epoch is None else epoch


# Arguments that say what Keras prints or draws and the library does not; their defaults alone.
_WITHOUT_MEANING = {"verbose", "write_graph", "write_images", "write_steps_per_second", "options",
                    "profile_batch", "histogram_freq", "embeddings_freq", "embeddings_metadata",
                    "double_checkpoint", "raise_error"}


class _OfLibrary(Callback):
    """One of the library's own."""

    def __init__(self, *args, **kwargs):
        name, signature = type(self).__name__, type(self).__signature__
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        bound.apply_defaults()
        for key in _WITHOUT_MEANING & set(bound.arguments):
            if key != "verbose" and bound.arguments[key] != signature.parameters[key].default:
                raise ValueError(f"{name}: {key} is not supported")
        config = {
            key: _described.plain(str(value) if hasattr(value, "__fspath__") else value)
            for key, value in bound.arguments.items()
            if key not in _WITHOUT_MEANING
        }
        self._callback = _core.make_callback(name, config)


class EarlyStopping(_OfLibrary):
    """`keras.callbacks.EarlyStopping`: ends the training when a number no longer improves."""

    @property
    def stopped_epoch(self):
        """The epoch that was the last; 0 where the training was not ended."""
        return self._callback.stopped_epoch or 0

    @property
    def best_epoch(self):
        return self._callback.best_epoch


__all__ = ["Callback", "History"] + _described.add_classes("callbacks", _OfLibrary, globals())


def as_list(callbacks):
    """A list from None, one, or a list of them."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def of_library(callback):
    """What the library calls: its own callback, or an object with the methods."""
    if isinstance(callback, _OfLibrary):
        return callback._callback
    if not hasattr(callback, "on_epoch_end"):
        raise TypeError(f"callbacks: expected objects with Keras's methods, got {callback!r}")
    return callback
