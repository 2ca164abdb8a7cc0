#!/usr/bin/env python3
"""Models in float8 that Keras trains: how weights, scales and histories move.

    pip install "keras==3.15.1" jax safetensors numpy
    python generate_float8.py        # writes float8_steps_NAME.keras and .safetensors beside itself
    python ../pack_keras.py float8_steps_*.keras

The .keras file is the model before the steps that are compared: floating-point numbers, but for
`compiled`, which is quantized and was trained for two steps. .safetensors has x and y, a batch for
each step, expect.losses, expect.output of the first batch, and expect.PATH, each weight after
the steps.
"""
import os

os.environ["KERAS_BACKEND"] = "jax"
import keras
import numpy as np
from keras import layers as L
from keras.dtype_policies import QuantizedFloat8DTypePolicy
from safetensors.numpy import save_file

HISTORY = 4  # short, so that numbers leave it
HERE = os.path.dirname(os.path.abspath(__file__))


def attention():
    x = keras.Input((5, 7), name="x")
    h = L.LayerNormalization()(x + L.MultiHeadAttention(3, 5)(x, x))
    h = L.GroupQueryAttention(3, 4, 2)(h, h)
    return keras.Model(x, L.Dense(3)(h))


def shared():
    """A layer that is called twice, and one that is not trained."""
    x = keras.Input((5, 7), name="x")
    twice = L.Dense(7, activation="tanh")
    fixed = L.Dense(6)
    fixed.trainable = False
    return keras.Model(x, L.Dense(3)(fixed(twice(twice(x)))))


def stack(policy=None):
    x = keras.Input((5, 7), name="x")
    h = L.Dense(6, activation="gelu", dtype=policy)(x)
    return keras.Model(x, L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d", dtype=policy)(h))


def quantized():
    return stack(QuantizedFloat8DTypePolicy("float8", "float32", HISTORY))


def write(name, make, optimizer, steps, before=0):
    keras.backend.clear_session()
    rng = np.random.default_rng(len(name))
    model = make()
    for v in model.variables:
        if "seed" not in v.path and not v.path.endswith(("_scale", "_history")):
            v.assign(rng.normal(size=v.shape) * 0.6)
    path = os.path.join(HERE, "float8_steps_" + name)
    if not before:
        model.save(path + ".keras")
        model.quantize("float8")
    model.compile(optimizer, "mse")
    x = rng.normal(size=(before + steps, 4, 5, 7)) * np.linspace(1, 3, before + steps).reshape(-1, 1, 1, 1)
    x = x.astype("f4")
    y = rng.normal(size=(before + steps,) + model(x[0]).shape).astype("f4")
    for i in range(before):
        model.train_on_batch(x[i], y[i])
    if before:
        model.save(path + ".keras")
    x, y = x[before:], y[before:]
    losses = np.array([model.train_on_batch(x[i], y[i]) for i in range(steps)], "f4")
    tensors = {"x": x, "y": y, "expect.losses": losses}
    tensors["expect.output"] = model.predict(x[0], verbose=0)
    for v in model.weights:
        tensors["expect." + v.path] = np.asarray(v)
    save_file(tensors, path + ".safetensors")
    os.chmod(path + ".safetensors", 0o644)


QuantizedFloat8DTypePolicy.default_amax_history_length = HISTORY
write("attention", attention, keras.optimizers.SGD(0.01), 6)
write("shared", shared, keras.optimizers.SGD(0.01), 6)
write("accumulated", stack, keras.optimizers.SGD(0.05, gradient_accumulation_steps=3), 7)
write("compiled", quantized, keras.optimizers.Adam(0.01), 4, before=2)
