#!/usr/bin/env python3
"""Makes the files of this folder with Keras: models whose masks, inputs and outputs are of many types, and what they give.

    pip install keras==3.15.1 jax h5py numpy safetensors
    python generate_inputs.py
"""
import os
import zipfile

os.environ.update(KERAS_BACKEND="jax", JAX_ENABLE_X64="1")

import jax  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import ops  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

jax.config.update("jax_default_matmul_precision", "highest")
HERE = os.path.dirname(os.path.abspath(__file__))
L = keras.layers


def path(name):
    return os.path.join(HERE, name)


def write(name, model, *inputs):
    """The model, its inputs and what it makes of them."""
    model.save(path(name + ".keras"))
    y = model(list(inputs) if len(inputs) > 1 else inputs[0])
    tensors = {"inputs." + i.name: v for i, v in zip(model.inputs, inputs)}
    tensors["expect.output"] = np.asarray(y)
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path(name + ".safetensors"))
    return tensors


def masks(r):
    """Constant masks of each kind that Keras takes, and one that is made of tokens."""
    triangle = np.tril(np.ones((4, 4)))
    x = r.normal(size=(2, 4, 6)).astype("f4")
    for name, mask in {"int8": triangle.astype("i1"), "list": triangle.astype(bool).tolist(), "float64": triangle}.items():
        i = keras.Input((4, 6), name="x")
        write("mask_" + name, keras.Model(i, L.MultiHeadAttention(2, 3)(i, i, attention_mask=mask)), x)
    ids = keras.Input((4,), dtype="int32", name="ids")
    e = L.Embedding(9, 6)(ids)
    mask = ops.cast(ops.not_equal(ids, 0), "float32")[:, None, :]
    write("mask_cast", keras.Model(ids, L.GroupQueryAttention(3, 2, 1)(e, e, attention_mask=mask)),
          np.array([[1, 2, 0, 0], [3, 4, 5, 6]], "i4"))


def types(r):
    """Inputs and outputs of integers, bools and mixed precision; infinities in the output."""
    t, k = keras.Input((4,), dtype="int64", name="t"), keras.Input((4,), dtype="bool", name="k")
    h = L.Embedding(30, 6)(t)
    y = L.MultiHeadAttention(2, 3)(h, h, attention_mask=ops.expand_dims(k, 1))
    tokens, real = r.integers(0, 30, (2, 4)), np.array([[1, 1, 0, 0], [1, 1, 1, 1]], bool)
    write("tokens", keras.Model([t, k], y), tokens, real)
    x = keras.Input((4, 6), name="x")
    numbers = r.normal(size=(2, 4, 6)).astype("f4")
    write("mixed", keras.Model(x, L.Dense(3)(L.MultiHeadAttention(2, 3, dtype="mixed_bfloat16")(x, x))), numbers)
    write("above", keras.Model(x, x > 0), numbers)
    s = keras.Input((4, 4), name="s")
    scores = r.normal(size=(1, 4, 4)).astype("f4")
    write("where", keras.Model(s, ops.where(np.tril(np.ones((4, 4), bool)), s, -np.inf)), scores)


def archives():
    """The model `above` in archives that Python's zipfile reads."""
    whole = open(path("above.keras"), "rb").read()
    open(path("front.keras"), "wb").write(b"#!/bin/sh\n" + whole)
    open(path("behind.keras"), "wb").write(whole + b"\0" * 100)
    with zipfile.ZipFile(path("above.keras")) as source, zipfile.ZipFile(path("lzma.keras"), "w", zipfile.ZIP_LZMA) as packed:
        for member in source.namelist():
            packed.writestr(member, source.read(member))


def names():
    """Layers whose names are not ASCII, in the legacy form; more of them than a small group has."""
    x = keras.Input((3,), name="x")
    numbers = np.arange(6, dtype="f4").reshape(2, 3)
    for name, count in {"names": 2, "many_names": 9}.items():
        y = x
        for i in range(count):
            y = L.Dense(3, name="größe_%d" % i)(y)
        model = keras.Model(x, y)
        write(name, model, numbers)
        os.remove(path(name + ".keras"))
        if count > 8:  # which is refused
            os.remove(path(name + ".safetensors"))
        model.save(path(name + ".h5"))


if __name__ == "__main__":
    keras.utils.set_random_seed(5)
    random = np.random.default_rng(5)
    masks(random)
    types(random)
    archives()
    names()
