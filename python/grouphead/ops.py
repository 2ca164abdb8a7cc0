"""Keras's operations on symbolic tensors: `keras.ops`.

`ops.sum(x, axis=1)` is a layer of the model, written as Keras writes it. Operands go by position,
options by name. On arrays use NumPy. Every operation of docs/keras-models.md is here.
"""

from ._symbols import operation

# Operations of a list of tensors.
_OF_LISTS = {"concatenate", "stack"}


def _class_name(name):
    return "".join(part.capitalize() for part in name.split("_"))


def __getattr__(name):
    if name.startswith("_"):
        raise AttributeError(name)

    def function(*operands, **options):
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)) and name in _OF_LISTS:
            (operands,) = operands
        return operation(_class_name(name), list(operands), **options)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`keras.ops.{name}` on symbolic tensors."
    return function
