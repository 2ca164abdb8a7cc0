#!/usr/bin/env python3
"""Numbers of Keras's losses, metrics, optimizers and fit, in float64.

    pip install "keras==3.15.1" jax safetensors numpy
    python generate.py

Writes cases.json and tensors.safetensors beside this file. Everything is drawn from one seed. Names of
tensors start with the name of their case. Keras runs on JAX with 64 bits and floatx float64, so the numbers
are good to about 1e-12.
"""
import json
import os
import sys

os.environ["KERAS_BACKEND"] = "jax"
import jax

jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import keras
import numpy as np
from safetensors.numpy import save_file

keras.config.set_floatx("float64")

# On JAX Keras takes float64 for float32 inside means and such; here it may stay what it is.
keras.src.backend.common.dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(20261121)
cases, tensors = [], {}


def put(case, name, value):
    value = np.array(value, order="C", copy=True)
    tensors[case["name"] + "." + name] = value
    return value


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# ---- Losses ------------------------------------------------------------------------------------
def masked(x, mask):
    x = jnp.asarray(x)
    if mask is not None:
        keras.src.backend.set_keras_mask(x, jnp.asarray(mask))
    return x


def loss_case(name, loss, target, prediction, sample_weight=None, mask=None):
    case = {"name": "loss_" + name, "kind": "loss", "class_name": type(loss).__name__,
            "config": {**loss.get_config()}}
    if isinstance(loss, keras.losses.Huber):
        case["config"]["delta"] = float(loss._fn_kwargs["delta"])
    put(case, "target", target)
    put(case, "prediction", np.asarray(prediction, np.float64))
    if sample_weight is not None:
        put(case, "sample_weight", sample_weight)
    if mask is not None:
        put(case, "mask", mask)

    def f(p):
        # A mask is an attribute of the array, so it is attached inside what is differentiated.
        keras_p = p + 0.0
        if mask is not None:
            keras.src.backend.set_keras_mask(keras_p, jnp.asarray(mask))
        return loss(jnp.asarray(target), keras_p, sample_weight)

    p = jnp.asarray(prediction, jnp.float64)
    put(case, "expect.value", f(p))
    put(case, "expect.gradient", jax.grad(lambda q: jnp.sum(f(q)))(p))
    cases.append(case)


