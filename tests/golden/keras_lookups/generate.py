#!/usr/bin/env python3
"""What Keras's lookup layers give, by TensorFlow: unknown tokens in several places, by hash and by
remainder, keys of the hash, and places turned into tokens; texts and numbers in bins, by Hashing.

    pip install "keras==3.15.1" tensorflow-cpu numpy
    python generate.py        # writes cases.json beside itself

Each case: class_name, config (of get_config()), inputs (nested lists) and expect, their type by what
the lists have.
"""
import json
import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
from keras import layers as L

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(5)
LETTERS = list("abcdefghijklmnopqrstuvwxyz ÄÖ.")
SIZES = [0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 100, 128, 129, 200]
WORDS = ["red", "green", "blue", "a much longer token"]
TEXTS = [["".join(rng.choice(LETTERS, n)) for n in SIZES[i::5]] for i in range(5)]
TEXTS[0][1], TEXTS[2][3], TEXTS[4][0] = "red", "blue", "a much longer token"
TEXTS[1][1] = "zzz"
NUMBERS = [[int(n) for n in row] for row in rng.integers(-(2**40), 2**40, (4, 5))]
NUMBERS[0][0], NUMBERS[1][2], NUMBERS[3][4] = 7, 11, -3
PLACES = [[0, 1, 2, 3], [4, 5, 9, -1]]
cases = []


def add(layer, inputs, dtype):
    expect = keras.ops.convert_to_numpy(layer(np.array(inputs, dtype))) if dtype != "U" else None
    if expect is None:
        import tensorflow as tf

        expect = np.asarray(layer(tf.constant(inputs)))
    if expect.dtype == object:
        expect = [[text.decode() for text in row] for row in expect]
    else:
        expect = expect.tolist()
    cases.append(
        {
            "class_name": type(layer).__name__,
            "config": layer.get_config(),
            "inputs": inputs,
            "expect": expect,
        }
    )


for options in (
    {"num_oov_indices": 3},
    {"num_oov_indices": 7, "mask_token": "zzz"},
    {"num_oov_indices": 5, "salt": 17},
    {"num_oov_indices": 1000, "salt": [-5, 2**40], "oov_method": "farmhash"},
    {"num_oov_indices": 2, "output_mode": "multi_hot"},
    {"num_oov_indices": 4, "output_mode": "count", "mask_token": "zzz", "pad_to_max_tokens": True, "max_tokens": 12},
    {"num_oov_indices": 3, "output_mode": "tf_idf", "idf_weights": [0.5, 1.25, 2.0, 0.75]},
):
    add(L.StringLookup(vocabulary=WORDS, **options), TEXTS, "U")
for options in (
    {"num_oov_indices": 3},
    {"num_oov_indices": 6, "oov_method": "farmhash"},
    {"num_oov_indices": 9, "oov_method": "farmhash", "salt": [3, 4], "mask_token": -3},
    {"num_oov_indices": 2, "oov_method": "farmhash", "output_mode": "count"},
):
    add(L.IntegerLookup(vocabulary=[7, 11, -2], **options), NUMBERS, "int64")
for options in ({}, {"mask_token": "", "num_oov_indices": 2}, {"oov_token": "?"}):
    add(L.StringLookup(vocabulary=WORDS, invert=True, **options), PLACES, "int64")
add(L.IntegerLookup(vocabulary=[7, 11, -2], invert=True, mask_token=5), PLACES, "int64")

for options in (
    {"num_bins": 1},
    {"num_bins": 1000},
    {"num_bins": 1000, "salt": 133, "dtype": "int32"},
    {"num_bins": 50, "salt": [-7, 2**40]},
    {"num_bins": 1, "mask_value": "red"},
    {"num_bins": 7, "mask_value": "red"},
    {"num_bins": 5, "output_mode": "one_hot", "salt": 1},
    {"num_bins": 5, "output_mode": "multi_hot", "mask_value": "zzz"},
    {"num_bins": 6, "output_mode": "count"},
):
    add(L.Hashing(**options), TEXTS, "U")
FRACTIONS = [[-1.5, 2.75, 3.0], [1e9, 0.25, -0.5]]
for options in (
    {"num_bins": 1000},
    {"num_bins": 12, "salt": [3, 4], "mask_value": -3},
    {"num_bins": 4, "output_mode": "count", "mask_value": 7},
    {"num_bins": 4, "output_mode": "one_hot"},
):
    add(L.Hashing(**options), NUMBERS, "int64")
    add(L.Hashing(**options), [[7], [-3], [0]], "int64")
    add(L.Hashing(**options), FRACTIONS, "float32")

with open(os.path.join(HERE, "cases.json"), "w") as file:
    json.dump({"cases": cases}, file, indent=1)
    file.write("\n")
