#!/usr/bin/env python3
"""Makes the model files of this folder with Keras: compiled and trained, in every form, int8, and with other layers.

    pip install keras==3.15.1 jax h5py numpy safetensors
    python generate_files.py
"""
import json
import os
import zipfile

os.environ["KERAS_BACKEND"] = "jax"

import jax  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

jax.config.update("jax_default_matmul_precision", "highest")
HERE = os.path.dirname(os.path.abspath(__file__))
L = keras.layers
# What files of Keras 3.0 to 3.14 do not have yet.
LATER_KEYS = ["use_gate", "sliding_window", "seed", "input_axes", "output_axes", "quantization_config", "optional", "ragged"]


def path(name):
    return os.path.join(HERE, name)


def trained():
    """A model with nested and shared layers, some steps of AdamW, and what it makes."""
    keras.utils.set_random_seed(3)
    r = np.random.default_rng(3)
    x = keras.Input((4, 5), name="x")
    shared = L.Dense(5, name="dense")
    h = L.Add()([shared(x), shared(x)])
    h = L.GroupQueryAttention(3, 2, 1, name="gqa")(h, h)
    h = keras.Sequential([keras.Input((4, 5)), L.Dense(6, activation="relu"), L.LayerNormalization()], name="block")(h)
    h = L.MultiHeadAttention(2, 3, name="mha")(h, h)
    model = keras.Model(x, L.Dense(2, name="head")(h), name="trained")
    model.compile(optimizer=keras.optimizers.AdamW(1e-2, use_ema=True), loss="mse", metrics=["mae"])
    batch, target = r.normal(size=(3, 4, 5)).astype("f4"), r.normal(size=(3, 4, 2)).astype("f4")
    for _ in range(3):
        model.train_on_batch(batch, target)
    model.save(path("trained.keras"))
    model.save_weights(path("trained.weights.h5"))
    model.save_weights(path("trained.weights.json"), max_shard_size=2e-6)
    tensors = {"inputs.x": batch, "target": target, "expect.output": np.asarray(model(batch))}
    tensors.update({"state.%d" % i: np.asarray(v) for i, v in enumerate(model.optimizer.variables)})
    losses = []
    other = keras.saving.load_model(path("trained.keras"))
    for _ in range(2):
        losses.append(np.float32(np.ravel(other.train_on_batch(batch, target))[0]))
    tensors["losses"] = np.array(losses, "f4")
    save_file(tensors, path("trained.safetensors"))
    model.save(path("trained.h5"))  # last: it takes the optimizer's configuration away


def int8():
    keras.utils.set_random_seed(4)
    r = np.random.default_rng(4)
    tokens = keras.Input((4,), dtype="int32", name="tokens")
    h = L.Embedding(10, 8)(tokens)
    h = L.GroupQueryAttention(4, 2, 1)(h, h)
    h = L.MultiHeadAttention(2, 4, use_bias=False)(h, h)
    h = L.EinsumDense("abc,cd->abd", output_shape=(None, 6), bias_axes="d")(h)
    model = keras.Model(tokens, L.Dense(3)(h))
    ids = r.integers(0, 10, (2, 4)).astype("i4")
    exact = np.asarray(model(ids))
    model.quantize("int8")
    model.save(path("int8.keras"))
    save_file({"inputs.tokens": ids, "exact": exact}, path("int8.safetensors"))


def others():
    x = keras.Input((6, 3), name="x")
    inner = keras.Sequential([keras.Input((6, 3)), L.Conv1DTranspose(3, 2, padding="same", name="conv")], name="inner")
    h = L.AdaptiveMaxPooling1D(4, name="pool")(inner(x))
    keras.Model(x, L.Dense(1, name="head")(h), name="others").save(path("others.keras"))


def without_later_keys(value):
    if isinstance(value, list):
        return [without_later_keys(v) for v in value]
    if isinstance(value, dict):
        return {k: without_later_keys(v) for k, v in value.items() if k not in LATER_KEYS}
    return value


def older():
    """trained.keras as the first Keras 3 wrote configurations."""
    with zipfile.ZipFile(path("trained.keras")) as source, zipfile.ZipFile(path("older.keras"), "w") as target:
        target.writestr("metadata.json", json.dumps({"keras_version": "3.0.0"}))
        target.writestr("config.json", json.dumps(without_later_keys(json.loads(source.read("config.json")))))
        # Compressed, as some tools pack again.
        target.writestr("model.weights.h5", source.read("model.weights.h5"), zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    trained()
    int8()
    others()
    older()