def losses():
    L = keras.losses
    weight_shapes = {"none": None, "full": (4, 5), "rows": (4, 1)}
    for reduction in ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none"):
        for weighted in (False, True):
            for with_mask in (False, True):
                tag = "%s%s%s" % (reduction, "_weighted" if weighted else "", "_masked" if with_mask else "")
                w = rng.uniform(0, 2, (4, 5)) if weighted else None
                m = rng.random((4, 5)) < 0.6 if with_mask else None
                loss_case("mse_" + tag, L.MeanSquaredError(reduction=reduction), rng.normal(size=(4, 5, 3)),
                          rng.normal(size=(4, 5, 3)), w, m)
                loss_case("sparse_" + tag, L.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction),
                          rng.integers(0, 6, (4, 5)).astype(np.int32), rng.normal(size=(4, 5, 6)), w, m)
    loss_case("weights_repeat", L.MeanSquaredError(), rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 5, 3)),
              rng.uniform(0, 2, (4, 1)))
    loss_case("weights_repeat_mean_with", L.MeanSquaredError(reduction="mean_with_sample_weight"),
              rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 5, 3)), rng.uniform(0, 2, (4, 1)))
    loss_case("weights_repeat_mean_with_masked", L.MeanSquaredError(reduction="mean_with_sample_weight"),
              rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 5, 3)), rng.uniform(0, 2, (4, 1)),
              rng.random((4, 5)) < 0.5)
    loss_case("weights_per_sample", L.MeanAbsoluteError(), rng.normal(size=(6, 2)), rng.normal(size=(6, 2)),
              rng.uniform(0, 2, (6,)))
    loss_case("weights_column", L.MeanAbsoluteError(), rng.normal(size=(6, 2)), rng.normal(size=(6, 2)),
              rng.uniform(0, 2, (6, 1)))
    loss_case("all_masked", L.MeanSquaredError(), rng.normal(size=(2, 3, 2)), rng.normal(size=(2, 3, 2)), None,
              np.zeros((2, 3), bool))
    loss_case("zero_weights", L.MeanSquaredError(reduction="mean_with_sample_weight"), rng.normal(size=(3, 2)),
              rng.normal(size=(3, 2)), np.zeros(3))
    loss_case("mae", L.MeanAbsoluteError(), rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 5, 3)))
    loss_case("mse_rank1", L.MeanSquaredError(), rng.normal(size=(7,)), rng.normal(size=(7,)))
    loss_case("mse_target_without_axis", L.MeanSquaredError(), rng.normal(size=(7,)), rng.normal(size=(7, 1)))
    loss_case("mse_prediction_without_axis", L.MeanSquaredError(), rng.normal(size=(7, 1)), rng.normal(size=(7,)))
    loss_case("mse_integer_targets", L.MeanSquaredError(), rng.integers(0, 3, (4, 2)).astype(np.int32),
              rng.normal(size=(4, 2)))
    for delta in (1.0, 0.3):
        loss_case("huber_%s" % delta, L.Huber(delta=delta), rng.normal(size=(4, 5)), rng.normal(size=(4, 5)))
    for logits in (True, False):
        tag = "_logits" if logits else ""
        for smoothing in (0.0, 0.2):
            t = "%s_%s" % (tag, smoothing)
            x = rng.normal(size=(4, 3, 5)) * 3
            loss_case("binary" + t, L.BinaryCrossentropy(from_logits=logits, label_smoothing=smoothing),
                      rng.integers(0, 2, (4, 3, 5)).astype(np.float64), x if logits else 1 / (1 + np.exp(-x)))
            loss_case("categorical" + t, L.CategoricalCrossentropy(from_logits=logits, label_smoothing=smoothing),
                      np.eye(5)[rng.integers(0, 5, (4, 3))], x if logits else softmax(x))
        x = rng.normal(size=(4, 3, 5)) * 3
        labels = rng.integers(0, 5, (4, 3)).astype(np.int32)
        loss_case("sparse_labels" + tag, L.SparseCategoricalCrossentropy(from_logits=logits), labels,
                  x if logits else softmax(x))
        loss_case("sparse_column" + tag, L.SparseCategoricalCrossentropy(from_logits=logits), labels[..., None],
                  x if logits else softmax(x))
        loss_case("sparse_float_labels" + tag, L.SparseCategoricalCrossentropy(from_logits=logits),
                  labels.astype(np.float32), x if logits else softmax(x))
        ignored = labels.copy()
        ignored[rng.random((4, 3)) < 0.4] = -1
        ignored[0, 0] = -1
        for reduction in ("sum_over_batch_size", "sum", "mean_with_sample_weight"):
            loss_case("sparse_ignored_%s%s" % (reduction, tag),
                      L.SparseCategoricalCrossentropy(from_logits=logits, ignore_class=-1, reduction=reduction),
                      ignored, x if logits else softmax(x))
        loss_case("sparse_ignored_masked_weighted" + tag,
                  L.SparseCategoricalCrossentropy(from_logits=logits, ignore_class=-1), ignored,
                  x if logits else softmax(x), rng.uniform(0, 2, (4, 3)), rng.random((4, 3)) < 0.7)
    # Probabilities that do not sum to 1 and such at the clipping borders.
    p = rng.uniform(0.1, 3, (3, 4))
    loss_case("categorical_unnormalised", L.CategoricalCrossentropy(), softmax(rng.normal(size=(3, 4))), p)
    loss_case("sparse_unnormalised", L.SparseCategoricalCrossentropy(), np.array([0, 3, 1], np.int32), p)
    edge = np.array([[1.0, 0.0, 0.0], [0.0, 1e-9, 1 - 1e-9], [0.2, 0.3, 0.5]])
    loss_case("sparse_edge", L.SparseCategoricalCrossentropy(), np.array([0, 1, 2], np.int32), edge)
    loss_case("categorical_edge", L.CategoricalCrossentropy(), np.eye(3), edge)
    loss_case("binary_edge", L.BinaryCrossentropy(), np.eye(3), edge)
    loss_case("binary_logits_far", L.BinaryCrossentropy(from_logits=True), np.array([[1.0, 0.0, 1.0, 0.0]]),
              np.array([[800.0, 800.0, -800.0, -800.0]]))


