#!/usr/bin/env python3
"""Makes the files of this folder with h5py: arrays as Keras and its users store them, and files that must be refused.

    python generate_hdf5.py          # needs h5py, numpy, ml_dtypes, safetensors
"""
import os

import h5py
import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
r = np.random.default_rng(20261126)


def open_new(name):
    return h5py.File(os.path.join(HERE, name), "w")


def arrays():
    a = r.normal(size=(7, 5))
    return {"f2": a.astype("f2"), "f4": a.astype("f4"), "f8": a, "i4": r.integers(-9, 9, (3, 2)).astype("i4"),
            "i8": r.integers(-9, 9, (4,)).astype("i8"), "u1": r.integers(0, 255, (5,)).astype("u1"),
            "bool": r.integers(0, 2, (2, 3)).astype(bool), "scalar": np.float32(1.5), "empty": np.zeros((0, 3), "f4"),
            "chunked": r.normal(size=(11, 9, 4)).astype("f4"), "gzip": r.integers(0, 4, (33, 21)).astype("f4"),
            "shuffled": r.integers(0, 4, (9, 40)).astype("i8"), "compact": np.arange(6, dtype="i4")}


def write_arrays():
    made = arrays()
    with open_new("arrays.h5") as f:
        for name, value in made.items():
            options = {"chunked": dict(chunks=(4, 4, 3)), "gzip": dict(chunks=(8, 8), compression="gzip"),
                       "shuffled": dict(chunks=(4, 16), compression="gzip", shuffle=True)}.get(name, {})
            if name == "compact":
                creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                creation.set_layout(h5py.h5d.COMPACT)
                h5py.h5d.create(f.id, b"compact", h5py.h5t.STD_I32LE, h5py.h5s.create_simple(value.shape),
                                creation).write(h5py.h5s.ALL, h5py.h5s.ALL, value)
            else:
                f.create_dataset(name, data=value, **options)
        half = np.arange(8).astype(ml_dtypes.bfloat16)
        f.create_dataset("bf16", data=half)
        f["bf16"].attrs["dtype"] = "bfloat16"
        f.create_dataset("int8", data=np.arange(-3, 3, dtype="i1"))
        f.create_dataset("unmarked", data=half)  # opaque, and nobody says what it is
        group = f.create_group("group/vars")
        group.attrs["name"] = "Größe"
        group.attrs["list"] = [b"a", b"bcd", b""]
        group.attrs["none"] = np.zeros(0)
        group.attrs["number"] = 7
    made["bf16"] = half
    save_file({k: np.asarray(v) for k, v in made.items()}, os.path.join(HERE, "arrays.safetensors"))


def write_refused():
    with open_new("soft_link.h5") as f:
        f["a/vars/0"] = np.zeros(3, "f4")
        f["b"] = h5py.SoftLink("/a")
    with open_new("external_link.h5") as f:
        f["b"] = h5py.ExternalLink("other.h5", "/")
    with open_new("external_numbers.h5") as f:
        f.create_dataset("x", (4,), "f4", external=[("other.bin", 0, 16)])
    with open_new("circle.h5") as f:
        f.create_group("a/b")
        f["a/b/c"] = f["a"]
    with open_new("twice.h5") as f:
        f["x"] = np.zeros(3, "f4")
        f["y"] = f["x"]
    with open_new("filter.h5") as f:
        f.create_dataset("x", data=np.zeros((64, 64), "f4"), compression="lzf")
    with open_new("compound.h5") as f:
        f["x"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
    with open_new("claims.h5") as f:  # 64 GiB, of which nothing is there
        f.create_dataset("x", (1 << 34,), "f4", chunks=(1 << 20,), compression="gzip")
    with h5py.File(os.path.join(HERE, "newest.h5"), "w", libver="latest") as f:
        f["x"] = np.zeros(3, "f4")


if __name__ == "__main__":
    write_arrays()
    write_refused()
