"""Arrays that models are given."""

import numpy as np

from . import _texts

_WIDENED = {
    **dict.fromkeys(("int8", "int16", "uint16"), "int32"),
    **dict.fromkeys(("uint32", "uint64"), "int64"),
}


def array(value):
    """An array of a type that the library has, of the bytes of texts; None stays None."""
    if value is None or hasattr(value, "__dlpack__"):
        value = value.detach() if hasattr(value, "detach") else value
        if not isinstance(value, np.ndarray):
            return value
    else:
        value = np.asarray(value)
    if value is None:
        return None
    if value.dtype.kind in "USO":
        return _texts.bytes_of(value)
    if value.dtype.byteorder not in "=|":
        value = value.astype(value.dtype.newbyteorder("="))
    if value.dtype.kind not in "fiubV" or value.dtype.itemsize > 8:
        raise TypeError(f"expected an array of numbers or of texts, got one of {value.dtype}")
    return value.astype(_WIDENED[value.dtype.name]) if value.dtype.name in _WIDENED else value


def listed(value):
    """A list of arrays from one, or from a list or tuple of them; a list of texts is one array."""
    if value is None:
        return []
    if isinstance(value, (list, tuple)) and not isinstance(next(iter(value), None), (str, bytes)):
        return [array(entry) for entry in value]
    return [array(value)]


def unlisted(values):
    """One alone without a list around it."""
    return values[0] if len(values) == 1 else list(values)
