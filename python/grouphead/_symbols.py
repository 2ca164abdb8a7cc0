"""Symbolic tensors, and Keras's operators on them."""

from . import _arrays
from ._core import models as _core


class KerasTensor:
    """A tensor that is not computed yet: an input of a model, or what a layer makes of others."""

    def __init__(self, symbol):
        self._symbol = symbol

    @property
    def shape(self):
        """The batch first, None where a size is not known."""
        return self._symbol.shape

    @property
    def dtype(self):
        return self._symbol.dtype

    @property
    def name(self):
        """That of the layer that makes it."""
        return self._symbol.name

    @property
    def ndim(self):
        return len(self.shape)

    def __repr__(self):
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"

    def __bool__(self):
        raise TypeError("a symbolic tensor has no truth: it is not computed yet")

    def __iter__(self):
        raise TypeError("a symbolic tensor cannot be iterated over: it is not computed yet")

    def __array__(self, *args, **kwargs):
        raise TypeError("a symbolic tensor has no numbers: call the model on arrays")


def operation(class_name, operands, **options):
    """What one of Keras's operations makes of these, by its class: `operation("Sum", [x], axis=1)`.

    Numbers and arrays may stand beside symbolic tensors. Raises ConfigError for an operation that
    the library does not have, and ShapeError.
    """
    given = [
        entry._symbol
        if isinstance(entry, KerasTensor)
        else entry
        if isinstance(entry, (bool, int, float))
        else _arrays.array(entry)
        for entry in operands
    ]
    return KerasTensor(_core.operation(class_name, given, options))


def _add_operator(method, class_name, swapped=False):
    def operator(self, other):
        return operation(class_name, [other, self] if swapped else [self, other])

    setattr(KerasTensor, method, operator)


for _method, _name in {
    "add": "Add",
    "sub": "Subtract",
    "mul": "Multiply",
    "truediv": "TrueDivide",
    "matmul": "Matmul",
    "pow": "Power",
}.items():
    _add_operator(f"__{_method}__", _name)
    _add_operator(f"__r{_method}__", _name, swapped=True)
for _method, _name in {
    "lt": "Less",
    "le": "LessEqual",
    "gt": "Greater",
    "ge": "GreaterEqual",
}.items():
    _add_operator(f"__{_method}__", _name)
KerasTensor.__neg__ = lambda self: operation("Negative", [self])


def is_symbolic(value):
    """Whether a symbolic tensor is in it."""
    if isinstance(value, (list, tuple)):
        return any(is_symbolic(entry) for entry in value)
    return isinstance(value, KerasTensor)
