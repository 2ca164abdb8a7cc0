#!/usr/bin/env python3
"""Golden vectors of the layers whose windows slide, by Keras 3.15.1 on JAX (CPU): convolutions here;
poolings, and the layers that pad, crop and repeat, in ../keras_pooling.

    pip install "keras==3.15.1" jax safetensors numpy
    python generate_convolution.py            # writes beside itself and into ../keras_pooling

cases.json and layers/*.safetensors in the format of ../keras_layers/generate_around.py.
"""
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "keras_layers"))

import generate_around as around  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers  # noqa: E402



RNG = around.rng_of("windows")
ONE = RNG.standard_normal((2, 7, 4)).astype(np.float32)
TWO = RNG.standard_normal((1, 6, 5, 4)).astype(np.float32)
MASK = RNG.random((2, 7)) < 0.6


def first(inputs):
    return np.moveaxis(inputs, -1, 1).copy()


def convolutions():
    for label, arguments in {
        "plain": {}, "one": {"kernel_size": 1}, "same": {"padding": "same"}, "causal": {"padding": "causal"},
        "strides": {"strides": 2}, "strides_same": {"strides": 3, "padding": "same"},
        "strides_causal": {"strides": 2, "padding": "causal"}, "patches": {"kernel_size": 7, "strides": 7},
        "dilation": {"dilation_rate": 2}, "dilation_same": {"dilation_rate": 3, "padding": "same"},
        "dilation_causal": {"dilation_rate": 2, "padding": "causal", "kernel_size": 2},
        "even_same": {"kernel_size": 4, "padding": "same"}, "wide_same": {"kernel_size": 9, "padding": "same"},
        "groups": {"groups": 2}, "groups_channels": {"groups": 4, "filters": 8, "padding": "same"},
        "groups_dilation": {"groups": 2, "dilation_rate": 2, "padding": "causal"},
        "no_bias": {"use_bias": False}, "relu": {"activation": "relu"}, "gelu": {"activation": "gelu"},
        "softmax": {"activation": "softmax"},
        "rules": {"kernel_initializer": "he_normal", "bias_initializer": "ones", "kernel_regularizer": "l2",
                  "bias_regularizer": "l1", "activity_regularizer": "l2", "kernel_constraint": "max_norm",
                  "bias_constraint": "non_neg"},
        "mixed_bfloat16": {"dtype": "mixed_bfloat16", "activation": "relu"}, "bfloat16": {"dtype": "bfloat16"},
        "mixed_float16": {"dtype": "mixed_float16", "groups": 2},
    }.items():
        arguments = {"filters": 6, "kernel_size": 3, **arguments}
        masks = [MASK] if label in ("plain", "causal") else []
        yield f"conv1d_{label}", layers.Conv1D(**arguments), ONE, masks
        if label in ("plain", "causal", "strides_same", "dilation", "groups", "softmax"):
            yield f"conv1d_first_{label}", layers.Conv1D(data_format="channels_first", **arguments), first(ONE), []
    for label, arguments in {
        "plain": {}, "one": {"kernel_size": 1}, "same": {"padding": "same"}, "strides": {"strides": 2},
        "strides_same": {"strides": (2, 3), "padding": "same"}, "patches": {"kernel_size": (2, 5), "strides": (2, 5)},
        "kernel": {"kernel_size": (1, 4)}, "dilation": {"dilation_rate": (2, 1), "padding": "same"},
        "groups": {"groups": 2}, "groups_channels": {"groups": 4, "filters": 4}, "no_bias": {"use_bias": False},
        "relu": {"activation": "relu"}, "mixed_bfloat16": {"dtype": "mixed_bfloat16"},
    }.items():
        arguments = {"filters": 6, "kernel_size": 3, **arguments}
        yield f"conv2d_{label}", layers.Conv2D(**arguments), TWO, []
        if label in ("plain", "strides_same", "groups"):
            yield f"conv2d_first_{label}", layers.Conv2D(data_format="channels_first", **arguments), first(TWO), []
    for label, arguments in {
        "plain": {}, "same": {"padding": "same"}, "strides": {"strides": 2, "padding": "same"},
        "dilation": {"dilation_rate": 2}, "multiplier": {"depth_multiplier": 3}, "no_bias": {"use_bias": False},
        "relu": {"activation": "relu"}, "first": {"data_format": "channels_first", "depth_multiplier": 2},
        "mixed_bfloat16": {"dtype": "mixed_bfloat16", "depth_multiplier": 2},
    }.items():
        flip = first if label == "first" else lambda inputs: inputs
        yield f"depthwise_conv1d_{label}", layers.DepthwiseConv1D(3, **arguments), flip(ONE), []
        yield f"separable_conv1d_{label}", layers.SeparableConv1D(5, 3, **arguments), flip(ONE), []
        if label in ("plain", "strides", "multiplier", "first"):
            yield f"depthwise_conv2d_{label}", layers.DepthwiseConv2D(3, **arguments), flip(TWO), []
            yield f"separable_conv2d_{label}", layers.SeparableConv2D(5, (2, 3), **arguments), flip(TWO), []
    yield "separable_conv1d_rules", layers.SeparableConv1D(
        5, 2, depthwise_initializer="ones", pointwise_regularizer="l2", bias_constraint="non_neg"), ONE, []


