#!/usr/bin/env python3
"""Model files with quantized weights and with LoRA, and what Keras computes with them.

    pip install "keras==3.15.1" jax safetensors numpy
    python generate.py        # writes beside itself, after generate_models.py
    python ../pack_keras.py *.keras

NAME.keras                a model; NAME.safetensors: inputs.tokens, expect.output
int4, int4_blocks, int4_rows   4 bits: in groups of 128 rows, of 2 rows, and one group
float8                    8-bit floating point, with the scales that quantizing gives
lora                      trained with LoRA
lora_steps                with LoRA in all layers: five steps of Adam from start.N give expect.losses and
                          end.N, the weights as the layers list them; x, y are the batch
broken_groups, broken_scale    int4_blocks with groups that there are not, and with fewer scales
broken_last_group         with a group that is there in float64 only: float32 has the next one
broken_table, broken_kernel    with half the rows, each twice as long
broken_one_scale          dense_int8 with one scale for a whole kernel
"""
import io
import os
import zipfile

os.environ["KERAS_BACKEND"] = "jax"
import h5py
import keras
import numpy as np
from keras import layers as L
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(8)


def model(attention):
    keras.backend.clear_session()
    keras.utils.set_random_seed(7)
    tokens = keras.Input((4,), dtype="int32", name="tokens")
    h = L.Embedding(10, 5)(tokens)
    if attention:
        h = h + L.GroupQueryAttention(3, 2, 1)(h, h)
    h = L.EinsumDense("abc,cde->abde", output_shape=(None, 3, 3), bias_axes="de")(h)
    h = L.EinsumDense("abde,dec->abc", output_shape=(None, 6))(h)
    h = L.Dense(1, use_bias=False)(L.Dense(7, activation="tanh")(h))
    m = keras.Model(tokens, L.Concatenate()([h, L.Dense(2)(h)]))
    for v in m.variables:
        if "seed" not in v.path:
            v.assign(rng.normal(size=v.shape) * 0.7)
    return m


def save(name, m):
    ids = rng.integers(0, 10, (2, 4)).astype("i4")
    m.save(os.path.join(HERE, name + ".keras"))
    file = os.path.join(HERE, name + ".safetensors")
    save_file({"inputs.tokens": ids, "expect.output": np.asarray(m(ids))}, file)
    os.chmod(file, 0o644)


def int4(name, block, attention=False):
    m = model(attention)
    m.quantize(config=keras.quantizers.Int4QuantizationConfig(block_size=block))
    save(name, m)


def lora(name):
    m = model(False)
    for layer in m.layers:
        if hasattr(layer, "enable_lora"):
            layer.enable_lora(2, lora_alpha=3)
    m.compile(keras.optimizers.SGD(0.5), "mse")
    m.fit(rng.integers(0, 10, (8, 4)), rng.normal(size=(8, 4, 3)), epochs=3, verbose=0)
    save(name, m)


def lora_steps(name):
    m = model(False)
    for layer in m.layers:
        if hasattr(layer, "enable_lora"):
            layer.enable_lora(2, lora_alpha=3)
    m.save(os.path.join(HERE, name + ".keras"))
    for v in m.trainable_variables:
        if "lora" in v.path:
            v.assign(rng.normal(size=v.shape) * 0.5)
    m.compile(keras.optimizers.Adam(0.02), "mse")
    x, y = rng.integers(0, 10, (8, 4)).astype("i4"), rng.normal(size=(8, 4, 3)).astype("f4")
    tensors = {"x": x, "y": y, **{"start.%d" % i: np.asarray(v) for i, v in enumerate(m.weights)}}
    tensors["expect.losses"] = np.array([m.train_on_batch(x, y) for _ in range(5)], "f4")
    tensors.update({"end.%d" % i: np.asarray(v) for i, v in enumerate(m.weights)})
    save_file(tensors, os.path.join(HERE, name + ".safetensors"))
    os.chmod(os.path.join(HERE, name + ".safetensors"), 0o644)


def broken(name, change, layer="dense", source="int4_blocks"):
    with zipfile.ZipFile(os.path.join(HERE, source + ".keras")) as z:
        members = {member: z.read(member) for member in z.namelist()}
    held = io.BytesIO(members["model.weights.h5"])
    with h5py.File(held, "r+") as f:
        change(f["layers/%s/vars" % layer])
    members["model.weights.h5"] = held.getvalue()
    with zipfile.ZipFile(os.path.join(HERE, name + ".keras"), "w") as z:
        for member, contents in members.items():
            z.writestr(member, contents)


def fewer_scales(arrays):
    replace(arrays, "2", np.ones((3, 1), "f4"))


def other_groups(arrays):
    arrays["4"][0] = 9


def almost_the_next_group(arrays):
    groups = arrays["4"][:].astype("f8")
    groups[-1] = 2.9999999999
    replace(arrays, "4", groups)


def half_the_rows(arrays):
    replace(arrays, "0", np.ones((5, 5), "i1"))
    replace(arrays, "1", np.ones((5, 3), "f4"))
    replace(arrays, "2", np.zeros((5, 3), "i1"))
    replace(arrays, "3", np.zeros(10, "f4"))


def half_the_rows_of_a_kernel(arrays):
    replace(arrays, "0", np.ones((3, 7), "i1"))
    replace(arrays, "2", np.ones((3, 14), "f4"))
    replace(arrays, "3", np.zeros((3, 14), "i1"))
    replace(arrays, "4", np.zeros(3, "f4"))


def one_scale(arrays):
    replace(arrays, "2", np.ones(1, "f4"))


def replace(arrays, name, numbers):
    del arrays[name]
    arrays[name] = numbers


int4("int4", 128, attention=True)
int4("int4_blocks", 2)
int4("int4_rows", -1)
m = model(False)
m.quantize("float8")
save("float8", m)
lora("lora")
broken("broken_groups", other_groups)
broken("broken_scale", fewer_scales)
broken("broken_last_group", almost_the_next_group)
broken("broken_table", half_the_rows, layer="embedding")
broken("broken_kernel", half_the_rows_of_a_kernel)
broken("broken_one_scale", one_scale, source="dense_int8")
rng = np.random.default_rng(9)
lora_steps("lora_steps")
