"""Models that Keras 3.15.1 compiled: what losses, weights and metrics go by.

Each NAME.keras has one evaluation in evaluations.safetensors: NAME.x, NAME.y.0, ... in the order of
the outputs, NAME.log.LOG. Needs keras 3.15.1, jax, safetensors:
    KERAS_BACKEND=jax python generate.py
"""

import os

os.environ.update(KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
import numpy as np
import keras
from keras import layers as L
from safetensors.numpy import save_file

R = np.random.default_rng(5)
X = R.standard_normal((6, 4)).astype("float32")
tensors = {}


def outputs(first, second):
    i = keras.Input((4,), name="x")
    return i, L.Dense(2, name=first)(i), L.Dense(2, name=second)(i)


def save(name, model, y, **compiled):
    """`y`: by key for a dict of outputs, else a list."""
    model.compile(keras.optimizers.SGD(0.1), **compiled)
    for w in model.weights:
        w.assign(R.standard_normal(w.shape))
    model.train_on_batch(X, y)  # Keras writes the optimizer of a model that was trained
    model.save(name + ".keras")
    logs = model.evaluate(X, y, batch_size=4, return_dict=True, verbose=0)
    flat = [y[k] for k in sorted(y)] if isinstance(y, dict) else y
    tensors[name + ".x"] = X
    for n, one in enumerate(flat):
        tensors[f"{name}.y.{n}"] = np.asarray(one)
    for log, value in logs.items():
        tensors[f"{name}.log.{log}"] = np.float32(value).reshape(1)
    print(name, logs)


def target():
    return R.standard_normal((6, 2)).astype("float32")


# Keys that are no names of layers; a loss for one of the outputs alone.
i, a, b = outputs("one", "two")
save("keys", keras.Model(i, {"reg": a, "cls": b}), {"reg": target(), "cls": target()},
     loss={"reg": "mse", "cls": "mae"}, loss_weights={"reg": 0.5, "cls": 2.0},
     metrics={"cls": ["mae", "mse"]})
i, a, b = outputs("one", "two")
save("part", keras.Model(i, {"reg": a, "cls": b}), {"reg": target(), "cls": target()},
     loss={"reg": "mse"}, loss_weights={"reg": 3.0}, weighted_metrics={"cls": "mae"})
# Keys that are the other layer's name; lists of losses and of metrics, whose orders differ.
i, a, b = outputs("one", "two")
save("swapped", keras.Model(i, {"two": a, "one": b}), {"two": target(), "one": target()},
     loss={"two": "mse", "one": "mae"}, loss_weights={"one": 0.25, "two": 2.0},
     metrics={"two": ["mse"]})
i, a, b = outputs("one", "two")
save("lists", keras.Model(i, {"two": a, "one": b}), {"two": target(), "one": target()},
     loss=["mse", "mae"], loss_weights=[0.25, 2.0], metrics=[["mae"], ["mse"]])
# One key.
i, a, b = outputs("one", "two")
save("single", keras.Model(i, {"only": a}), {"only": target()},
     loss={"only": "mse"}, loss_weights={"only": 0.5}, metrics={"only": ["mae"]})
# Lists of outputs, by the names of their layers: also of one model inside that makes both.
i, a, b = outputs("one", "two")
save("named", keras.Model(i, [b, a]), [target(), target()],
     loss={"one": "mse", "two": "mae"}, loss_weights={"one": 0.5, "two": 2.0},
     metrics={"one": ["mae"]})
i, a, b = outputs("one", "two")
inner = keras.Model(i, [a, b], name="inner")
j = keras.Input((4,), name="x")
save("inside", keras.Model(j, inner(j)), [target(), target()], loss=["mse", "mae"],
     metrics=[["mae"], ["mse"]])
# One loss and one weight for all.
i, a, b = outputs("one", "two")
save("all", keras.Model(i, {"p": a, "q": b}), {"p": target(), "q": target()}, loss="mse",
     loss_weights=0.5)
# A dict of inputs and a model inside that is called with a dict.
u, v = keras.Input((4,), name="v"), keras.Input((4,), name="u")
inside = keras.Model({"u": u, "v": v}, L.Dense(2, name="d")(u - 2 * v), name="inside")
i = keras.Input((4,), name="x")
save("inputs", keras.Model(i, inside({"v": i, "u": L.Dense(4, name="e")(i)})), [target()],
     loss="mse")

save_file(tensors, "evaluations.safetensors")
