#!/usr/bin/env python3
"""What Keras's adapt() makes of data, by TensorFlow: vocabularies of texts and integers, with ties,
mask and unknown tokens among the data, fewer tokens than there are, and weights of documents; means
and variances.

    pip install "keras==3.15.1" tensorflow-cpu numpy
    python generate_adapt.py        # writes adapt.json beside itself

Each case: class_name, config (of get_config(), before adapt()), data, vocabulary, and expect, what
the layer then makes of the data. Each of normalizations: config, data [4, 3, 2] and expect.
"""
import json
import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
from keras import layers as L

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(7)
WORDS = ["red", "Red", "Öl", "öl", "", "[UNK]", "zzz", "blue", "b", "a b", "日本"]
ROWS = [[str(rng.choice(WORDS)) for _ in range(6)] for _ in range(5)]
LIST = [row[0] for row in ROWS] + ["once", "blue"]
SENTENCES = ["The cat sat. The end!", "a cat, a dog", "", "Dog? dog  CAT\tÖl", "[UNK] the"]
NUMBERS = [[int(n) for n in row] for row in rng.integers(-3, 6, (4, 7))]
cases = []


def plain(values):
    return [value.decode() if isinstance(value, bytes) else value for value in values]


def add(layer, data):
    config = layer.get_config()
    texts = isinstance(np.array(data).ravel()[0], str)
    array = np.array(data, object if texts else "int64")
    layer.adapt(array)
    if texts:
        import tensorflow as tf

        array = tf.constant(data)
    vocabulary = [v if isinstance(v, str) else int(v) for v in plain(layer.get_vocabulary())]
    cases.append(
        {
            "class_name": type(layer).__name__,
            "config": config,
            "data": data,
            "vocabulary": vocabulary,
            "expect": np.asarray(layer(array)).tolist(),
        }
    )


for options in (
    {},
    {"max_tokens": 5},
    {"mask_token": "zzz", "num_oov_indices": 2},
    {"oov_token": "red", "output_mode": "count"},
    {"output_mode": "tf_idf"},
    {"output_mode": "tf_idf", "mask_token": "blue", "max_tokens": 6, "num_oov_indices": 2},
    {"output_mode": "tf_idf", "max_tokens": 20, "pad_to_max_tokens": True},
):
    add(L.StringLookup(**options), ROWS)
    if options.get("output_mode") != "count":
        add(L.StringLookup(**options), LIST)
for options in (
    {},
    {"max_tokens": 4, "mask_token": 5},
    {"output_mode": "multi_hot", "oov_token": 2},
    {"output_mode": "tf_idf"},
):
    add(L.IntegerLookup(**options), NUMBERS)
for options in (
    {},
    {"max_tokens": 5},
    {"standardize": None, "split": "character"},
    {"ngrams": 2, "output_mode": "count"},
    {"output_mode": "tf_idf"},
    {"output_mode": "tf_idf", "max_tokens": 4},
    {"output_mode": "tf_idf", "ngrams": (1, 3), "max_tokens": 40, "pad_to_max_tokens": True},
    {"split": None, "standardize": "lower"},
):
    add(L.TextVectorization(**options), SENTENCES)

normalizations = []
for axis in (-1, None, [1, 2]):
    layer = L.Normalization(axis=axis)
    data = rng.normal(3, 2, (4, 3, 2)).astype("float32")
    config = layer.get_config()
    layer.adapt(data)
    expect = np.asarray(layer(data)).ravel().tolist()
    normalizations.append({"config": config, "data": data.ravel().tolist(), "expect": expect})

with open(os.path.join(HERE, "adapt.json"), "w") as file:
    json.dump({"cases": cases, "normalizations": normalizations}, file, indent=1)
    file.write("\n")
