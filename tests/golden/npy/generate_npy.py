"""Writes the .npy and .npz files of this folder with NumPy. Run in this folder."""

import numpy as np
from numpy.lib import format as npy

SHAPE = (2, 3, 4)
COUNT = np.arange(24)
ARRAYS = {
    "f2": (COUNT / 2 - 3).astype("<f2"),
    "f4": (COUNT / 2 - 3).astype("<f4"),
    "f8": (COUNT / 2 - 3).astype("<f8"),
    "i4": (COUNT - 5).astype("<i4"),
    "i8": (COUNT - 5).astype("<i8"),
    "u1": COUNT.astype("u1"),
    "b1": COUNT % 3 == 0,
}


def write(name, array, version=(1, 0)):
    with open(name + ".npy", "wb") as file:
        npy.write_array(file, array, version)


def main():
    for name, values in ARRAYS.items():
        array = values.reshape(SHAPE)
        write(name, array)
        write(name + "_fortran", np.asfortranarray(array))
    numbers = ARRAYS["f4"].reshape(SHAPE)
    write("version_2", numbers, (2, 0))
    write("version_3", numbers, (3, 0))
    write("scalar", np.float64(2.5))
    write("row", np.arange(3, dtype="<i4"))
    write("empty", np.zeros((0, 4), "<f4"))
    # What is refused.
    write("big_endian", numbers.astype(">f4"))
    write("int16", ARRAYS["i4"].astype("<i2"))
    write("uint32", ARRAYS["i4"].astype("<u4"))
    write("complex", numbers.astype("<c8"))
    write("text", np.array(["a", "bc"]))
    write("object", np.array([None, 1], dtype=object))
    write("fields", np.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", "<f4")]))
    np.savez("stored.npz", **ARRAYS)
    np.savez_compressed("compressed.npz", **ARRAYS)


main()
