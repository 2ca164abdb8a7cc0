"""The base class of layers and models, over a layer of the library."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from . import _arrays, _described, _seeds
from ._core import ShapeError
from ._core import models as _core
from ._symbols import KerasTensor, is_symbolic

_wrapped = weakref.WeakValueDictionary()  # by the library's layer: one Python object for each


class Variable:
    """One array of a layer's weights."""

    def __init__(self, variable):
        self._variable = variable

    @property
    def path(self) -> str:
        """`dense/kernel`; of a model's under the names of the layers around it."""
        return self._variable.path

    @property
    def name(self) -> str:
        return self._variable.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self._variable.shape

    @property
    def dtype(self) -> str:
        return self._variable.dtype

    @property
    def trainable(self) -> bool:
        return self._variable.trainable

    @trainable.setter
    def trainable(self, trainable):
        self._variable.trainable = bool(trainable)

    def numpy(self) -> np.ndarray:
        """A copy of its numbers."""
        return self._variable.numpy()

    def assign(self, value) -> None:
        """Sets its numbers. Raises ShapeError for another shape."""
        self._variable.assign(_arrays.array(value))

    def __array__(self, dtype=None, copy=None):
        numbers = self.numpy()
        return numbers if dtype is None else numbers.astype(dtype)

    def __repr__(self):
        return f"<Variable path={self.path}, shape={self.shape}, dtype={self.dtype}>"


