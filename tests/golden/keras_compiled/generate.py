"""Models that Keras 3.15.1 compiled: what losses, weights and metrics go by; and others whose
numbers stand in others.safetensors.

Each NAME.keras has one evaluation in evaluations.safetensors: NAME.x, NAME.y.0, ... in the order of
the outputs, NAME.log.LOG. Needs keras 3.15.1, jax, safetensors:
    KERAS_BACKEND=jax python generate.py
    python ../pack_keras.py *.keras
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

# ---- What this library does not have, or reads in another way ------------------------------------

others = {}
# An optimizer inside a LossScaleOptimizer: what Keras makes of mixed_float16.
Y = target()
keras.config.set_dtype_policy("mixed_float16")
i = keras.Input((4,), name="x")
m = keras.Model(i, L.Dense(2, dtype="float32")(L.Dense(3)(i)))
keras.config.set_dtype_policy("float32")
m.compile("adam", "mse")
for _ in range(3):
    m.train_on_batch(X, Y)
m.save("loss_scale.keras")
m.save("loss_scale.h5")
m.save_weights("loss_scale.weights.h5")
inner = m.optimizer.inner_optimizer
others |= {"x": X, "y": Y}
others |= {f"loss_scale.{n}": np.asarray(v) for n, v in enumerate(inner.variables)}


# An optimizer and a loss that this library does not have.
def own(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred))


i = keras.Input((4,), name="x")
m = keras.Model(i, L.Dense(2)(i))
m.compile("rmsprop", own, metrics=["AUC"])
m.train_on_batch(X, keras.ops.sigmoid(Y))
m.save("own.keras")
others["own.y"] = np.asarray(m(X))

# Operations in the legacy format, which stores them under the names of layers.
i = keras.Input((3,), dtype="int32", name="ids")
e = L.Embedding(5, 4, mask_zero=True)(i)
h = keras.ops.softmax(e * 2.0 + L.Dense(4)(e))
m = keras.Model(i, L.GlobalAveragePooling1D()(keras.ops.concatenate([h, e[:, :2]], axis=1)))
m.save("operations.h5")
T = np.array([[1, 2, 0], [3, 0, 0]], "int32")
others |= {"operations.ids": T, "operations.y": np.asarray(m(T))}

# Dropout by rows.
i = keras.Input((5, 3), name="x")
m = keras.Model(i, L.Dropout(0.4, noise_shape=(None, 1, 3), seed=11)(i))
m.save("noise_shape.keras")
Z = R.standard_normal((4, 5, 3)).astype("float32")
others |= {"noise_shape.x": Z, "noise_shape.y": np.asarray(m(Z, training=True))}

# Masks that MultiHeadAttention takes off: two blocks, a model inside, an encoder read twice, and a
# tensor that Dropout hands on.
def attention(n):
    return L.MultiHeadAttention(1, 2, name=n)


i = keras.Input((4,), dtype="int32", name="ids")
x = L.Embedding(5, 4, mask_zero=True)(i)
for n in range(2):
    x = L.LayerNormalization()(L.Add()([x, attention(f"block{n}")(x, x)]))
u = keras.Input((4, 4), name="u")
inside = keras.Model(u, attention("in")(u, u), name="inside")
e = L.Embedding(5, 4, mask_zero=True)(i)
d = L.Dropout(0.0)(e)
a = attention("alias")(d, d)
s = L.Add(name="sum")([e, a[:, :]])  # the slice has no mask
f = L.Embedding(5, 4, mask_zero=True)(i)
g = inside(f)
h = L.Add(name="late")([f, g])
m = keras.Model(i, [L.GlobalAveragePooling1D()(x), L.GlobalAveragePooling1D()(s),
                    L.GlobalAveragePooling1D()(h)])
for w in m.weights:
    w.assign(R.standard_normal(w.shape))
m.compile(keras.optimizers.SGD(0.05), "mse")
T = np.array([[1, 2, 0, 0], [3, 4, 2, 1], [2, 0, 0, 0]], "int32")
Y = [R.standard_normal((3, 4)).astype("float32") for _ in range(3)]
m.save("masks.keras")
others |= {"masks.ids": T} | {f"masks.target.{n}": y for n, y in enumerate(Y)}
others |= {f"masks.y.{n}": np.asarray(y) for n, y in enumerate(m(T))}
others["masks.losses"] = np.array([m.train_on_batch(T, Y)[0] for _ in range(3)], "float32")
print(others["masks.losses"])

# Masks that Keras itself writes into a file, as operations.
i = keras.Input((4,), dtype="int32", name="ids")
e = L.Embedding(5, 4, mask_zero=True)(i)
joined = L.Concatenate(axis=1)([e, L.Dense(4)(e[:, :2])])
m = keras.Model(i, [L.GlobalAveragePooling1D()(L.Attention()([e, e])),
                    L.GlobalAveragePooling1D()(joined)])
for w in m.weights:
    w.assign(R.standard_normal(w.shape))
m.save("written_masks.keras")
others |= {f"written_masks.y.{n}": np.asarray(y) for n, y in enumerate(m(T))}

save_file(others, "others.safetensors")
