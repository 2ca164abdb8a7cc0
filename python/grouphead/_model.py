"""Model and Sequential: Keras's models over the library's."""

from __future__ import annotations

import os
import tempfile

from . import _arrays, _data, _described, _seeds
from ._core import models as _core
from ._layer import Layer, register_classes, wrap
from ._symbols import KerasTensor, is_symbolic
from ._training import Training


def _symbols(tensors, what):
    """(the library's symbols, their keys where they form a dict)."""
    keys = sorted(tensors) if isinstance(tensors, dict) else []
    if isinstance(tensors, dict):
        tensors = [tensors[key] for key in keys]
    elif isinstance(tensors, KerasTensor):
        tensors = [tensors]
    if not isinstance(tensors, (list, tuple)) or not all(map(is_symbolic, tensors)):
        raise TypeError(f"Model: {what}: expected symbolic tensors, got {tensors!r}")
    return [tensor._symbol for tensor in tensors], keys


class Model(Training, Layer):
    """`keras.Model(inputs, outputs)`: layers connected from inputs to outputs.

    A computation of your own is a graph of layers and operations here, not a subclass with call().
    """

    def __init__(self, inputs=None, outputs=None, name=None, trainable=True):
        if inputs is None or outputs is None:
            raise TypeError(
                "Model: expected inputs and outputs; classes of Python's own with call() are not"
                " supported, since the library has no gradients of Python's functions"
            )
        symbols, input_keys = _symbols(inputs, "inputs")
        results, output_keys = _symbols(outputs, "outputs")
        self._hold(
            _core.functional(
                symbols,
                results,
                name or "functional",
                _seeds.next_seed(),
                input_keys,
                output_keys,
            )
        )
        if not trainable:
            self.trainable = False

    def _hold(self, layer):
        super()._hold(layer)
        self._begin_training()

    def _names(self):
        keys = self._layer.input_keys
        inputs = keys if keys else self._layer.input_names if self.built else ["inputs"]
        return _data.Names(list(inputs), self._layer.output_names)

    def __call__(self, *args, **kwargs):
        if len(args) == 1 and isinstance(args[0], dict):
            given = args[0]
            names = self._names().inputs
            unknown = [key for key in given if key not in names]
            if unknown:
                raise ValueError(f"{self.name}: expected inputs {names}, got {unknown}")
            args = [[given.get(name) for name in names]]
        results = super().__call__(*args, **kwargs)
        keys = self._layer.output_keys
        if not keys:
            return results
        return dict(zip(keys, results if isinstance(results, list) else [results]))

    @property
    def layers(self) -> list[Layer]:
        """The layers, input layers among them but for a Sequential model."""
        return [wrap(layer) for layer in self._layer.layers]

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name or its place in `layers`."""
        if (name is None) == (index is None):
            raise ValueError("get_layer: expected a name or an index")
        return self.layers[index] if name is None else wrap(self._layer.get_layer(name))

    @property
    def inputs(self) -> list[KerasTensor]:
        return [KerasTensor(symbol) for symbol in self._layer.inputs]

    @property
    def outputs(self) -> list[KerasTensor]:
        return [KerasTensor(symbol) for symbol in self._layer.outputs]

    @property
    def input(self):
        keys = self._layer.input_keys
        return dict(zip(keys, self.inputs)) if keys else _arrays.unlisted(self.inputs)

    @property
    def output(self):
        keys = self._layer.output_keys
        return dict(zip(keys, self.outputs)) if keys else _arrays.unlisted(self.outputs)

    @property
    def input_shape(self):
        return _arrays.unlisted([tensor.shape for tensor in self.inputs])

    @property
    def output_shape(self):
        return _arrays.unlisted([tensor.shape for tensor in self.outputs])

    def summary(self, print_fn=print) -> None:
        """Prints the table of layers, their outputs and numbers of parameters."""
        print_fn(self._layer.summary())

    @classmethod
    def from_config(cls, config):
        envelope = {"class_name": _class_in(cls, config), "config": _described.plain(config)}
        return wrap(_core.model_from_config(envelope, _seeds.next_seed()))

    def to_json(self, indent: int | None = None) -> str:
        """The architecture as text that Keras loads; no numbers."""
        return self._layer.to_json(-1 if indent is None else indent)

    def save(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Writes a `.keras` file with weights, what compile() was given and the optimizer's state.

        Keras 3.15 loads it; raises ConfigError for a model that Keras could not load.
        """
        save_model(self, filepath, overwrite)

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Writes weights, and the optimizer's state, to `x.weights.h5` or `x.weights.json`, or the
        weights alone to `x.safetensors`."""
        _core.save_weights(self._layer, self._trainer_or_none(), _target(filepath, overwrite))

    def load_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Reads them back, from `.keras` files and older `.h5` ones too. Raises IoError for a file
        that does not fit; then no weight is changed."""
        _core.load_weights(self._layer, self._trainer_or_none(), os.fspath(filepath))

    def __reduce__(self):
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "model.keras")
            _core.save_model(self._layer, self._trainer_or_none(), file, True)
            with open(file, "rb") as stream:
                return _unpickled, (stream.read(),)

    def __copy__(self):
        return self


