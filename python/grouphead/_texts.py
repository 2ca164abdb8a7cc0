"""Texts as the arrays of bytes that the library's layers take."""

import numpy as np


def bytes_of(texts):
    """uint8 [..., N] of an array [...] of str or bytes: UTF-8 with zeros behind, N the longest."""
    encoded = []
    for text in texts.ravel():
        if not isinstance(text, (str, bytes)):
            raise TypeError(f"expected an array of numbers or of texts, got {text!r}")
        encoded.append(text.encode() if isinstance(text, str) else bytes(text))
        if b"\0" in encoded[-1]:
            raise ValueError(f"expected texts without a character 0, got {text!r}")
    longest = max(1, max(map(len, encoded), default=1))
    return np.array(encoded, f"S{longest}").view(np.uint8).reshape(*texts.shape, longest)


def texts_of(array):
    """The texts of an array of their bytes, as `StringLookup(invert=True)` gives them.

    uint8 [..., N] with zeros behind each text becomes an array [...] of str.
    """
    array = np.ascontiguousarray(array)
    if array.dtype != np.uint8 or array.ndim == 0:
        raise TypeError(f"texts_of: expected uint8 [..., bytes], got {array.dtype} {array.shape}")
    if array.size == 0:
        return np.zeros(array.shape[:-1], "U1")
    texts = [text.decode() for text in array.view(f"S{array.shape[-1]}").ravel()]
    return np.array(texts, str).reshape(array.shape[:-1])
