#!/usr/bin/env python3
"""Golden vectors of Dense, EinsumDense, Activation, Softmax and attention with dropout, by Keras 3.15.1 on JAX.

    pip install "keras==3.15.1" jax safetensors numpy
    python generate_dense.py            # writes beside itself

cases.json is in the format of ../keras/README.md, made by the functions of ../keras_layers/generate_around.py.
"""
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "keras_layers"))

import generate_around as around  # noqa: E402
from keras import layers  # noqa: E402

around.HERE = HERE  # where its cases go
POLICIES = ("mixed_bfloat16", "bfloat16", "mixed_float16")


def in_training(kind):
    """A layer that is called in training and draws from its seed anew each time."""

    class Training(kind):
        def call(self, inputs, mask=None, **arguments):
            self.seed_generator.state.assign([self.seed, 0])
            return super().call(inputs, mask, **{**arguments, "training": True})

    Training.__name__ = kind.__name__
    return Training


def cases():
    rng = around.rng_of("dense inputs")

    def x(*shape):
        return rng.standard_normal(shape).astype("float32")

    def m(*shape):
        return rng.random(shape) < 0.6

    for name in ("linear", "relu", "gelu", "silu", "tanh", "sigmoid", "softmax"):
        yield f"activation_{name}", layers.Activation(name), 2 * x(2, 3, 7), [m(2, 3)], None
        yield f"dense_{name}", layers.Dense(4, activation=name), x(2, 3, 5), [m(2, 3)], None
    for policy in POLICIES:
        yield f"activation_{policy}", layers.Activation("silu", dtype=policy), x(2, 3, 7), [], None
        yield f"dense_{policy}", layers.Dense(4, activation="gelu", dtype=policy), x(2, 3, 5), [], None
        yield f"einsum_{policy}", layers.EinsumDense("abc,cde->abde", (None, 2, 4), activation="tanh", bias_axes="de",
                                                     dtype=policy), x(2, 3, 5), [], None
        yield f"softmax_{policy}", layers.Softmax(dtype=policy), x(2, 3, 7), [], None
    yield "dense_no_bias", layers.Dense(4, use_bias=False), x(6, 5), [], None
    yield "dense_rank_4", layers.Dense(4), x(2, 2, 3, 5), [m(2, 2)], None
    for label, equation, output_shape, bias_axes, inputs in (
        ("last", "abc,cd->abd", (None, 4), "d", x(2, 3, 5)),
        ("heads", "abc,cde->abde", (None, 2, 4), "de", x(2, 3, 5)),
        ("merge", "abcd,cde->abe", (None, 4), "e", x(2, 3, 5, 2)),
        ("bias_time", "abc,cd->abd", (3, 4), "b", x(2, 3, 5)),
        ("bias_batch", "abc,cd->abd", (3, 4), "a", x(2, 3, 5)),
        ("transposed", "abc,dc->adb", (4, None), "d", x(2, 3, 5)),
        ("left", "...x,xy->...y", 4, "y", x(2, 3, 2, 5)),
        ("right", "ab...,bc->ac...", 4, "c", x(2, 5, 3, 2)),
        ("shared", "abc,bcd->abd", (3, 4), "bd", x(2, 3, 5)),
        ("summed", "abc,cd->ad", (4,), None, x(2, 3, 5)),
        ("outer", "abc,d->abcd", (3, 5, 4), None, x(2, 3, 5)),
    ):
        yield f"einsum_{label}", layers.EinsumDense(equation, output_shape, bias_axes=bias_axes), inputs, [], None
    for label, axis in (("last", -1), ("middle", 1), ("two", [1, 2]), ("one_of_a_list", [1])):
        yield f"softmax_{label}", layers.Softmax(axis=axis), x(2, 3, 4), [], None
    some = m(2, 1, 4)
    some[1] = False
    yield "softmax_mask", layers.Softmax(), x(2, 3, 4), [], some
    yield "softmax_mask_two_axes", layers.Softmax(axis=[-2, -1]), x(2, 3, 4), [], m(3, 4)
    yield "softmax_implicit_mask", layers.Softmax(), x(2, 4), [m(2, 4)], None
    training = in_training(layers.Attention)
    additive = in_training(layers.AdditiveAttention)
    yield "attention_dropout", training(dropout=0.3, seed=7), [x(2, 4, 5), x(2, 6, 5)], [m(2, 4), None], None
    yield "attention_dropout_concat", training(score_mode="concat", use_scale=True, dropout=0.5, seed=9), \
        [x(2, 4, 5), x(2, 6, 3), x(2, 6, 5)], [], None
    yield "attention_dropout_mixed_bfloat16", training(dropout=0.3, seed=3, dtype="mixed_bfloat16"), \
        [x(2, 4, 5), x(2, 6, 5)], [], None
    yield "additive_dropout", additive(dropout=0.25, seed=11), [x(2, 4, 5), x(2, 6, 5)], [], None
    yield "attention_rank_4", layers.Attention(use_scale=True), [x(2, 3, 4, 5), x(2, 3, 6, 5)], [], None
    yield "additive_rank_4", layers.AdditiveAttention(), [x(2, 3, 4, 5), x(2, 3, 6, 5)], [], None


def main():
    made = []
    for name, layer, inputs, masks, mask_argument in cases():
        case = around.layer_case(name, layer, inputs, masks, mask_argument)
        if "dropout" in name:
            case["call"]["training"] = True
        masks_of = case["call"].get("implicit_masks", {})
        if "0" in masks_of:  # lists are attention's operands here
            masks_of["query"] = masks_of.pop("0")
        made.append(case)
    (HERE / "cases.json").write_text(json.dumps({"keras": "3.15.1", "backend": "jax", "cases": made}, indent=1) + "\n")


if __name__ == "__main__":
    main()