class Sequential(Model):
    """`keras.Sequential`: a chain of layers. An Input first builds them as they are added."""

    def __init__(self, layers=None, trainable=True, name=None):
        self._hold(_core.sequential(name or "sequential", bool(trainable), _seeds.next_seed()))
        for layer in layers or []:
            self.add(layer)

    def add(self, layer: Layer | KerasTensor) -> None:
        """Appends a layer; an Input, first of all."""
        if isinstance(layer, KerasTensor):
            self._layer.add_input(layer._symbol)
        elif isinstance(layer, Layer):
            self._layer.add(layer._layer)
        else:
            raise TypeError(f"{self.name}: add: expected a layer or an Input, got {layer!r}")
        self._begin_training(keep=True)


def _class_in(cls, config):
    is_graph = isinstance(config, dict) and "input_layers" in config
    return "Functional" if is_graph or cls is Model else "Sequential"


def _target(filepath, overwrite):
    filepath = os.fspath(filepath)
    if not overwrite and os.path.exists(filepath):
        raise FileExistsError(f"{filepath}: is there already, and overwrite is False")
    return filepath


def _unpickled(contents):
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "model.keras")
        with open(file, "wb") as stream:
            stream.write(contents)
        return load_model(file)


register_classes({"Functional": Model, "Model": Model, "Sequential": Sequential},
                 ["Functional", "Model", "Sequential"])


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects=None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Model:
    """The model of a `.keras` file, or of a whole-model `.h5` file of older versions, compiled as
    it was, with the optimizer's state. Or of a folder that `save_model_folder()` of C++ wrote.

    A model whose training the library cannot take comes uncompiled, and `compile_problem` says why.
    Code in a file is never run, whatever `safe_mode`; `custom_objects` must be empty: see
    `register_class`. Raises IoError for a file that is missing, damaged or has other layers.
    """
    if custom_objects:
        raise ValueError("load_model: custom_objects: expected none; see grouphead.register_class")
    path = os.fspath(filepath)
    if os.path.isdir(path):
        return wrap(_core.load_model_folder(path))
    model, trainer, problem = _core.load_model(path, bool(compile))
    loaded = wrap(model)
    loaded._continue_training(trainer, problem)
    return loaded


def save_model(
    model: Model,
    filepath: str | os.PathLike[str],
    overwrite: bool = True,
    allow_own_options: bool = False,
) -> None:
    """`model.save(filepath)`; with `allow_own_options` also of what Keras does not have."""
    _core.save_model(
        model._layer, model._trainer_or_none(), _target(filepath, overwrite), allow_own_options
    )


def model_from_json(json_string: str) -> Model:
    """The model of a text that `to_json()` gave, with new weights."""
    return wrap(_core.model_from_json(json_string, _seeds.next_seed()))
