"""Writes what Keras 3.15.1 prints as summaries of the models in tests/graph_summary_test.cc.

    KERAS_BACKEND=jax python generate_summaries.py
"""

import pathlib

import keras
from keras import layers


def chain():
    return keras.Sequential(
        [
            keras.Input((7,)),
            layers.Dense(7, activation="gelu", name="d1"),
            layers.Dropout(0.2),
            layers.Dense(4000, use_bias=False, name="a_very_long_name_of_a_layer_that_wraps"),
            layers.LayerNormalization(trainable=False, name="norm"),
        ],
        name="chain",
    )


def network():
    x = keras.Input((60,), dtype="int32", name="tokens")
    h = layers.Embedding(256, 64, name="embed")(x)
    a = layers.GroupQueryAttention(16, 4, 2, name="attention")(h, h)
    h = layers.LayerNormalization(name="norm")(layers.Add(name="residual")([h, a]))
    return keras.Model(x, layers.Dense(256, name="a_head_with_a_long_name")(h), name="network")


def nested():
    a = keras.Input((5, 3), name="a")
    inner = keras.Model(a, layers.Dense(3, name="shared")(a), name="inner")
    x = keras.Input((5, 3), name="x")
    return keras.Model(x, layers.Dense(1000000, name="wide")(inner(inner(x))), name="outer")


def unbuilt():
    return keras.Sequential([layers.Dense(3, name="first"), layers.Dense(2, name="second")],
                            name="unbuilt")


for make in (chain, network, nested, unbuilt):
    lines = []
    make().summary(print_fn=lines.append)
    folder = pathlib.Path(__file__).parent
    (folder / f"summary_{make.__name__}.txt").write_text("".join(lines), encoding="utf-8")
