#!/usr/bin/env python3
"""Three models as the examples of keras.io build them, tiny: their files, and what training makes of them.

    pip install "keras==3.15.1" jax safetensors numpy
    python generate.py        # writes beside itself
    python ../pack_keras.py *.keras

NAME.keras         compiled, after one step of training
NAME.safetensors   x0, x1, ..., y: the data; predictions, losses and accuracies of three epochs after
                   that (batches of 3, not shuffled), and the predictions then
classes.json       the classes of text_classification and translation as functional models

time_series has Keras's layers alone: timeseries_classification_transformer. The classes are those of
text_classification_with_transformer and neural_machine_translation_with_transformer, without masks.
"""
import json
import os

os.environ["KERAS_BACKEND"] = "jax"
import keras
import numpy as np
from keras import layers as L
from keras import ops
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(3)
own = keras.saving.register_keras_serializable(package="io")


class Configured(L.Layer):
    """A layer that keeps its options."""

    options = ()

    def get_config(self):
        return {**super().get_config(), **{name: getattr(self, name) for name in self.options}}


@own
class TokenAndPositionEmbedding(Configured):
    options = ("maxlen", "vocab_size", "embed_dim")

    def __init__(self, maxlen, vocab_size, embed_dim, **more):
        super().__init__(**more)
        self.maxlen, self.vocab_size, self.embed_dim = maxlen, vocab_size, embed_dim
        self.token_emb = L.Embedding(vocab_size, embed_dim)
        self.pos_emb = L.Embedding(maxlen, embed_dim)

    def call(self, x):
        return self.token_emb(x) + self.pos_emb(ops.arange(0, x.shape[-1]))


@own
class TransformerBlock(Configured):
    options = ("embed_dim", "num_heads", "ff_dim", "rate")

    def __init__(self, embed_dim, num_heads, ff_dim, rate=0.0, **more):
        super().__init__(**more)
        self.embed_dim, self.num_heads, self.ff_dim, self.rate = embed_dim, num_heads, ff_dim, rate
        self.att = L.MultiHeadAttention(num_heads=num_heads, key_dim=embed_dim)
        self.ffn = keras.Sequential([L.Dense(ff_dim, activation="relu"), L.Dense(embed_dim)])
        self.layernorm1, self.layernorm2 = L.LayerNormalization(epsilon=1e-6), L.LayerNormalization(epsilon=1e-6)
        self.dropout1, self.dropout2 = L.Dropout(rate), L.Dropout(rate)

    def call(self, x):
        h = self.layernorm1(x + self.dropout1(self.att(x, x)))
        return self.layernorm2(h + self.dropout2(self.ffn(h)))


@own
class TransformerDecoder(Configured):
    options = ("embed_dim", "latent_dim", "num_heads")

    def __init__(self, embed_dim, latent_dim, num_heads, **more):
        super().__init__(**more)
        self.embed_dim, self.latent_dim, self.num_heads = embed_dim, latent_dim, num_heads
        self.attention_1 = L.MultiHeadAttention(num_heads=num_heads, key_dim=embed_dim)
        self.attention_2 = L.MultiHeadAttention(num_heads=num_heads, key_dim=embed_dim)
        self.dense_proj = keras.Sequential([L.Dense(latent_dim, activation="relu"), L.Dense(embed_dim)])
        self.layernorm_1, self.layernorm_2 = L.LayerNormalization(), L.LayerNormalization()
        self.layernorm_3 = L.LayerNormalization()

    def call(self, inputs):
        x, encoded = inputs
        first = self.layernorm_1(x + self.attention_1(query=x, value=x, key=x, use_causal_mask=True))
        second = self.layernorm_2(first + self.attention_2(query=first, value=encoded, key=encoded))
        return self.layernorm_3(second + self.dense_proj(second))


# ---- The classes as functional models ----------------------------------------------------------
def sequential(name, first, second):
    return keras.Sequential([keras.Input((None, 8)), L.Dense(first, activation="relu"), L.Dense(second)], name=name)


def definition(model, numbers, **more):
    """With "$option" in the place of each of the numbers."""
    text = json.dumps(json.loads(model.to_json()))
    for number, option in numbers.items():
        for key in ("units", "key_dim", "value_dim", "input_dim", "output_dim", "num_heads", "rate", "embed_dim"):
            text = text.replace('"%s": %s,' % (key, number), '"%s": "$%s",' % (key, option))
    return {"model": json.loads(text), **more}