def poolings():
    for kind in ("Max", "Average"):
        name = kind.lower()
        for label, arguments in {
            "plain": {}, "same": {"padding": "same"}, "three": {"pool_size": 3}, "strides": {"pool_size": 3, "strides": 1},
            "strides_same": {"pool_size": 4, "strides": 3, "padding": "same"}, "skips": {"pool_size": 2, "strides": 3},
            "first": {"data_format": "channels_first", "padding": "same"},
            "mixed_bfloat16": {"dtype": "mixed_bfloat16", "padding": "same"},
        }.items():
            layer = getattr(layers, f"{kind}Pooling1D")(**{"pool_size": 2, **arguments})
            yield f"{name}_pooling1d_{label}", layer, first(ONE) if label == "first" else ONE, (
                [MASK] if label == "plain" else [])
        for label, arguments in {
            "plain": {}, "same": {"padding": "same", "pool_size": 3}, "sizes": {"pool_size": (3, 2), "strides": (1, 2)},
            "first": {"data_format": "channels_first"},
        }.items():
            layer = getattr(layers, f"{kind}Pooling2D")(**{"pool_size": 2, **arguments})
            yield f"{name}_pooling2d_{label}", layer, first(TWO) if label == "first" else TWO, []
        for label, arguments in {
            "last": {}, "last_keepdims": {"keepdims": True}, "first": {"data_format": "channels_first"},
            "first_keepdims": {"data_format": "channels_first", "keepdims": True},
            "mixed_bfloat16": {"dtype": "mixed_bfloat16"},
        }.items():
            layer = getattr(layers, f"Global{kind}Pooling2D")(**arguments)
            yield f"global_{name}_pooling2d_{label}", layer, first(TWO) if "first" in label else TWO, []
    yield "max_pooling1d_ties", layers.MaxPooling1D(3, strides=1, padding="same"), np.round(ONE), []
    yield "max_pooling2d_ties", layers.MaxPooling2D(3, strides=2), np.round(TWO), []
    yield "global_max_pooling2d_ties", layers.GlobalMaxPooling2D(), np.round(TWO), []


def paddings():
    for label, arguments in {"plain": {}, "zero": {"padding": 0}, "sides": {"padding": (2, 0)},
                             "mixed_bfloat16": {"dtype": "mixed_bfloat16"}}.items():
        yield f"zero_padding1d_{label}", layers.ZeroPadding1D(**arguments), ONE, [MASK]
    yield "zero_padding1d_first", layers.ZeroPadding1D((1, 3), data_format="channels_first"), first(ONE), []
    for label, arguments in {"plain": {}, "two": {"padding": (2, 1)}, "sides": {"padding": ((0, 2), (1, 0))}}.items():
        yield f"zero_padding2d_{label}", layers.ZeroPadding2D(**arguments), TWO, []
    yield "zero_padding2d_first", layers.ZeroPadding2D(((1, 0), (0, 2)), data_format="channels_first"), first(TWO), []
    for label, cropping in {"plain": 1, "sides": (2, 0), "right": (0, 3), "none": 0}.items():
        yield f"cropping1d_{label}", layers.Cropping1D(cropping), ONE, [MASK]
    for label, cropping in {"plain": 1, "two": (2, 0), "sides": ((0, 2), (1, 1))}.items():
        yield f"cropping2d_{label}", layers.Cropping2D(cropping), TWO, []
    yield "cropping2d_first", layers.Cropping2D(((1, 0), (0, 2)), data_format="channels_first"), first(TWO), []
    yield "up_sampling1d", layers.UpSampling1D(), ONE, [MASK]
    yield "up_sampling1d_three", layers.UpSampling1D(3, dtype="mixed_bfloat16"), ONE, []
    yield "up_sampling2d", layers.UpSampling2D(), TWO, []
    yield "up_sampling2d_sizes", layers.UpSampling2D((3, 1)), TWO, []
    yield "up_sampling2d_first", layers.UpSampling2D((1, 2), data_format="channels_first"), first(TWO), []


def write(folder, cases):
    """One line for each case."""
    around.HERE = folder
    made = [around.layer_case(*case) for case in cases]
    lines = ",\n".join(json.dumps(case) for case in made)
    head = json.dumps({"keras": around.keras.__version__, "backend": "jax"})[:-1]
    (folder / "cases.json").write_text(f'{head}, "cases": [\n{lines}\n]}}\n')
    print(folder.name, len(made), "cases")


def main():
    write(HERE, convolutions())
    write(HERE.parent / "keras_pooling", [*poolings(), *paddings()])


if __name__ == "__main__":
    main()