# ---- Metrics -----------------------------------------------------------------------------------
class Perplexity(keras.metrics.Metric):
    """keras_hub.metrics.Perplexity in two sums: it lives outside Keras."""

    def __init__(self, from_logits=False, mask_token_id=None, name="perplexity"):
        super().__init__(name=name)
        self.cross = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits, reduction="none")
        self.from_logits, self.mask_token_id, self.sums = from_logits, mask_token_id, [0.0, 0.0]

    def update_state(self, y, p, sample_weight=None):
        w = np.ones(np.shape(y)) if sample_weight is None else np.array(sample_weight)
        if self.mask_token_id is not None:
            w = w * (np.asarray(y) != self.mask_token_id)
        self.sums[0] += float(np.sum(np.asarray(self.cross(y, p)) * w))
        self.sums[1] += float(np.sum(w))

    def result(self):
        return np.exp(self.sums[0] / self.sums[1])

    def get_config(self):
        return {"name": self.name, "dtype": "float64", "from_logits": self.from_logits,
                "mask_token_id": self.mask_token_id}


def metric_case(name, metric, batches):
    case = {"name": "metric_" + name, "kind": "metric", "class_name": type(metric).__name__,
            "config": keras.saving.serialize_keras_object(metric)["config"], "batches": len(batches)}
    for i, (target, prediction, weight, mask) in enumerate(batches):
        put(case, "%d.target" % i, target)
        put(case, "%d.prediction" % i, prediction)
        if weight is not None:
            put(case, "%d.sample_weight" % i, weight)
        if mask is not None:
            put(case, "%d.mask" % i, mask)
        metric.update_state(jnp.asarray(target), masked(prediction, mask), weight)
        put(case, "%d.expect" % i, np.float64(metric.result()))
    cases.append(case)


def metrics():
    M = keras.metrics

    def batches(make, weights=None, mask=None):
        out = []
        for n in (5, 3, 4):
            t, p = make(n)
            w = None if weights is None else rng.uniform(0, 2, (n,) + weights)
            m = None if mask is None else rng.random((n,) + mask) < 0.6
            out.append((t, p, w, m))
        return out

    def labels(n):
        return rng.integers(0, 3, (n, 4)).astype(np.int32), rng.normal(size=(n, 4, 3))

    def one_label(n):
        return rng.integers(0, 3, (n, 1)).astype(np.int32), rng.normal(size=(n, 3))

    def one_hot(n):
        return np.eye(3)[rng.integers(0, 3, (n, 4))], rng.normal(size=(n, 4, 3))

    def binary(n):
        return rng.integers(0, 2, (n, 4)).astype(np.float64), rng.random((n, 4))

    def equal(n):
        return rng.integers(0, 2, (n, 4)).astype(np.float64), rng.integers(0, 2, (n, 4)).astype(np.float64)

    def probabilities(n):
        return rng.integers(0, 3, (n, 4)).astype(np.int32), softmax(rng.normal(size=(n, 4, 3)))

    for name, weights, mask in (("", None, None), ("_per_sample", (), None), ("_full", (4,), None),
                                ("_column", (1,), None), ("_masked", None, (4,)), ("_full_masked", (4,), (4,))):
        metric_case("sparse_accuracy" + name, M.SparseCategoricalAccuracy(), batches(labels, weights, mask))
        metric_case("categorical_accuracy" + name, M.CategoricalAccuracy(), batches(one_hot, weights, mask))
        metric_case("binary_accuracy" + name, M.BinaryAccuracy(threshold=0.4), batches(binary, weights, None))
        metric_case("accuracy" + name, M.Accuracy(), batches(equal, weights, None))
    metric_case("sparse_accuracy_one", M.SparseCategoricalAccuracy(), batches(one_label, ()))
    metric_case("mse", M.MeanSquaredError(), batches(lambda n: (rng.normal(size=(n, 4, 2)), rng.normal(size=(n, 4, 2)))))
    metric_case("mae_full", M.MeanAbsoluteError(),
                batches(lambda n: (rng.normal(size=(n, 4, 2)), rng.normal(size=(n, 4, 2))), (4,)))
    metric_case("sparse_crossentropy", M.SparseCategoricalCrossentropy(from_logits=True), batches(labels, (4,)))
    metric_case("binary_crossentropy", M.BinaryCrossentropy(label_smoothing=0.1), batches(binary, ()))
    metric_case("categorical_crossentropy", M.CategoricalCrossentropy(from_logits=True), batches(one_hot))
    metric_case("perplexity", Perplexity(), batches(probabilities))
    metric_case("perplexity_logits_weighted", Perplexity(from_logits=True), batches(labels, (4,)))
    metric_case("perplexity_padding", Perplexity(from_logits=True, mask_token_id=0), batches(labels, (4,)))