def classes():
    x = keras.Input((None,), dtype="int32", name="x")
    places = ops.cumsum(ops.ones_like(x), axis=-1) - 1
    embedding = keras.Model(x, L.Embedding(71, 8, name="token_emb")(x) + L.Embedding(73, 8, name="pos_emb")(places))
    x = keras.Input((None, 8), name="x")
    h = L.MultiHeadAttention(37, 41, name="att")(x, x)
    h = L.LayerNormalization(epsilon=1e-6, name="layernorm1")(x + L.Dropout(0.61, name="dropout1")(h))
    f = sequential("ffn", 79, 8)(h)
    block = keras.Model(x, L.LayerNormalization(epsilon=1e-6, name="layernorm2")(h + L.Dropout(0.61, name="dropout2")(f)))
    x, encoded = keras.Input((None, 8), name="x"), keras.Input((None, 8), name="encoded")
    h = L.LayerNormalization(name="layernorm_1")(
        x + L.MultiHeadAttention(37, 41, name="attention_1")(query=x, value=x, key=x, use_causal_mask=True))
    h = L.LayerNormalization(name="layernorm_2")(
        h + L.MultiHeadAttention(37, 41, name="attention_2")(query=h, value=encoded, key=encoded))
    decoder = keras.Model([x, encoded],
                          L.LayerNormalization(name="layernorm_3")(h + sequential("dense_proj", 79, 8)(h)))

    def own_names(*names):
        return {name: name for name in names}

    return {
        "io>TokenAndPositionEmbedding": definition(embedding, {71: "vocab_size", 73: "maxlen"},
                                                   attributes=own_names("token_emb", "pos_emb")),
        "io>TransformerBlock": definition(
            block, {37: "num_heads", 41: "embed_dim", 79: "ff_dim", 0.61: "rate"},
            attributes=own_names("att", "ffn", "layernorm1", "layernorm2", "dropout1", "dropout2")),
        "io>TransformerDecoder": definition(
            decoder, {37: "num_heads", 41: "embed_dim", 79: "latent_dim"},
            attributes=own_names("attention_1", "attention_2", "dense_proj", "layernorm_1", "layernorm_2", "layernorm_3")),
    }


# ---- The models --------------------------------------------------------------------------------
def text_classification():
    x = keras.Input((6,), dtype="int32", name="tokens")
    h = TransformerBlock(8, 2, 5, name="block")(TokenAndPositionEmbedding(6, 20, 8, name="embedding")(x))
    h = L.Dropout(0.0)(L.GlobalAveragePooling1D()(h))
    model = keras.Model(x, L.Dense(2, activation="softmax")(L.Dense(4, activation="relu")(h)))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, [rng.integers(0, 20, (6, 6)).astype("i4")], rng.integers(0, 2, (6,)).astype("i4")


def translation():
    source = keras.Input((None,), dtype="int32", name="encoder_inputs")
    target = keras.Input((None,), dtype="int32", name="decoder_inputs")
    encoded = TransformerBlock(8, 2, 5, name="encoder")(TokenAndPositionEmbedding(7, 15, 8, name="source")(source))
    h = TokenAndPositionEmbedding(7, 12, 8, name="target")(target)
    h = L.Dropout(0.0)(TransformerDecoder(8, 6, 2, name="decoder")([h, encoded]))
    model = keras.Model([source, target], L.Dense(12, activation="softmax")(h))
    model.compile("rmsprop", keras.losses.SparseCategoricalCrossentropy(ignore_class=0), metrics=["accuracy"])
    words = rng.integers(1, 12, (6, 6)).astype("i4")
    words[:, 4:] = 0
    return model, [rng.integers(1, 15, (6, 7)).astype("i4"), words[:, :-1].copy()], words[:, 1:].copy()


def time_series():
    x = keras.Input((9, 1), name="series")
    h = x
    for _ in range(2):
        a = L.Dropout(0.0)(L.MultiHeadAttention(key_dim=3, num_heads=2, dropout=0.0)(h, h))
        res = L.LayerNormalization(epsilon=1e-6)(a) + h
        f = L.Dropout(0.0)(L.Conv1D(filters=4, kernel_size=1, activation="relu")(res))
        h = L.LayerNormalization(epsilon=1e-6)(L.Conv1D(filters=1, kernel_size=1)(f)) + res
    h = L.GlobalAveragePooling1D(data_format="channels_last")(h)
    h = L.Dropout(0.0)(L.Dense(5, activation="relu")(h))
    model = keras.Model(x, L.Dense(2, activation="softmax")(h))
    model.compile(loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.Adam(learning_rate=1e-2),
                  metrics=["sparse_categorical_accuracy"])
    return model, [rng.normal(size=(6, 9, 1)).astype("f4")], rng.integers(0, 2, (6,)).astype("i4")


def main():
    for make in (text_classification, translation, time_series):
        keras.backend.clear_session()
        keras.utils.set_random_seed(4)
        model, x, y = make()
        inputs = x if len(x) > 1 else x[0]
        for v in model.trainable_variables:
            v.assign(v + rng.normal(size=v.shape) * 0.2)
        model.train_on_batch(inputs, y)
        model.save(os.path.join(HERE, make.__name__ + ".keras"))
        tensors = {"x%d" % i: v for i, v in enumerate(x)}
        tensors |= {"y": y, "predictions": model.predict(inputs, verbose=0)}
        history = model.fit(inputs, y, batch_size=3, epochs=3, shuffle=False, verbose=0).history
        tensors |= {"logs." + name: np.array(values) for name, values in history.items()}
        tensors["trained"] = model.predict(inputs, verbose=0)
        file = os.path.join(HERE, make.__name__ + ".safetensors")
        save_file(tensors, file)
        os.chmod(file, 0o644)
    with open(os.path.join(HERE, "classes.json"), "w") as f:
        json.dump(classes(), f)


main()
