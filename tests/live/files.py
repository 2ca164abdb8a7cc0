#!/usr/bin/env python3
"""Passes model files between grouphead and the installed Keras, in both directions.

    python files.py --program build/release/grouphead --files build/release/tests/live_files --out DIR SEED...

Keras trains, saves, and grouphead goes on from the file; then Keras goes on from grouphead's file.
Losses and weights must be those of Keras alone, to rounding: optimizer states travel too. Weights go
through every form to the bit. Exit: 0 when all agree, 1 when not.
"""
import argparse
import os
import subprocess
import sys
import tempfile

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# A model, and what is loaded of it, are compiled once, and quickly.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true")

import warnings  # noqa: E402

import jax  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import models  # noqa: E402

warnings.simplefilter("ignore")  # weights without an optimizer's
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_compilation_cache_dir", os.path.join(tempfile.gettempdir(), "grouphead-live-jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
STEPS = 4
RANDOM_STEPS = 20  # of layers at random
TOLERANCE = 1e-4  # of weights, in terms of the largest, after 3 * STEPS steps
L = keras.layers


def regression(r):
    """Nested and shared layers, gates, operations and numbers between layers; AdamW with averages."""
    width = int(r.integers(3, 9))
    x = keras.Input((5, width), name="x")
    shared = L.Dense(width, name="dense")  # its name is another layer's class
    h = L.Add(name="both")([shared(x), shared(x * 2.0)])
    h = h + L.GroupQueryAttention(4, 4, 2, use_gate=True, name="gqa")(h, h, use_causal_mask=True)
    h = keras.Sequential([keras.Input((5, width)), L.Dense(width, activation="gelu"), L.RMSNormalization()], name="block")(h)
    h = L.MultiHeadAttention(2, 3, use_bias=False, name="mha")(query=h, value=h, key=h)
    y = L.Dense(2, name="head")(L.LayerNormalization(name="norm")(h))
    model = keras.Model(x, y, name="regression")
    model.compile(optimizer=keras.optimizers.AdamW(2e-3, use_ema=True, ema_momentum=0.9), loss="mse", metrics=["mae"])
    return model, [r.normal(size=(6, 5, width)).astype("f4")], [r.normal(size=(6, 5, 2)).astype("f4")]


def tokens(r):
    """Masks from an embedding, one output of classes; Adam with a schedule."""
    x = keras.Input((6,), dtype="int32", name="tokens")
    h = L.Embedding(11, 8, mask_zero=True)(x)
    h = L.Add()([h, L.MultiHeadAttention(2, 4, dropout=0.0)(h, h)])
    h = L.GlobalAveragePooling1D()(L.LayerNormalization()(h))
    model = keras.Model(x, L.Dense(4)(h))
    model.compile(optimizer=keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(5e-3, 3, 0.7), amsgrad=True),
                  loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model, [r.integers(1, 11, (5, 6)).astype("i4")], [r.integers(0, 4, (5,)).astype("i4")]


def two_outputs(r):
    """Two inputs and outputs, weighted losses by name; SGD with momentum and clipping."""
    a, b = keras.Input((4, 6), name="a"), keras.Input((3, 5), name="b")
    h = L.GroupQueryAttention(3, 2, 1, name="cross")(a, L.Dense(6)(b))
    left = L.Dense(1, name="left", kernel_regularizer=keras.regularizers.L2(0.01))(h)
    right = L.Dense(2, name="right", activation="softmax")(L.GlobalMaxPooling1D()(h))
    model = keras.Model([a, b], [left, right])
    model.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True, global_clipnorm=0.5),
                  loss={"left": "mse", "right": "categorical_crossentropy"}, loss_weights={"left": 0.5, "right": 2.0})
    one_hot = np.eye(2, dtype="f4")[r.integers(0, 2, 7)]
    return (model, [r.normal(size=(7, 4, 6)).astype("f4"), r.normal(size=(7, 3, 5)).astype("f4")],
            [r.normal(size=(7, 4, 1)).astype("f4"), one_hot])