# ---- Optimizers --------------------------------------------------------------------------------
def optimizer_case(name, optimizer, steps=6, constraint=None, excluded=None, dtype="float64"):
    case = {"name": "optimizer_" + name, "kind": "optimizer", "steps": steps,
            "optimizer": keras.optimizers.serialize(optimizer), "constraint": bool(constraint),
            "excluded": excluded}
    shapes = {"a/kernel": (3, 4), "a/bias": (4,), "b/kernel": (2, 1)}
    variables = []
    for path, shape in shapes.items():
        v = keras.Variable(rng.normal(size=shape), dtype=dtype, name=path.split("/")[-1])
        v._path = path
        if constraint and path == "a/kernel":
            v.constraint = constraint
        variables.append(v)
        put(case, "initial." + path, v.numpy())
    if excluded:
        optimizer.exclude_from_weight_decay(var_names=excluded)
    optimizer.build(variables)
    case["variables"] = [[v.path, list(v.shape)] for v in optimizer.variables]
    for step in range(steps):
        grads = []
        for v, path in zip(variables, shapes):
            scale = 10 if step == 2 else 1
            g = rng.normal(size=v.shape) * scale
            grads.append(jnp.asarray(g))
            put(case, "%d.gradient.%s" % (step, path), g)
        optimizer.apply(grads)
        for v, path in zip(variables, shapes):
            put(case, "%d.expect.%s" % (step, path), v.numpy())
    for i, v in enumerate(optimizer.variables):
        put(case, "state.%d" % i, np.asarray(v.numpy(), np.float64))
    optimizer.finalize_variable_values(variables)
    for v, path in zip(variables, shapes):
        put(case, "final." + path, v.numpy())
    cases.append(case)


def optimizers():
    O, S = keras.optimizers, keras.optimizers.schedules
    for name, make, options in (("sgd", O.SGD, {}), ("sgd_momentum", O.SGD, {"momentum": 0.9}),
                                ("sgd_nesterov", O.SGD, {"momentum": 0.8, "nesterov": True}),
                                ("adam", O.Adam, {}), ("amsgrad", O.Adam, {"amsgrad": True, "beta_2": 0.9}),
                                ("adamw", O.AdamW, {})):
        def case(tag, **more):
            optimizer_case(name + tag, make(**{"learning_rate": 0.05, **options, **more}))
        case("")
        case("_decay", weight_decay=0.1)
        case("_clipnorm", clipnorm=1.0)
        case("_global_clipnorm", global_clipnorm=2.0)
        case("_clipvalue", clipvalue=0.4)
        case("_ema", use_ema=True, ema_momentum=0.8)
        case("_ema_overwrite", use_ema=True, ema_momentum=0.7, ema_overwrite_frequency=2)
        case("_accumulation", gradient_accumulation_steps=2)
        case("_loss_scale", loss_scale_factor=4.0)
        case("_accumulation_ema_clip", gradient_accumulation_steps=3, use_ema=True, ema_momentum=0.6,
             ema_overwrite_frequency=2, global_clipnorm=1.5, weight_decay=0.05, loss_scale_factor=2.0)
        case("_exponential", learning_rate=S.ExponentialDecay(0.1, 2, 0.5))
        case("_staircase", learning_rate=S.ExponentialDecay(0.1, 2, 0.5, staircase=True))
        case("_cosine", learning_rate=S.CosineDecay(0.1, 4, alpha=0.1))
        case("_warmup", learning_rate=S.CosineDecay(0.01, 3, warmup_target=0.1, warmup_steps=2))
        optimizer_case(name + "_constrained", make(learning_rate=0.05, **options),
                       constraint=keras.constraints.MaxNorm(1.0))
    optimizer_case("adamw_excluded", O.AdamW(0.05, weight_decay=0.3), excluded=["bias"])
    optimizer_case("adam_epsilon_betas", O.Adam(0.02, beta_1=0.5, beta_2=0.7, epsilon=1e-3))


