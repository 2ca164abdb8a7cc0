#!/usr/bin/env python3
"""Golden vectors of small layers and of activations, by Keras 3.15.1 on JAX (CPU).

    pip install "keras==3.15.1" jax safetensors numpy
    python generate_small.py            # writes beside itself

cases.json and its tensors have the form of ../keras_layers/generate_around.py.
"""
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "keras_layers"))

import generate_around as around  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers  # noqa: E402
from keras.src.activations import ALL_OBJECTS_DICT  # noqa: E402

around.HERE = HERE


def small_cases():
    rng = around.rng_of("small")

    def x(*shape, scale=1.0):
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    def m(*shape):
        return rng.random(shape) < 0.6

    a, b, c = x(2, 3, 4), x(2, 3, 4), x(2, 3, 4)
    wide = x(2, 3, 6, scale=3)
    wide[0, 0, :4] = [0, -0.5, 0.5, -3.5]

    names = sorted(ALL_OBJECTS_DICT.keys() - {"glu", "threshold"})
    for name in names:
        yield f"activation_{name}", layers.Activation(name), wide, [m(2, 3)]
    for name in ("mish", "hard_silu", "log_softmax", "sparsemax", "squareplus", "celu"):
        yield f"activation_{name}_mixed_bfloat16", layers.Activation(name, dtype="mixed_bfloat16"), wide, []
    for name in ("hard_swish", "sparsemax", "mish", "relu6", "gelu"):
        yield f"dense_{name}", layers.Dense(3, activation=name), a, []
    yield "activation_function", layers.Activation(keras.activations.softsign), a, []
    inner = {"leaky_relu": layers.LeakyReLU(0.1), "relu": layers.ReLU(max_value=0.7, negative_slope=0.2, threshold=0.1),
             "elu": layers.ELU(0.5), "softmax": layers.Softmax(), "activation": layers.Activation("tanh"),
             "nested": layers.Activation(layers.LeakyReLU(0.4))}
    for label, layer in inner.items():
        yield f"dense_layer_{label}", layers.Dense(3, activation=layer), a, [m(2, 3)]
    yield "einsum_dense_layer", layers.EinsumDense("abc,cd->abd", (3, 5), activation=layers.ELU(0.3)), a, []
    yield "activation_layer", layers.Activation(layers.ReLU(max_value=1)), a, []

    for label, arguments in {
        "plain": {}, "cut": {"max_value": 1}, "six": {"max_value": 6}, "slope": {"negative_slope": 0.25},
        "threshold": {"threshold": 0.5}, "all": {"max_value": 2, "negative_slope": 0.25, "threshold": 0.5},
        "cut_slope": {"max_value": 1.5, "negative_slope": 0.1}, "zero": {"max_value": 0},
        "mixed_bfloat16": {"max_value": 2, "negative_slope": 0.25, "dtype": "mixed_bfloat16"},
        "mixed_float16": {"threshold": 0.5, "dtype": "mixed_float16"},
    }.items():
        yield f"relu_{label}", layers.ReLU(**arguments), wide, [m(2, 3)]
    yield "leaky_relu", layers.LeakyReLU(), wide, [m(2, 3)]
    yield "leaky_relu_slope", layers.LeakyReLU(negative_slope=0.05, dtype="mixed_bfloat16"), wide, []
    yield "elu", layers.ELU(), wide, [m(2, 3)]
    yield "elu_alpha", layers.ELU(alpha=0.4), wide, []
    yield "prelu", layers.PReLU(), wide, [m(2, 3)]
    yield "prelu_shared", layers.PReLU(shared_axes=[1]), wide, []
    yield "prelu_shared_two", layers.PReLU(shared_axes=[1, 2], alpha_initializer="he_normal",
                                           alpha_regularizer="l2", alpha_constraint="non_neg"), x(2, 3, 4, 5), []
    yield "prelu_matrix", layers.PReLU(), x(3, 5), []
    yield "prelu_mixed_bfloat16", layers.PReLU(dtype="mixed_bfloat16"), wide, []

    yield "identity", layers.Identity(), a, [m(2, 3)]
    yield "identity_mixed_bfloat16", layers.Identity(dtype="mixed_bfloat16"), a, []
    yield "repeat_vector", layers.RepeatVector(3), x(2, 4), [m(2, 4)]
    yield "repeat_vector_bfloat16", layers.RepeatVector(2, dtype="bfloat16"), x(2, 4), []

    tied = b.copy()
    tied[0] = a[0]
    for kind in (layers.Average, layers.Maximum, layers.Minimum, layers.Subtract):
        label = kind.__name__.lower()
        yield f"{label}_two", kind(), [a, tied], [m(2, 3), m(2, 3)]
        yield f"{label}_no_mask", kind(), [a, b], []
        yield f"{label}_first_mask", kind(), [a, b], [m(2, 3), None]
        yield f"{label}_second_mask", kind(), [a, b], [None, m(2, 3)]
        yield f"{label}_broadcast", kind(), [x(2, 1, 4), x(2, 3, 1)], [m(2, 1), m(2, 3)]
        yield f"{label}_ranks", kind(), [x(2, 4), x(2, 5, 3, 4)], []
        yield f"{label}_rank_mask", kind(), [x(2, 4), a], [m(2, 1), m(2, 3)]
        yield f"{label}_mixed_bfloat16", kind(dtype="mixed_bfloat16"), [a, b], [m(2, 3), m(2, 3)]
        if kind is layers.Subtract:
            continue
        yield f"{label}_three", kind(), [a, b, c], [m(2, 3)] * 3
        yield f"{label}_three_masks", kind(), [a, b, c], [m(2, 3), m(2, 3), m(2, 3)]
        yield f"{label}_middle_mask", kind(), [a, b, c], [m(2, 3), None, m(2, 3)]
        yield f"{label}_one", kind(), [a], [m(2, 3)]
        yield f"{label}_many_shapes", kind(), [x(2, 1, 4), x(2, 3, 1), c], [m(2, 1), m(2, 3), m(2, 3)]
        yield f"{label}_three_mixed_bfloat16", kind(dtype="mixed_bfloat16"), [a, b, c], []

    for label, arguments, shapes in (
        ("vectors", {"axes": 1}, [(2, 4), (2, 4)]), ("last", {"axes": -1}, [(2, 3, 4), (2, 5, 4)]),
        ("one", {"axes": 1}, [(2, 3, 4), (2, 3, 5)]), ("two", {"axes": (2, 1)}, [(2, 3, 4), (2, 4, 5)]),
        ("mixed_ranks", {"axes": (2, 1)}, [(2, 3, 4), (2, 4)]), ("vector_first", {"axes": (1, 2)}, [(2, 4), (2, 3, 4)]),
        ("high", {"axes": (3, 1)}, [(2, 3, 5, 4), (2, 4, 2, 3)]), ("middle", {"axes": (2, 2)}, [(2, 3, 4, 2), (2, 2, 4, 3)]),
        ("normalize", {"axes": -1, "normalize": True}, [(2, 3, 4), (2, 5, 4)]),
        ("normalize_vectors", {"axes": 1, "normalize": True}, [(2, 4), (2, 4)]),
        ("normalize_middle", {"axes": (1, 2), "normalize": True}, [(2, 4, 3), (2, 5, 4)]),
        ("mixed_bfloat16", {"axes": -1, "dtype": "mixed_bfloat16"}, [(2, 3, 4), (2, 5, 4)]),
        ("normalize_mixed_bfloat16", {"axes": -1, "normalize": True, "dtype": "mixed_bfloat16"}, [(2, 3, 4), (2, 5, 4)]),
    ):
        yield f"dot_{label}", layers.Dot(**arguments), [x(*s) for s in shapes], [m(*s[:2]) for s in shapes]

    noise = {
        "dropout_noise_shape": layers.Dropout(0.4, noise_shape=(None, 1, 4), seed=3),
        "dropout_noise_low": layers.Dropout(0.4, noise_shape=(1, 4), seed=3),
        "spatial_dropout1d": layers.SpatialDropout1D(0.5, seed=1),
        "spatial_dropout1d_whole": layers.SpatialDropout1D(1.0, seed=1),
        "gaussian_noise": layers.GaussianNoise(0.3, seed=5),
        "gaussian_dropout": layers.GaussianDropout(0.3, seed=7),
        "alpha_dropout": layers.AlphaDropout(0.4, seed=9),
        "alpha_dropout_noise_shape": layers.AlphaDropout(0.4, noise_shape=(None, 1, None), seed=9),
        "gaussian_noise_mixed_bfloat16": layers.GaussianNoise(0.3, seed=5, dtype="mixed_bfloat16"),
        "gaussian_dropout_mixed_bfloat16": layers.GaussianDropout(0.3, seed=5, dtype="mixed_bfloat16"),
        "alpha_dropout_mixed_bfloat16": layers.AlphaDropout(0.3, seed=5, dtype="mixed_bfloat16"),
    }
    for label, layer in noise.items():
        yield label, layer, a, [m(2, 3)]
        yield f"{label}_training", layer, a, [m(2, 3)]
    for fmt in ("channels_last", "channels_first"):
        layer = layers.SpatialDropout2D(0.5, seed=2, data_format=fmt)
        yield f"spatial_dropout2d_{fmt}_training", layer, x(2, 3, 2, 4), []


def main():
    cases = []
    for name, layer, inputs, masks in small_cases():
        training = name.endswith("_training")
        if not training:
            cases.append(around.layer_case(name, layer, inputs, masks))
            continue
        cases.append(around.layer_case(name, FirstDraw(layer), inputs, masks))
        cases[-1]["layer"] = type(layer).__name__
        cases[-1]["config"] = layer.get_config()
        cases[-1]["call"]["training"] = True
    document = {"keras": keras.__version__, "backend": "jax", "cases": cases}
    (HERE / "cases.json").write_text(json.dumps(document) + "\n")
    print(len(cases), "cases")


class FirstDraw:
    """A layer called in training, whose generator stands at its first draw at each call."""

    def __init__(self, layer):
        self.layer = layer

    def __call__(self, inputs):
        generator = self.layer.seed_generator
        generator.state.assign(np.asarray([generator._initial_seed, 0], "uint32"))
        return self.layer(inputs, training=True)

    def __getattr__(self, name):
        return getattr(self.layer, name)


if __name__ == "__main__":
    main()
