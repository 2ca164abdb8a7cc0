"""compile(), fit(), evaluate(), predict() of models."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _data, _described, _seeds, optimizers
from . import callbacks as _callbacks
from ._core import models as _core
from ._progress import Progress


class Training:
    """Keras's Trainer, by the library."""

    def _begin_training(self, keep=False):
        self._trainer = self._predictor = None
        if not keep:
            self._settings = self._optimizer = None
            self.history = None
            self.compile_problem = ""

    def _continue_training(self, trainer, problem):
        """With what a file had."""
        self._trainer = trainer
        self.compile_problem = problem
        if trainer is not None:
            self._settings = trainer.compile_config()
            self._optimizer = optimizers._wrapped(trainer.optimizer) if trainer.optimizer else None

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        run_eagerly=False,
        steps_per_execution=1,
        jit_compile="auto",
        auto_scale_loss=True,
    ) -> None:
        """Says what the model is trained by.

        Losses and metrics are names, objects or configurations; one for each output comes as a list
        or a dict. `run_eagerly`, `steps_per_execution` and `jit_compile` have no meaning here.
        """
        self._begin_training()
        self._optimizer = optimizers.get(optimizer)
        self._settings = _described.plain(
            {
                "loss": loss,
                "loss_weights": loss_weights,
                "metrics": metrics,
                "weighted_metrics": weighted_metrics,
                "auto_scale_loss": bool(auto_scale_loss),
            }
        )
        if self.built:
            self._compiled()

    @property
    def compiled(self) -> bool:
        return self._settings is not None

    @property
    def optimizer(self) -> optimizers.Optimizer | None:
        return self._optimizer

    @property
    def stop_training(self) -> bool:
        """A callback sets it to end fit() after the batch."""
        return self._trainer is not None and self._trainer.stop_training

    @stop_training.setter
    def stop_training(self, stop):
        self._compiled().stop_training = bool(stop)

    def get_compile_config(self) -> dict[str, Any]:
        """What compile() was given, as Keras's files have it."""
        return self._compiled().compile_config()

    def compile_from_config(self, config):
        known = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics")
        self.compile(**{key: config[key] for key in known if key in config})

    def _trainer_or_none(self):
        return self._compiled() if self.compiled else None

    def _compiled(self):
        if self._settings is None:
            raise ValueError(f"{self.name}: expected a compiled model; call compile() first")
        if self._trainer is None:
            optimizer = self._optimizer._optimizer if self._optimizer else None
            self._trainer = _core.compile(self._layer, self._settings, optimizer)
        return self._trainer

    def _build_for(self, x):
        if not self.built and x:
            self._layer.build_once([[None, *array.shape[1:]] for array in x], _seeds.next_seed())

    def _taken(self, x, y=None, sample_weight=None, shuffle_seed=None):
        """Arrays as a tuple of lists, or a data set as the function that gives its batches."""
        if not _data.is_data_set(x):
            names = _data.Names(self._names().inputs, [])
            self._build_for(names.arrays(x)[0])
            return self._names().arrays(x, y, sample_weight)
        if y is not None or sample_weight is not None:
            raise ValueError("x: a data set gives the targets and weights too; expected y=None")
        if not self.built:
            raise ValueError(f"{self.name}: expected a built model for a data set; call build()")
        return _data.Batches(x, self._names(), shuffle_seed)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs: int = 1,
        verbose="auto",
        callbacks=None,
        validation_split: float = 0.0,
        validation_data=None,
        shuffle: bool = True,
        class_weight=None,
        sample_weight=None,
        initial_epoch: int = 0,
        steps_per_epoch=None,
        validation_steps=None,
        validation_batch_size=None,
        validation_freq=1,
    ) -> _callbacks.History:
        """Trains the model, and returns a History.

        `x`: an array, a list or a dict of them; or what gives batches (x, y, sample_weight): an
        iterator, a loader, an object with len() and [i]. Ctrl-C ends the training after the step,
        with weights, optimizer and `model.history` as they are then, and raises KeyboardInterrupt.
        """
        seed = _seeds.next_seed() % 2**31
        data = self._taken(x, y, sample_weight, seed if shuffle else None)
        trainer = self._compiled()
        options = {
            "batch_size": batch_size or 0,
            "epochs": epochs,
            "initial_epoch": initial_epoch,
            "steps_per_epoch": steps_per_epoch or 0,
            "validation_steps": validation_steps or 0,
            "validation_batch_size": validation_batch_size or 0,
            "validation_freq": validation_freq,
            "validation_split": float(validation_split),
            "shuffle": bool(shuffle),
            "shuffle_seed": seed,
            "class_weight": {int(k): float(v) for k, v in (class_weight or {}).items()},
            "callbacks": self._given_callbacks(callbacks, epochs=epochs, steps=steps_per_epoch),
            "validation": self._validation(validation_data),
        }
        progress = Progress(verbose, epochs)
        progress.start()
        self.history = _callbacks.History(progress.history, progress.epochs)
        self.history.set_model(self)
        self.history.history, self.history.epoch, interrupted = trainer.fit(data, options, progress)
        if interrupted:
            raise KeyboardInterrupt
        return self.history

    def _validation(self, given):
        if given is None:
            return None
        if isinstance(given, (tuple, list)):
            if len(given) not in (2, 3):
                raise ValueError(f"validation_data: expected (x, y[, weights]), got {len(given)}")
            return self._taken(*given)
        return self._taken(given)

    def _given_callbacks(self, callbacks, **params):
        callbacks = _callbacks.as_list(callbacks)
        for callback in callbacks:
            if hasattr(callback, "set_model"):
                callback.set_params(params)
                callback.set_model(self)
        return [_callbacks.of_library(callback) for callback in callbacks]

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        steps=None,
        callbacks=None,
        return_dict=False,
    ):
        """Loss and metrics: a number, a list of them, or with `return_dict` a dict."""
        data = self._taken(x, y, sample_weight)
        logs = self._compiled().evaluate(
            data, batch_size or 32, steps or 0, self._given_callbacks(callbacks)
        )
        return logs if return_dict else _numbers(logs)

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """The outputs of inference, batch after batch, as NumPy arrays."""
        data = self._taken(x)
        if self._predictor is None:
            self._predictor = self._trainer or _core.compile(self._layer, {}, None)
        if isinstance(data, tuple):
            outputs = self._predictor.predict(data[0], batch_size or 32)
        else:
            parts = []
            while steps is None or len(parts) < steps:
                batch = data(0, len(parts))
                if batch is None:
                    break
                parts.append(self._predictor.predict(batch[0], 2**31))
            if not parts:
                raise ValueError("predict: x: expected a batch, got none")
            outputs = [np.concatenate(together) for together in zip(*parts)]
        keys = self._layer.output_keys
        if keys:
            return dict(zip(keys, outputs))
        return outputs[0] if len(outputs) == 1 else outputs

    def predict_on_batch(self, x):
        return self.predict(x, batch_size=2**31)

    def train_on_batch(
        self, x, y=None, sample_weight=None, class_weight=None, return_dict=False
    ):
        """One step. Loss and metrics are means since reset_metrics()."""
        return self._on_batch(x, y, sample_weight, class_weight, return_dict, training=True)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        return self._on_batch(x, y, sample_weight, None, return_dict, training=False)

    def _on_batch(self, x, y, sample_weight, class_weight, return_dict, training):
        if class_weight is not None:
            labels = np.asarray(y).reshape(-1)
            sample_weight = np.array([class_weight.get(int(one), 1.0) for one in labels])
        data = self._taken(x, y, sample_weight)
        _, logs = self._compiled().on_batch(data, training, False)
        return logs if return_dict else _numbers(logs)

    def reset_metrics(self) -> None:
        self._compiled().reset_metrics()


def _numbers(logs):
    numbers = list(logs.values())
    return numbers[0] if len(numbers) == 1 else numbers