# ---- Fit ---------------------------------------------------------------------------------------
def fit_case(name, model, compile_args, x, y, fit_args, note=None, early_stopping=None, swap=None):
    case = {"name": "fit_" + name, "kind": "fit", "model": name.split("__")[0], "note": note,
            "optimizer": keras.optimizers.serialize(compile_args["optimizer"]),
            "fit": {k: v for k, v in fit_args.items() if isinstance(v, (int, float))},
            "early_stopping": early_stopping}
    for v in model.variables:
        put(case, "initial." + v.path, v.numpy())
    for tag, part in (("x", x), ("y", y), ("sample_weight", fit_args.get("sample_weight"))):
        for i, t in enumerate(part if isinstance(part, list) else [part]):
            if t is not None:
                put(case, "%s.%d" % (tag, i), t)
    if "validation_data" in fit_args:
        put(case, "validation.x", fit_args["validation_data"][0])
        put(case, "validation.y", fit_args["validation_data"][1])
    if "class_weight" in fit_args:
        case["class_weight"] = {str(k): v for k, v in fit_args["class_weight"].items()}
    model.compile(**compile_args)
    args = dict(fit_args)
    if early_stopping:
        args["callbacks"] = [keras.callbacks.EarlyStopping(**early_stopping)]
    if swap:
        case["swap"] = swap
        args["callbacks"] = [keras.callbacks.SwapEMAWeights(**swap)]
    history = model.fit(x, y, shuffle=False, verbose=0, **args)
    case["history"] = {k: [float(e) for e in v] for k, v in history.history.items()}
    case["evaluate"] = {k: float(v) for k, v in model.evaluate(x, y, verbose=0, return_dict=True,
                                                               batch_size=5).items()}
    for v in model.variables:
        put(case, "final." + v.path, v.numpy())
    cases.append(case)


def dense_model(outputs, activation=None, regularizer=None):
    keras.backend.clear_session()
    x = keras.Input((3,), name="x")
    h = keras.layers.Dense(4, activation="tanh", name="hidden", kernel_regularizer=regularizer,
                           activity_regularizer=None)(x)
    y = keras.layers.Dense(outputs, activation=activation, name="out")(h)
    return keras.Model(x, y)


def token_model():
    keras.backend.clear_session()
    t = keras.Input((5,), dtype="int32", name="tokens")
    e = keras.layers.Embedding(7, 4, mask_zero=True, name="embed")(t)
    y = keras.layers.Dense(3, name="out")(e)
    return keras.Model(t, y)


def two_model():
    keras.backend.clear_session()
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    h = keras.layers.Dense(4, name="hidden", activation="tanh", kernel_regularizer=keras.regularizers.L2(0.0625))(a)
    g = keras.layers.Dense(4, name="gate", bias_regularizer=keras.regularizers.L1(0.125))(b)
    s = keras.layers.Add(name="sum")([h, g])
    return keras.Model([a, b], [keras.layers.Dense(2, name="first")(s), keras.layers.Dense(3, name="second")(h)])


