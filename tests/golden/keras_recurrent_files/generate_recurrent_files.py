#!/usr/bin/env python3
"""Files of models with recurrent layers, wrappers and preprocessing, by Keras 3.15.1 on JAX (CPU).

    pip install "keras==3.15.1" jax safetensors numpy h5py
    python generate_recurrent_files.py           # recurrent.*
    pip install tensorflow
    python generate_recurrent_files.py text      # text.*: vocabularies need TensorFlow
    python ../pack_keras.py *.keras

recurrent.keras and recurrent.h5 are one model before it is trained; the safetensors file has its inputs `x`, `ids`, outputs `y.<i>`, and after 20 steps on targets `t` with a mask
and dropout the losses `losses` and the weights `after.<i>` in the order of the model's weights.
text.keras has string inputs; text.json its texts and what the model makes of them.
"""
import json
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers as L  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

HERE = Path(__file__).resolve().parent


def recurrent():
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(3)
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = keras.Input((6, 3), name="x")
    h = L.Embedding(9, 4, mask_zero=True)(ids)
    h = L.Bidirectional(L.LSTM(3, return_sequences=True, dropout=0.2, seed=11))(h)
    h, state = L.GRU(4, return_sequences=True, return_state=True, recurrent_dropout=0.1, seed=12)(h)
    g = L.TimeDistributed(keras.Sequential([L.Dense(5, activation="relu"), L.Dense(4)], name="inner"))(h)
    r = L.RNN([L.LSTMCell(4), L.GRUCell(3, reset_after=False)], return_sequences=True)(x)
    a = L.SimpleRNN(4, go_backwards=True)(L.Concatenate()([g, r]), initial_state=state)
    b, carry, cell = L.LSTM(4, unit_forget_bias=False, return_state=True)(r, initial_state=[state, a])
    c = L.Bidirectional(L.GRU(4), merge_mode="ave")(g, initial_state=[carry, cell])
    y = L.Dense(2, name="out")(L.Concatenate()([a, b, c]))
    model = keras.Model([ids, x], y, name="recurrent")
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.save(HERE / "recurrent.keras")
    model.save(HERE / "recurrent.h5")
    given = rng.integers(1, 9, (5, 6)).astype(np.int32)
    given[0, 3:] = 0
    given[1, 1:3] = 0
    inputs = {"ids": given, "x": rng.standard_normal((5, 6, 3)).astype(np.float32)}
    target = rng.standard_normal((5, 2)).astype(np.float32)
    tensors = dict(inputs) | {"t": target}
    tensors["y.0"] = np.asarray(keras.ops.convert_to_numpy(model([given, inputs["x"]], training=False)))
    model = keras.models.load_model(HERE / "recurrent.keras")  # no seed has drawn yet
    losses = [model.fit([given, inputs["x"]], target, batch_size=5, epochs=1, shuffle=False, verbose=0).history["loss"][0]
              for _ in range(20)]
    tensors["losses"] = np.array(losses, np.float32)
    tensors |= {f"after.{i}": np.asarray(v.value) for i, v in enumerate(model.weights)}
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, HERE / "recurrent.safetensors")
    print(losses)


def text():
    texts = ["the cat Sat on the mat.", "A dog; ran, ran!", "", "cat\tdog   bird", "\u00c4pfel the-end"]
    s = keras.Input((1,), dtype="string", name="s")
    f = keras.Input((2,), name="f")
    words = L.TextVectorization(output_sequence_length=5, max_tokens=12)
    words.adapt(np.array(texts))
    pairs = L.TextVectorization(ngrams=2, output_mode="count", standardize="lower", vocabulary=["the", "cat", "ran", "the cat"])
    letters = L.TextVectorization(split="character", standardize=None)
    letters.adapt(np.array(texts))
    whole = L.StringLookup(vocabulary=["", texts[1]], mask_token=None)
    n = L.Normalization()
    n.adapt(np.array([[1.0, 2.0], [3.0, 7.0], [-1.0, 0.5]], np.float32))
    h = L.Embedding(12, 3)(words(s))
    outs = [L.LSTM(2)(h), pairs(s), letters(s), whole(s), n(f)]
    model = keras.Model([s, f], outs, name="texts")
    model.save(HERE / "text.keras")
    numbers = np.arange(10, dtype=np.float32).reshape(5, 2)
    # Called layer by layer: the backend has no strings.
    ids = words(np.array(texts)[:, None])
    inner = keras.Model(model.get_layer("embedding").output, model.get_layer("lstm").output)
    made = [inner(model.get_layer("embedding")(np.asarray(ids))), pairs(np.array(texts)[:, None]),
            letters(np.array(texts)[:, None]), whole(np.array(texts)[:, None]), n(numbers)]
    document = {"texts": texts, "numbers": numbers.tolist(), "ids": np.asarray(ids).tolist(),
                "vocabulary": words.get_vocabulary(), "outputs": [np.asarray(y).tolist() for y in made]}
    (HERE / "text.json").write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    text() if sys.argv[1:] == ["text"] else recurrent()
