#!/usr/bin/env python3
"""The examples of docs/keras-examples.md: their files, and what Keras makes of them.

    pip install "keras==3.15.1" jax safetensors numpy
    python generate.py        # writes beside itself
    python ../pack_keras.py *.keras

NAME.py            the example, as the page shows it: trains a model and saves it
NAME.keras         what it saves
NAME.safetensors   inputs.NAME, y and, where the example has some, sample_weight: its data;
                   expect.output: what the saved model predicts of them
NAME.logs.safetensors   LOG: what each epoch of a training of the saved model gives that goes on for
                   EPOCHS epochs, batches of 16 in the data's order; output: the predictions after
                   it
classes.json       the classes of blocks.py as functional models
"""
import json
import os
import runpy
import sys

os.environ["KERAS_BACKEND"] = "jax"
import keras
import numpy as np
from keras import layers as L
from keras import ops
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ("text_classification", "time_series", "image_patches", "bidirectional_lstm",
         "masked_language_model", "translation")
EPOCHS = 12


# ---- The classes as functional models ----------------------------------------------------------
# Numbers that stand for options, each found once; the width of inputs is that of all examples.
WIDTH, HEADS, HEAD_WIDTH, INNER, LENGTH = 8, 37, 41, 79, 71


def dense(x):
    layers = [keras.Input((None, WIDTH)), L.Dense(INNER, activation="relu"), L.Dense(WIDTH)]
    return keras.Sequential(layers, name="dense")(x)


def position_embedding():
    x = keras.Input((None, WIDTH), name="x")
    places = ops.cumsum(ops.ones_like(x[..., 0], dtype="int32"), axis=-1) - 1
    return keras.Model(x, x + L.Embedding(LENGTH, WIDTH, name="positions")(places))


def transformer_block():
    x = keras.Input((None, WIDTH), name="x")
    h = L.MultiHeadAttention(HEADS, HEAD_WIDTH, name="attention")(x, x)
    h = L.LayerNormalization(epsilon=1e-6, name="norm_1")(x + h)
    return keras.Model(x, L.LayerNormalization(epsilon=1e-6, name="norm_2")(h + dense(h)))


def transformer_decoder():
    x, encoded = keras.Input((None, WIDTH), name="x"), keras.Input((None, WIDTH), name="encoded")
    h = L.MultiHeadAttention(HEADS, HEAD_WIDTH, name="attention_1")(x, x, use_causal_mask=True)
    h = L.LayerNormalization(name="norm_1")(x + h)
    a = L.MultiHeadAttention(HEADS, HEAD_WIDTH, name="attention_2")(h, encoded)
    h = L.LayerNormalization(name="norm_2")(h + a)
    return keras.Model([x, encoded], L.LayerNormalization(name="norm_3")(h + dense(h)))


def definition(model, options, attributes):
    """With "$option" in the place of each of the numbers."""
    text = json.dumps(json.loads(model.to_json()))
    for number, option in options.items():
        for key in ("units", "key_dim", "value_dim", "input_dim", "num_heads"):
            text = text.replace('"%s": %s,' % (key, number), '"%s": "$%s",' % (key, option))
    return {"model": json.loads(text), "attributes": {name: name for name in attributes.split()}}


def classes():
    options = {HEADS: "num_heads", HEAD_WIDTH: "width", INNER: "inner_width"}
    return {
        "examples>PositionEmbedding": definition(position_embedding(), {LENGTH: "length"}, "positions"),
        "examples>TransformerBlock": definition(
            transformer_block(), options, "attention dense norm_1 norm_2"),
        "examples>TransformerDecoder": definition(
            transformer_decoder(), options, "attention_1 attention_2 dense norm_1 norm_2 norm_3"),
    }


# ---- The examples ------------------------------------------------------------------------------
def write(name, tensors):
    file = os.path.join(HERE, name + ".safetensors")
    save_file(tensors, file)
    os.chmod(file, 0o644)


def run(name):
    keras.backend.clear_session()
    keras.utils.set_random_seed(4)
    made = runpy.run_path(os.path.join(HERE, name + ".py"))
    inputs = made["x"] if isinstance(made["x"], list) else [made["x"]]
    more = {"sample_weight": made["sample_weight"]} if "sample_weight" in made else {}
    model = keras.models.load_model(name + ".keras")
    data = {"inputs." + given.name: x for given, x in zip(model.inputs, inputs)}
    output = model.predict(made["x"], verbose=0)
    write(name, data | {"y": made["y"], "expect.output": output} | more)
    history = model.fit(made["x"], made["y"], batch_size=16, epochs=EPOCHS, shuffle=False, verbose=0, **more).history
    for key, values in history.items():
        print(name, key, "%.4f to %.4f" % (values[0], values[-1]))
    logs = {key: np.array(values) for key, values in history.items()}
    write(name + ".logs", logs | {"output": model.predict(made["x"], verbose=0)})


os.chdir(HERE)
for name in NAMES:
    if name in (sys.argv[1:] or NAMES):
        run(name)
with open(os.path.join(HERE, "classes.json"), "w") as f:
    json.dump(classes(), f)
