#!/usr/bin/env python3
"""A file of Keras 3.15.1 with convolutions, poolings and moving statistics, compiled and trained.

    pip install keras==3.15.1 jax h5py numpy safetensors
    python generate_file.py            # windows.keras and windows.safetensors
    python ../pack_keras.py *.keras

windows.safetensors: `inputs.frames`, `inputs.image`, `target`; `expect.output` in inference as saved; `losses` of
three more steps, and `after.output` in inference after them.
"""
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import jax  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers as L  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

jax.config.update("jax_default_matmul_precision", "highest")
HERE = Path(__file__).resolve().parent


def model():
    frames, image = keras.Input((12, 4), name="frames"), keras.Input((6, 6, 2), name="image")
    shared = L.BatchNormalization(momentum=0.8)
    h = L.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="relu")(frames)
    h = shared(shared(h))
    h = L.MaxPooling1D(2)(h)
    h = L.MultiHeadAttention(2, 3)(h, h)
    h = L.UpSampling1D(2)(L.Cropping1D((1, 0))(L.ZeroPadding1D((0, 1))(h)))
    h = L.SeparableConv1D(4, 3, padding="same", depth_multiplier=2, use_bias=False)(h)
    h = L.GroupNormalization(groups=2)(h)
    h = L.AveragePooling1D(3, strides=2, padding="same")(h)
    i = L.Conv2D(4, 3, strides=2, padding="same", groups=2)(image)
    i = L.BatchNormalization(axis=1, center=False, renorm=True)(i)
    i = L.AveragePooling2D((2, 1), strides=1)(L.DepthwiseConv2D(2, padding="same")(i))
    i = L.ZeroPadding2D(1)(i)
    i = L.Concatenate()([L.GlobalMaxPooling2D()(i), L.GlobalAveragePooling2D()(i)])
    y = L.Concatenate()([L.GlobalAveragePooling1D()(L.UnitNormalization()(h)), i])
    return keras.Model([frames, image], L.Dense(2)(y))


def main():
    keras.utils.set_random_seed(5)
    r = np.random.default_rng(5)
    made = model()
    made.compile(keras.optimizers.Adam(1e-2), "mse")
    x = [r.normal(size=(4, 12, 4)).astype("f4"), r.normal(size=(4, 6, 6, 2)).astype("f4")]
    target = r.normal(size=(4, 2)).astype("f4")
    for _ in range(3):
        made.train_on_batch(x, target)
    made.save(HERE / "windows.keras")
    tensors = {"inputs.frames": x[0], "inputs.image": x[1], "target": target, "expect.output": np.asarray(made(x))}
    losses = []
    for _ in range(3):
        made.reset_metrics()
        losses.append(np.float32(np.ravel(made.train_on_batch(x, target))[0]))
    tensors |= {"losses": np.array(losses, "f4"), "after.output": np.asarray(made(x))}
    save_file(tensors, HERE / "windows.safetensors")


if __name__ == "__main__":
    main()
