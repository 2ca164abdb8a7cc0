#!/usr/bin/env python3
"""Model files in every mode of Keras's quantize() that this library reads, and what Keras predicts.

    pip install "keras==3.15.1" jax safetensors numpy
    python generate_models.py        # writes MODEL_MODE.keras and .safetensors beside itself;
                                     # names of models: of these alone
    python ../pack_keras.py *.keras

MODEL.keras is the model before it was quantized. MODEL_MODE.safetensors has inputs.NAME,
expect.output (of predict()) and, for a model that takes no tokens, expect.d_inputs: the gradient of
the sum of the output's squares; of float8 also train.x and train.y, the batch of three steps of SGD.
lora_MODE: lora(); compiled_int8: compiled(); half_*: half(); one_short_group.safetensors: short_group().
"""
import os
import sys

os.environ["KERAS_BACKEND"] = "jax"
import jax
import keras
import numpy as np
from keras import layers as L
from keras.quantizers import abs_max_quantize_grouped_with_zero_point, pack_int4
from keras.quantizers import AbsMaxQuantizer, Float8QuantizationConfig, Int4QuantizationConfig, Int8QuantizationConfig
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))


def dense():
    x = keras.Input((5, 7), name="x")
    h = L.Dense(9, activation="gelu")(x)
    h = L.Dense(6, use_bias=False, activation="tanh")(h)
    h = L.Dense(5, activation="gelu")(h)
    return keras.Model(x, L.Dense(3)(L.Flatten()(h)))


def wrapped():
    """TimeDistributed calls the layer inside as if it were not quantized, with numbers that have no
    scales."""
    x = keras.Input((5, 7), name="x")
    h = L.TimeDistributed(L.Dense(9, activation="gelu"))(x)
    h = L.TimeDistributed(L.EinsumDense("ab,bc->ac", 3, bias_axes="c"))(h)
    return keras.Model(x, L.Dense(3)(L.LayerNormalization()(h)))


