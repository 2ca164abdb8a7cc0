"""Writes golden.R and model.keras: what Keras gives, for the tests of the R package.

    KERAS_BACKEND=jax python generate_golden.py   # Keras 3.15

Inputs and weights are sin(1), sin(2), ... in the order of a tensor's elements, so that R makes the
same; outputs are stored in that order.
"""

import pathlib
import textwrap

import keras
import numpy as np

here = pathlib.Path(__file__).parent
lines = ["# Written by generate_golden.py: values of Keras, the last axis first.", "golden <- list()"]


def waves(shape, start=0):
    count = int(np.prod(shape))
    return np.sin(1.0 + start + np.arange(count)).reshape(shape).astype("float32")


def store(name, value):
    value = np.atleast_1d(np.asarray(value, dtype="float64"))
    numbers = ", ".join(f"{number:.8g}" for number in value.reshape(-1))
    shape = ", ".join(f"{size}L" for size in value.shape)
    text = f"golden${name} <- tensor(c({numbers}), c({shape}))"
    lines.extend(textwrap.wrap(text, 96, subsequent_indent="  "))


def set_waves(layer):
    layer.set_weights([0.5 * waves(w.shape, start=i) for i, w in enumerate(layer.get_weights())])


def run(name, layer, *inputs, **call):
    layer(*inputs, **call)
    set_waves(layer)
    out = layer(*inputs, **call)
    if isinstance(out, (tuple, list)):
        store(name, out[0])
        store(name + "_scores", out[1])
    else:
        store(name, out)


def layers():
    query, value, key = waves((2, 3, 4)), waves((2, 5, 4), 7), waves((2, 5, 4), 50)
    mask = (np.arange(30).reshape(2, 3, 5) % 4 != 0)
    gqa = lambda **more: keras.layers.GroupQueryAttention(
        head_dim=3, num_query_heads=4, num_key_value_heads=2, **more)
    run("gqa_self", gqa(), query, query)
    run("gqa_cross", gqa(use_bias=False), query, value, key, attention_mask=mask,
        return_attention_scores=True)
    run("gqa_causal", gqa(), query, query, use_causal_mask=True)
    run("mha", keras.layers.MultiHeadAttention(num_heads=2, key_dim=3, value_dim=2, output_shape=5),
        query, value, attention_mask=mask, return_attention_scores=True)
    grid = waves((2, 2, 3, 4))
    run("mha_axes", keras.layers.MultiHeadAttention(num_heads=2, key_dim=3, attention_axes=(2,)),
        grid, grid)
    attention = keras.layers.Attention(use_scale=True, score_mode="concat")
    attention([query, value])
    attention.set_weights([np.float32(0.7), np.float32(0.3)])
    store("attention", attention([query, value, key], use_causal_mask=True))
    additive = keras.layers.AdditiveAttention()
    additive([query, value])
    set_waves(additive)
    keep = [np.ones((2, 3), bool), np.arange(10).reshape(2, 5) % 3 != 0]
    store("additive", additive([query, value], mask=keep))


def model():
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = keras.layers.Embedding(11, 8, name="embedding")(ids)
    y = keras.layers.GroupQueryAttention(4, 4, 2, name="attention")(x, x, use_causal_mask=True)
    x = keras.layers.LayerNormalization(name="norm")(keras.layers.Add(name="add")([x, y]))
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    result = keras.Model(ids, keras.layers.Dense(3, activation="softmax", name="classes")(x))
    set_waves(result)
    return result


def training():
    made = model()
    x = (np.arange(60).reshape(10, 6) * 7) % 11
    y = np.arange(10) % 3
    made.compile(keras.optimizers.AdamW(0.01, weight_decay=0.1),
                 keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"])
    history = made.fit(x, y, batch_size=4, epochs=3, shuffle=False, validation_split=0.2, verbose=0)
    for name, series in history.history.items():
        store(f"fit_{name}", series)
    store("fit_predictions", made.predict(x, verbose=0))
    made.save(here / "model.keras")


def rules():
    x = waves((4, 3))
    store("constraint_maxnorm", keras.constraints.MaxNorm(0.5, axis=0)(x))
    store("regularizer_l1_l2", keras.regularizers.L1L2(0.1, 0.2)(x))
    store("initializer", keras.initializers.GlorotUniform(seed=3)((4, 3)))
    y = np.abs(x) / np.abs(x).sum(-1, keepdims=True)
    store("loss_each", keras.losses.categorical_crossentropy(np.eye(3)[[0, 2, 1, 0]], y))
    store("metric_each", keras.metrics.sparse_top_k_categorical_accuracy([0, 2, 1, 0], y, k=1))


layers()
training()
rules()
(here / "golden.R").write_text("\n".join(lines) + "\n")