class Layer:
    """Keras's Layer over one of the library's.

    Called on symbolic tensors it joins a model, on arrays it computes; its first call builds it.
    Operands go by position or by Keras's names, settings of the call by name. `training=True` is
    for layers that act otherwise then, and `mask` is the mask of the first operand.
    """

    def __init__(self, *args, **kwargs):
        config = _described.config_of(type(self), args, kwargs)
        self._hold(_core.make_layer(type(self).__name__, config))

    def _hold(self, layer):
        self._layer = layer
        self._built_from = None  # the shapes, where this object built the layer
        self._losses = []
        _wrapped[layer] = self

    @property
    def name(self) -> str:
        return self._layer.name

    @property
    def built(self) -> bool:
        return self._layer.is_built

    @property
    def trainable(self) -> bool:
        return self._layer.trainable

    @trainable.setter
    def trainable(self, trainable):
        self._layer.trainable = bool(trainable)

    @property
    def dtype_policy(self) -> str:
        """The name of the policy: `float32`, `mixed_bfloat16`, ..."""
        return self._layer.policy

    def build(self, input_shape) -> None:
        """Makes the weights for an input of this shape, or for a list or dict of several."""
        if isinstance(input_shape, dict):
            names = self._layer.input_names
            shapes = {
                key[: -len("_shape")] if key.endswith("_shape") else key: shape
                for key, shape in input_shape.items()
            }
            unknown = [key for key in shapes if key not in names]
            if unknown:
                raise ValueError(f"{self.name}: expected shapes of {names}, got {unknown}")
            input_shape = [shapes.get(name) for name in names]
        elif not isinstance(input_shape, (list, tuple)):
            raise TypeError(f"{self.name}: build: expected a shape, got {input_shape!r}")
        elif not input_shape or not isinstance(input_shape[0], (list, tuple)):
            input_shape = [input_shape]
        self._layer.build(input_shape, _seeds.next_seed())
        self._built_from = input_shape

    def compute_output_shape(self, *input_shapes, **settings):
        """The shape of the output for inputs of these, a list of them where there are several."""
        first = input_shapes[0]
        if len(input_shapes) == 1 and first and isinstance(first[0], (list, tuple)):
            input_shapes = first
        return _arrays.unlisted(self._layer.output_shapes(list(input_shapes), settings))

    @property
    def variables(self) -> list[Variable]:
        return [Variable(variable) for variable in self._layer.variables()]

    weights = variables

    @property
    def trainable_variables(self) -> list[Variable]:
        return [variable for variable in self.variables if variable.trainable]

    trainable_weights = trainable_variables

    @property
    def non_trainable_variables(self) -> list[Variable]:
        return [variable for variable in self.variables if not variable.trainable]

    non_trainable_weights = non_trainable_variables

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights."""
        return [variable.numpy() for variable in self.variables]

    def set_weights(self, weights) -> None:
        """Sets all weights, or none: raises ShapeError where one does not fit."""
        variables = self.variables
        arrays = [_arrays.array(weight) for weight in weights]
        shapes = [tuple(getattr(array, "shape", ())) for array in arrays]
        if shapes != [variable.shape for variable in variables]:
            raise ShapeError(
                f"[set_weights] {self.name}: expected shapes"
                f" {[variable.shape for variable in variables]}, got {shapes}"
            )
        for variable, array in zip(variables, arrays):
            variable.assign(array)

    def count_params(self) -> int:
        """The number of elements in all weights."""
        total = 0
        for variable in self.variables:
            elements = 1
            for size in variable.shape:
                elements *= size
            total += elements
        return total

    @property
    def losses(self):
        """The penalties that the last call on arrays added."""
        return self._losses

    def get_config(self) -> dict[str, Any]:
        return self._layer.get_config()

    @classmethod
    def from_config(cls, config):
        layer = cls.__new__(cls)
        layer._hold(_core.make_layer(cls.__name__, _described.plain(config)))
        return layer

    def _envelope(self):
        return self._layer.envelope()

    def __call__(self, *args, **kwargs):
        operands, settings = self._sorted(args, kwargs)
        if is_symbolic(operands):
            return self._connected(operands, settings)
        return self._computed(operands, settings)

    call = __call__

    def _sorted(self, args, kwargs):
        """Operands in the order of the layer's names, and the other keywords."""
        names = self._layer.input_names
        # A list of inputs: all operands of a layer of many, or the first ones.
        if len(args) == 1 and isinstance(args[0], (list, tuple)):
            (args,) = args
        elif args and isinstance(args[0], (list, tuple)):
            args = (*args[0], *args[1:])
        operands = list(args)
        settings = {}
        for key, value in kwargs.items():
            if key not in names:
                settings[key] = value
                continue
            place = names.index(key)
            if place < len(args):
                raise TypeError(f"{self.name}: got two values for the argument {key!r}")
            # Such as the states of a recurrent layer.
            values = value if isinstance(value, (list, tuple)) else [value]
            operands += [None] * (place + len(values) - len(operands))
            operands[place : place + len(values)] = values
        return operands, settings

    def _connected(self, operands, settings):
        given = [
            entry._symbol if isinstance(entry, KerasTensor) else _arrays.array(entry)
            for entry in operands
        ]
        keywords = {
            key: value._symbol if isinstance(value, KerasTensor) else _described.plain(value)
            for key, value in settings.items()
            if value is not None
        }
        made = _core.connect(self._layer, given, keywords)
        return _arrays.unlisted([KerasTensor(symbol) for symbol in made])

    def _computed(self, operands, settings):
        arrays = [_arrays.array(entry) for entry in operands]
        mask = settings.pop("mask", None)
        masks = _arrays.listed(mask)
        training = bool(settings.pop("training", False) or False)
        if not self.built and arrays:
            shapes = [() if array is None else tuple(array.shape) for array in arrays]
            self._layer.build_once(shapes, _seeds.next_seed())
            self._built_from = shapes
        settings = _described.plain(settings)
        outputs, _, self._losses = self._layer.call(arrays, masks, settings, training)
        return _arrays.unlisted(outputs)

    def __reduce__(self):
        if self.built and self.variables and self._built_from is None:
            raise TypeError(f"{self.name}: part of a model; pickle the model instead")
        weights = self.get_weights() if self._built_from else None
        return _restored, (self._envelope(), self._built_from, weights)

    def __repr__(self):
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def _restored(envelope, built_from, weights):
    layer = wrap(_core.layer_from_config(envelope))
    if built_from:
        layer.build(built_from)
        layer.set_weights(weights)
    return layer


_classes = {}  # of Python, by the library's names


def register_classes(namespace, names):
    """Makes wrap() know classes."""
    _classes.update((name, namespace[name]) for name in names)


def wrap(layer):
    """The Python object of one of the library's layers: the same one each time."""
    known = _wrapped.get(layer)
    if known is not None:
        return known
    kind = "Model" if isinstance(layer, _core.Model) else "Layer"
    cls = _classes.get(layer.class_name) or _classes.get(kind, Layer)
    made = cls.__new__(cls)
    made._hold(layer)
    return made