def fits():
    O, L, M = keras.optimizers, keras.losses, keras.metrics
    n = 13
    x = rng.normal(size=(n, 3))
    y = rng.normal(size=(n, 2))
    labels = rng.integers(0, 3, (n,)).astype(np.int32)
    w = rng.uniform(0, 2, (n,))
    sgd = lambda: O.SGD(0.2, momentum=0.5)  # noqa: E731
    fit_case("regression", dense_model(2), dict(optimizer=sgd(), loss="mse", metrics=["mae"]), x, y,
             dict(batch_size=4, epochs=3))
    fit_case("regression__regularized", dense_model(2, regularizer=keras.regularizers.L2(0.125)),
             dict(optimizer=O.Adam(0.05), loss="mae", metrics=["mse"]), x, y, dict(batch_size=4, epochs=3))
    fit_case("regression__weighted", dense_model(2),
             dict(optimizer=sgd(), loss="mse", metrics=["mae"], weighted_metrics=["mae", "mse"]), x, y,
             dict(batch_size=4, epochs=3, sample_weight=w))
    fit_case("regression__split", dense_model(2), dict(optimizer=sgd(), loss="mse", metrics=["mae"]), x, y,
             dict(batch_size=3, epochs=2, validation_split=0.3))
    fit_case("regression__weighted_split", dense_model(2),
             dict(optimizer=sgd(), loss="mse", weighted_metrics=["mae"]), x, y,
             dict(batch_size=3, epochs=2, validation_split=0.3, sample_weight=w))
    fit_case("regression__steps", dense_model(2), dict(optimizer=sgd(), loss="mse"), x, y,
             dict(batch_size=3, epochs=4, steps_per_epoch=2), note="two batches an epoch; the passes run on")
    fit_case("regression__accumulate_ema", dense_model(2),
             dict(optimizer=O.AdamW(0.05, gradient_accumulation_steps=2, use_ema=True, ema_momentum=0.5,
                                    loss_scale_factor=8.0), loss="mse"), x, y, dict(batch_size=4, epochs=3))
    fit_case("classes", dense_model(3, "softmax"),
             dict(optimizer=sgd(), loss="sparse_categorical_crossentropy", metrics=["accuracy"],
                  weighted_metrics=["accuracy"]), x, labels,
             dict(batch_size=4, epochs=3, class_weight={0: 0.5, 2: 3.0}))
    fit_case("classes__one_hot", dense_model(3, "softmax"),
             dict(optimizer=sgd(), loss="categorical_crossentropy", metrics=["acc"]), x, np.eye(3)[labels],
             dict(batch_size=4, epochs=2, class_weight={1: 2.0}))
    fit_case("classes__stopping", dense_model(3, "softmax"),
             dict(optimizer=O.SGD(2.0, momentum=0.9), loss="sparse_categorical_crossentropy", metrics=["accuracy"]),
             x, labels, dict(batch_size=4, epochs=12, validation_data=(x[::2] + 0.5, labels[::2])),
             early_stopping=dict(monitor="val_loss", patience=2, min_delta=0.01, restore_best_weights=True))
    fit_case("classes__stopping_accuracy", dense_model(3, "softmax"),
             dict(optimizer=sgd(), loss="sparse_categorical_crossentropy", metrics=["accuracy"]),
             x, labels, dict(batch_size=4, epochs=12, validation_split=0.4),
             early_stopping=dict(monitor="val_accuracy", patience=2, baseline=0.5, start_from_epoch=1))
    tokens = rng.integers(0, 7, (n, 5)).astype(np.int32)
    token_labels = rng.integers(0, 3, (n, 5)).astype(np.int32)
    fit_case("tokens", token_model(),
             dict(optimizer=O.Adam(0.1), loss=L.SparseCategoricalCrossentropy(from_logits=True),
                  metrics=["accuracy"]), tokens, token_labels, dict(batch_size=4, epochs=3))
    fit_case("tokens__weighted", token_model(),
             dict(optimizer=O.Adam(0.1), loss=L.SparseCategoricalCrossentropy(from_logits=True),
                  weighted_metrics=["accuracy"]), tokens, token_labels,
             dict(batch_size=4, epochs=3, sample_weight=rng.uniform(0, 2, (n, 5))))
    xs = [rng.normal(size=(n, 3)), rng.normal(size=(n, 2))]
    ys = [rng.normal(size=(n, 2)), labels]
    fit_case("two", two_model(),
             dict(optimizer=O.Adam(0.05),
                  loss=["mse", L.SparseCategoricalCrossentropy(from_logits=True)], loss_weights=[0.7, 2.0],
                  metrics=[["mae"], ["accuracy"]]), xs, ys, dict(batch_size=4, epochs=3, validation_split=0.3))
    fit_case("two__weighted", two_model(),
             dict(optimizer=O.Adam(0.05),
                  loss=["mse", L.SparseCategoricalCrossentropy(from_logits=True)],
                  metrics=[["mae"], None], weighted_metrics=[["mae"], ["accuracy"]]), xs, ys,
             dict(batch_size=4, epochs=2, sample_weight=[w, rng.uniform(0, 2, (n,))]))


def schedules():
    S = keras.optimizers.schedules
    for name, s in (("exponential", S.ExponentialDecay(0.1, 7, 0.6)),
                    ("staircase", S.ExponentialDecay(0.1, 7, 0.6, staircase=True)),
                    ("cosine", S.CosineDecay(0.1, 9, alpha=0.05)),
                    ("warmup", S.CosineDecay(0.01, 9, alpha=0.05, warmup_target=0.2, warmup_steps=4)),
                    ("warmup_none", S.CosineDecay(0.01, 9, warmup_target=0.2))):
        case = {"name": "schedule_" + name, "kind": "schedule", "schedule": S.serialize(s)}
        put(case, "expect", np.array([float(s(np.int64(i))) for i in range(20)]))
        cases.append(case)


def write(folder):
    save_file(tensors, os.path.join(folder, "tensors.safetensors"))
    os.chmod(os.path.join(folder, "tensors.safetensors"), 0o644)
    with open(os.path.join(folder, "cases.json"), "w") as f:
        json.dump({"keras": keras.__version__, "jax": jax.__version__, "cases": cases}, f, indent=1)
    print(len(cases), "cases", file=sys.stderr)


if __name__ == "__main__":
    losses()
    metrics()
    optimizers()
    schedules()
    fits()
    write(HERE)