def einsum():
    x = keras.Input((5, 7), name="x")
    h = L.EinsumDense("abc,cd->abd", (None, 9), bias_axes="d", activation="relu")(x)
    h = L.EinsumDense("abc,cde->abde", (None, 3, 5), bias_axes="de")(h)
    h = L.EinsumDense("abcd,cde->abe", (None, 7), bias_axes="e")(h)
    h = L.EinsumDense("abx,yx->aby", (None, 5))(h)
    return keras.Model(x, L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d")(h))


def axes():
    x = keras.Input((5, 6, 7), name="x")
    a = L.EinsumDense("abcd,bde->abce", (5, 6, 3), bias_axes="be")(x)  # a kernel for each b
    b = L.EinsumDense("abcd,ed->ae", (3,))(x)  # sums over b and c as well
    c = L.EinsumDense("abcd,edf->acfbe", (6, 2, 5, 3), bias_axes="f")(x)
    d = L.EinsumDense("abcd,edc->abe", (5, 3))(x)
    parts = [L.Flatten()(y) for y in (a, b, c, d)]
    return keras.Model(x, L.Concatenate()(parts))


def tokens(tied):
    ids = keras.Input((5,), dtype="int32", name="ids")
    table = L.ReversibleEmbedding(11, 7, tie_weights=tied, logit_soft_cap=None if tied else 3.0)
    h = table(ids) + L.Embedding(11, 7)(ids)
    return keras.Model(ids, table(h, reverse=True))


def tied():
    return tokens(True)


def untied():
    return tokens(False)


def attention():
    x = keras.Input((5, 7), name="x")
    h = x + L.MultiHeadAttention(3, 5)(x, x)
    h = L.LayerNormalization()(h)
    h = L.GroupQueryAttention(3, 4, 2)(h, h)
    return keras.Model(x, L.Dense(3, activation="gelu")(h))


MODES = {
    "int8": Int8QuantizationConfig(),
    "int8_weights": Int8QuantizationConfig(activation_quantizer=None),
    "int8_range": Int8QuantizationConfig(
        activation_quantizer=AbsMaxQuantizer(value_range=(-99, 98), epsilon=1e-3)
    ),
    "int4": Int4QuantizationConfig(block_size=-1),
    "int4_inputs": Int4QuantizationConfig(
        block_size=None, activation_quantizer=AbsMaxQuantizer()
    ),
    "int4_groups": Int4QuantizationConfig(block_size=3),
    "float8": Float8QuantizationConfig(),  # trained for a few steps, which move its scales
}
NO_GRADIENTS = ("axes", "wrapped")  # Keras has none of a sum over an axis; those without scales are huge
FLOAT8 = ("dense", "einsum")
SKIPPED = {("axes", "int8_range"), ("axes", "int4_groups"), ("wrapped", "int8_range")} | {
    ("attention", mode) for mode in ("int8_weights", "int8_range", "int4_inputs")  # which their files do not say
}


def write(name, make, mode, config):
    keras.backend.clear_session()
    keras.utils.set_random_seed(7)
    rng = np.random.default_rng([len(name), 1])
    model = make()
    for v in model.variables:
        if "seed" not in v.path:
            v.assign(rng.normal(size=v.shape) * 0.6)
    model.save(os.path.join(HERE, name + ".keras"))
    model.quantize(config=config)
    rng = np.random.default_rng([len(name), len(mode)])
    tensors = {}
    shape = (4,) + model.input_shape[1:]
    if mode == "float8":
        model.compile(keras.optimizers.SGD(0.01), "mse")
        x = 2 * rng.normal(size=(5,) + shape[1:]).astype("f4")
        y = rng.normal(size=model(x).shape).astype("f4")
        tensors = {"train.x": x, "train.y": y}
        model.fit(x, y, epochs=3, shuffle=False, verbose=0)
        model.optimizer = None
    if model.inputs[0].dtype == "int32":
        x = rng.integers(0, 11, shape).astype("i4")
    else:
        x = rng.normal(size=shape).astype("f4")
    tensors["inputs." + model.inputs[0].name] = x
    tensors["expect.output"] = model.predict(x, verbose=0)
    if x.dtype == np.float32 and name not in NO_GRADIENTS:
        gradient = jax.grad(lambda x: (model(x) ** 2).sum())
        tensors["expect.d_inputs"] = np.asarray(gradient(x))
    path = os.path.join(HERE, name + "_" + mode)
    save_file(tensors, path + ".safetensors")
    os.chmod(path + ".safetensors", 0o644)
    model.save(path + ".keras")


def lora(mode):
    """MODEL_MODE with LoRA: its factors, what it predicts, and the file that Keras writes then; and the
    factors (step.NAME) after a step of SGD on the output's squares."""
    keras.backend.clear_session()
    rng = np.random.default_rng(len(mode))
    model = keras.models.load_model(os.path.join(HERE, "dense_" + mode + ".keras"))
    x = rng.normal(size=(4,) + model.input_shape[1:]).astype("f4")
    tensors = {"inputs.x": x}
    dense_layers = [layer for layer in model._flatten_layers() if isinstance(layer, L.Dense)]
    for i, layer in enumerate(dense_layers):
        layer.enable_lora(2, lora_alpha=3)
        for name in ("lora_kernel_a", "lora_kernel_b"):
            factor = getattr(layer, name)
            factor.assign(rng.normal(size=factor.shape) * 0.2)
            tensors["%s.%d" % (name, i)] = np.asarray(factor)
    tensors["expect.output"] = model.predict(x, verbose=0)
    path = os.path.join(HERE, "lora_" + mode)
    model.save(path + ".keras")
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.train_on_batch(x, np.zeros_like(tensors["expect.output"]))
    for i, layer in enumerate(dense_layers):
        for name in ("lora_kernel_a", "lora_kernel_b"):
            tensors["step.%s.%d" % (name, i)] = np.asarray(getattr(layer, name))
    save_file(tensors, path + ".safetensors")
    os.chmod(path + ".safetensors", 0o644)


def compiled():
    """A model of which one layer is quantized, compiled and trained for two steps, and then its losses
    in three more; what it predicts at the end."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(7)
    rng = np.random.default_rng(3)
    inputs = keras.Input((7,), name="x")
    h = L.Dense(9, activation="tanh")(inputs)
    h = L.Dense(6, activation="gelu")(h)
    model = keras.Model(inputs, L.Dense(2)(h))
    model.layers[2].quantize("int8")
    model.compile(keras.optimizers.Adam(0.02), "mse")
    x, y = rng.normal(size=(8, 7)).astype("f4"), rng.normal(size=(8, 2)).astype("f4")
    for _ in range(2):
        model.train_on_batch(x, y)
    path = os.path.join(HERE, "compiled_int8")
    model.save(path + ".keras")
    losses = np.array([model.train_on_batch(x, y) for _ in range(3)], "f4")
    output = model.predict(x, verbose=0)
    save_file({"x": x, "y": y, "expect.losses": losses, "expect.output": output}, path + ".safetensors")
    os.chmod(path + ".safetensors", 0o644)


HALF = {  # modes by dtype policy; Keras has no int8 in float16
    "mixed_bfloat16": ("int8", "int4", "int4_groups", "float8"),
    "bfloat16": ("int8", "int4", "int4_groups"),
    "mixed_float16": ("int4", "int4_groups"),
    "float16": ("int4", "int4_groups"),
}


def half():
    """half_POLICY.keras, layers of 16 bits, and half_POLICY_MODE as the others have it."""
    for policy, modes in HALF.items():
        for mode in modes:
            keras.backend.clear_session()
            rng = np.random.default_rng(len(policy))
            ids = keras.Input((4,), dtype="int32", name="ids")
            h = L.Embedding(11, 7, dtype=policy)(ids)
            h = L.EinsumDense("abc,cd->abd", (None, 9), bias_axes="d", activation="tanh", dtype=policy)(h)
            model = keras.Model(ids, L.Dense(5, dtype=policy)(h))
            for v in model.variables:
                v.assign(rng.normal(size=v.shape) * 0.6 + 0.2)
            path = os.path.join(HERE, "half_" + policy)
            model.save(path + ".keras")
            model.quantize(config=MODES[mode])
            path += "_" + mode
            model.save(path + ".keras")
            x = rng.integers(0, 11, (3, 4)).astype("i4")
            save_file({"inputs.ids": x, "expect.output": np.asarray(model(x)).astype("f4")}, path + ".safetensors")
            os.chmod(path + ".safetensors", 0o644)


def short_group():
    """A kernel w of fewer rows than a block, in 4 bits as layers have it."""
    w = np.random.default_rng(2).uniform(1, 2, (5, 3)).astype("f4")
    numbers, scale, zero = abs_max_quantize_grouped_with_zero_point(w, block_size=128, to_numpy=True)
    packed = pack_int4(numbers, axis=-1)[0]
    tensors = {"w": w, "expect.scale": np.asarray(scale)}
    tensors["expect.numbers"] = np.asarray(packed).view("u1")
    tensors["expect.zero"] = np.asarray(zero).view("u1")
    path = os.path.join(HERE, "one_short_group.safetensors")
    save_file(tensors, path)
    os.chmod(path, 0o644)


for make in (dense, wrapped, einsum, axes, tied, untied, attention):
    for mode, config in MODES.items():
        if (make.__name__, mode) in SKIPPED or mode == "float8" and make.__name__ not in FLOAT8:
            continue
        if make.__name__ not in (sys.argv[1:] or make.__name__):
            continue
        write(make.__name__, make, mode, config)
if len(sys.argv) < 2 or "lora" in sys.argv:
    lora("int8")
    lora("int4_groups")
for make in (compiled, half, short_group):
    if make.__name__ in (sys.argv[1:] or make.__name__):
        make()