def chain(r):
    """A Sequential of gradients that accumulate; Adam."""
    model = keras.Sequential([keras.Input((7,)), L.Dense(12, activation="relu"), L.Dropout(0.0), L.Dense(3)])
    model.compile(optimizer=keras.optimizers.Adam(1e-2, gradient_accumulation_steps=2), loss=keras.losses.Huber(0.7))
    return model, [r.normal(size=(8, 7)).astype("f4")], [r.normal(size=(8, 3)).astype("f4")]


def half(r, policy):
    """16-bit variables or computation: weights and outputs only."""
    x = keras.Input((4, 6), name="x")
    h = L.GroupQueryAttention(4, 2, 1, dtype=policy)(x, x)
    model = keras.Model(x, L.Dense(3, dtype=policy)(L.LayerNormalization(dtype=policy)(h)))
    return model, [r.normal(size=(2, 4, 6)).astype("f4")], None


MODELS = {"regression": regression, "tokens": tokens, "two_outputs": two_outputs, "chain": chain,
          "bfloat16": lambda r: half(r, "bfloat16"), "float16": lambda r: half(r, "float16"),
          "mixed_bfloat16": lambda r: half(r, "mixed_bfloat16"), **models.MODELS}


def is_noise(path):
    """A bias of keys moves all scores of a row alike: its gradient is rounding alone."""
    return "key/bias" in path or "key_bias" in path


def variables_of(model):
    """Without the states of seed generators, which no file of Keras has."""
    return [v for v in model.variables if "seed_generator" not in v.path]


class Case:
    def __init__(self, args, seed, name):
        self.args, self.name = args, "%s, seed %d" % (name, seed)
        self.folder = os.path.join(args.out, "files-%d" % seed, name)
        os.makedirs(self.folder, exist_ok=True)
        keras.utils.set_random_seed(seed)
        keras.config.set_dtype_policy("float32")
        self.r = np.random.default_rng(seed)
        self.model, self.x, self.y = MODELS[name](self.r)
        self.failures = []
        self.steps = RANDOM_STEPS if name == "random" else STEPS

    def path(self, file):
        return os.path.join(self.folder, file)

    def expect(self, holds, what):
        if not holds:
            self.failures.append(what)

    def call(self, *command):
        done = subprocess.run(command, capture_output=True, text=True)
        self.expect(done.returncode == 0, "%s\n%s%s" % (" ".join(command), done.stdout, done.stderr))
        return done.stdout

    def train(self, model, eager=False):
        model.run_eagerly = eager
        one = lambda v: v if len(v) > 1 else v[0]
        return [float(np.ravel(model.train_on_batch(one(self.x), one(self.y)))[0]) for _ in range(self.steps)]

    def outputs(self, model):
        made = model(self.x if len(self.x) > 1 else self.x[0])
        return [np.asarray(o) for o in (made if isinstance(made, (list, tuple)) else [made])]

    def run_expecting(self, model, file):
        """`grouphead run --expect` with Keras's own outputs."""
        tensors = {"inputs." + i._keras_history.operation.name: v for i, v in zip(model.inputs, self.x)}
        for i, y in enumerate(self.outputs(model)):
            tensors["expect.output%s" % (".%d" % i if i else "")] = y
        save_file(tensors, self.path("run.safetensors"))
        self.call(self.args.program, "run", file, "--inputs", self.path("run.safetensors"), "--expect")

    def same_weights(self, a, b, what):
        for v, w in zip(variables_of(a), variables_of(b)):
            self.expect(np.array_equal(np.asarray(v), np.asarray(w)), "%s: %s differs" % (what, v.path))
        self.expect(len(a.variables) == len(b.variables), "%s: another number of weights" % what)

    def near_weights(self, a, b, what):
        for v, w in zip(variables_of(a), variables_of(b)):
            v, w, path = np.asarray(v), np.asarray(w), v.path
            if is_noise(path):
                continue
            error, scale = np.abs(v - w).max(initial=0), max(1e-3, np.abs(v).max(initial=0))
            self.expect(error <= TOLERANCE * scale, "%s: %s off by %g of %g" % (what, path, error, scale))

    def forms(self):
        """Weights through each form that Keras writes and reads."""
        m, files = self.model, self.args.files
        m.save(self.path("first.keras"))
        self.run_expecting(m, self.path("first.keras"))
        self.call(files, "convert", self.path("first.keras"), self.path("ours.keras"))
        self.same_weights(m, keras.saving.load_model(self.path("ours.keras"), compile=False), "ours.keras")
        m.save_weights(self.path("k.weights.h5"))
        m.save_weights(self.path("k.weights.json"), max_shard_size=2e-6)
        sources = ["k.weights.h5", "k.weights.json", "first.keras"]
        # Keras's own legacy files lose bfloat16, and it does not load those with operations.
        if "bfloat16" not in [v.dtype for v in m.variables]:
            # Saving takes what a model was compiled with away from it.
            keras.saving.load_model(self.path("first.keras"), compile=False).save(self.path("legacy.h5"))
            sources.append("legacy.h5")
        for i, source in enumerate(sources):
            for form in ["weights.h5", "weights.json"]:
                target = self.path("o%d.%s" % (i, form))
                self.call(files, "weights", self.path("ours.keras"), self.path(source), target)
                other = keras.models.clone_model(m)
                for v in other.variables:
                    v.assign(np.zeros(v.shape, np.asarray(v).dtype))
                other.load_weights(target)
                self.same_weights(m, other, "%s by %s" % (source, form))

    def training(self):
        """Keras, then grouphead, then Keras; beside it Keras alone."""
        self.train(self.model)
        self.model.save(self.path("a.keras"))
        tensors = {"x%d" % i: v for i, v in enumerate(self.x)}
        tensors.update({"y%d" % i: v for i, v in enumerate(self.y)})
        save_file(tensors, self.path("data.safetensors"))
        ours = [float(v) for v in self.call(self.args.files, "train", self.path("a.keras"), self.path("data.safetensors"),
                                            str(self.steps), self.path("b.keras")).split()]
        if self.failures:
            return
        self.compare_training(ours, eager=False)
        if self.failures:  # XLA compiles some gradients wrong, such as a bias's before x - mean(x)
            compiled, self.failures = self.failures, []
            self.compare_training(ours, eager=True)
            if not self.failures:
                print("  agrees where Keras is not compiled; compiled, %s" % compiled[0])

    def compare_training(self, ours, eager):
        alone = keras.saving.load_model(self.path("a.keras"))
        losses = self.train(alone, eager)
        self.expect(len(ours) == self.steps and np.allclose(ours, losses, rtol=1e-4, atol=1e-5), "losses: expected %s, got %s" % (losses, ours))
        back = keras.saving.load_model(self.path("b.keras"))
        self.expect(back.optimizer is not None and int(back.optimizer.iterations) == int(alone.optimizer.iterations),
                    "b.keras: another number of iterations")
        self.near_weights(alone, back, "b.keras")
        for v, w in zip(alone.optimizer.variables, back.optimizer.variables):
            v, w, path = np.asarray(v), np.asarray(w), v.path
            self.expect(is_noise(path) or np.allclose(v, w, rtol=1e-3, atol=1e-4 * max(1e-3, np.abs(v).max(initial=0))),
                        "b.keras: %s differs" % path)
        if getattr(self.model, "draws_numbers", False):
            return  # seed generators begin anew in a model that is loaded
        self.train(alone, eager)
        self.train(back, eager)
        self.near_weights(alone, back, "after Keras went on")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--program", required=True)
    ap.add_argument("--files", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--models", default="", help="only these, comma-separated; names that begin so")
    ap.add_argument("seeds", type=int, nargs="+")
    args = ap.parse_args()
    failed = 0
    wanted = tuple(n for n in args.models.split(",") if n) or ("",)
    for seed in args.seeds:
        for name in (n for n in MODELS if n.startswith(wanted)):
            try:
                case = Case(args, seed, name)
            except ValueError as refusal:
                print("refused by Keras: %s, seed %d: %s" % (name, seed, str(refusal).split("\n")[0]), flush=True)
                continue
            if not name.startswith("optimizer_"):
                case.forms()
            if case.y is not None:
                case.training()
            failed += bool(case.failures)
            print("%s files of %s" % ("FAILED" if case.failures else "ok    ", case.name), flush=True)
            for text in case.failures:
                print("  " + text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
