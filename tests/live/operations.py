#!/usr/bin/env python3
"""Compares grouphead with the installed Keras on random functional models of operations, both ways, and in training.

    python operations.py --program build/release/grouphead --files build/release/tests/live_files --out build/live SEED...
"""
import os
import subprocess
import sys

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402

jax.config.update("jax_default_matmul_precision", "highest")
import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers as L, ops  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

import cases  # noqa: E402
import more_operations  # noqa: E402

MODELS_PER_SEED = 5
STEPS = 4


class Drawn:
    """A model whose tensors are all [B, T, D] between the operations that are drawn."""

    def __init__(self, r):
        self.r = r
        self.t, self.d = int(r.integers(2, 7)), 2 * int(r.integers(1, 5))
        self.ids = keras.Input((self.t,), dtype="int32", name="ids")
        self.x = keras.Input((self.t, self.d), name="x")
        embedded = L.Embedding(9, self.d, mask_zero=bool(r.integers(2)))(self.ids)
        self.pool = [self.x, embedded, L.Dense(self.d)(self.x)]

    def some(self):
        return self.pool[int(self.r.integers(len(self.pool)))]

    def number(self):
        return round(float(self.r.normal()), 2) or 0.5

    def steps(self):
        r, t, d = self.r, self.t, self.d
        a, b = self.some(), self.some()
        n = int(r.integers(1, t))
        k = int(r.integers(1, d + 1))
        square = lambda s: ops.matmul(s, ops.transpose(s, (0, 2, 1))) / d
        return {
            "arithmetic": lambda: a * self.number() + b - self.number(),
            "divide": lambda: a / (ops.abs(b) + 1.0),
            "extremes": lambda: ops.maximum(a, b) - ops.minimum(a, self.number()),
            "unary": lambda: getattr(ops, str(r.choice(["tanh", "sin", "cos", "sigmoid", "silu", "gelu", "arctan", "erf"])))(a),
            "roots": lambda: ops.sqrt(ops.square(a) + 0.1) * ops.log1p(ops.abs(b)),
            "attention": lambda: ops.matmul(ops.softmax(square(a), axis=-1), b),
            "operator": lambda: ops.log_softmax(square(a)) @ b,
            "einsum": lambda: ops.einsum("btd,bsd,bse->bte", a, b, b) / (d * t),
            "weights": lambda: ops.einsum("btd,de->bte", a, ops.ones((d, d)) / d) + ops.dot(a, ops.eye(d)),
            "split": lambda: ops.concatenate(ops.split(a, 2, axis=-1)[::-1], axis=-1),
            "parts": lambda: ops.concatenate(ops.split(a, [n], axis=1)[::-1], axis=1),
            "unstack": lambda: ops.stack(ops.unstack(a, axis=1)[::-1], axis=1),
            "heads": lambda: ops.reshape(ops.transpose(ops.reshape(a, (-1, t, 2, d // 2)), (0, 1, 3, 2)), (-1, t, d)),
            "moved": lambda: ops.moveaxis(ops.swapaxes(a, 1, 2), 1, -1),
            "flip": lambda: ops.roll(ops.flip(a, axis=1), n, axis=int(r.integers(1, 3))),
            "scan": lambda: ops.cumsum(a, axis=1) / t + ops.cumprod(ops.tanh(b), axis=-1),
            "padded": lambda: ops.pad(a[:, n:], ((0, 0), (n, 0), (0, 0))),
            "repeated": lambda: ops.repeat(a[:, :1], t, axis=1) + ops.tile(a[:, -1:, :], (1, t, 1)),
            "taken": lambda: ops.take(a, [int(i) for i in r.integers(0, t, t)], axis=1),
            "gathered": lambda: ops.take_along_axis(a, ops.argsort(b, axis=1), axis=1),
            "sorted": lambda: ops.sort(a, axis=-1) + ops.expand_dims(ops.top_k(b, k)[0][..., -1], -1),
            "hot": lambda: ops.one_hot(ops.argmax(a, axis=-1), d) + ops.one_hot(self.ids, d),
            "where": lambda: ops.where(ops.logical_and(a > 0, ops.not_equal(b, 0.0)), a, ops.zeros_like(b)),
            "mask": lambda: a * ops.cast(ops.expand_dims(ops.not_equal(self.ids, 0), -1), "float32"),
            "statistics": lambda: (a - ops.mean(a, axis=-1, keepdims=True)) / (ops.std(a, axis=-1, keepdims=True) + 0.1),
            "sums": lambda: a / (1.0 + ops.sum(ops.abs(a), axis=(1, 2), keepdims=True)) + ops.var(b, axis=1, keepdims=True),
            "norms": lambda: ops.normalize(a + 0.3, axis=-1) + ops.layer_normalization(b),
            "lengths": lambda: a + ops.logsumexp(b, axis=1, keepdims=True),
            "rms": lambda: ops.rms_normalization(a) + sum(ops.moments(b, axes=[1], keepdims=True)),
            "triangle": lambda: ops.matmul(ops.tril(square(a)), b),
            "clipped": lambda: ops.clip(a, -1.0, 1.5) + ops.stop_gradient(b),
            "counted": lambda: a + ops.cast(ops.count_nonzero(self.ids, axis=1)[:, None, None], "float32"),
            "layer": lambda: L.Dense(d, activation="tanh")(a) + L.LayerNormalization()(b),
            "keras": lambda: L.Add()([a, b]),
            "own": lambda: ops.reshape(ops.dot_product_attention(
                *(ops.reshape(s, (-1, t, 2, d // 2)) for s in (a, b, a)), is_causal=bool(r.integers(2))), (-1, t, d)),
        }

    def model(self):
        for _ in range(int(self.r.integers(4, 12))):
            steps = self.steps() if self.r.integers(2) else more_operations.steps(self, self.some(), self.some())
            name = sorted(steps)[int(self.r.integers(len(steps)))]
            self.pool.append(steps[name]())
        used = self.pool[-1] + L.Dense(self.d)(self.pool[1]) + self.pool[0] * 0.1
        pooled = L.GlobalAveragePooling1D()(used)
        return keras.Model([self.ids, self.x], [used, pooled])


class Case:
    def __init__(self, args, seed, number):
        keras.backend.clear_session()
        keras.utils.set_random_seed(1000 * seed + number)
        r = np.random.default_rng([seed, number])
        drawn = Drawn(r)
        self.args, self.failures = args, []
        self.name = "operations-%d-%d" % (seed, number)
        self.folder = os.path.join(args.out, self.name)
        os.makedirs(self.folder, exist_ok=True)
        self.model = drawn.model()
        ids = r.integers(0, 9, (3, drawn.t)).astype("int32")
        self.inputs = [ids, r.standard_normal((3, drawn.t, drawn.d)).astype("float32")]
        self.y = [np.asarray(y) for y in self.model(self.inputs)]

    def path(self, name):
        return os.path.join(self.folder, name)

    def call(self, *command):
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            self.failures.append("%s: %s" % (" ".join(command[1:3]), (result.stdout + result.stderr)[-600:]))
        return result.stdout

    def run(self):
        self.model.compile("sgd", "mse")
        self.model.save(self.path("model.keras"))
        data = {"inputs.ids": self.inputs[0], "inputs.x": self.inputs[1]}
        data |= {"expect.output.%d" % i: y for i, y in enumerate(self.y)}
        save_file(data, self.path("data.safetensors"))
        self.call(self.args.program, "run", self.path("model.keras"), "--inputs", self.path("data.safetensors"), "--expect")
        self.call(self.args.files, "convert", self.path("model.keras"), self.path("ours.keras"))
        if not self.failures:
            back = keras.saving.load_model(self.path("ours.keras"), compile=False)
            for y, z in zip(self.y, back(self.inputs)):
                if not np.allclose(y, z, rtol=1e-6, atol=1e-6):
                    self.failures.append("ours.keras: other outputs, off by %g" % np.abs(y - z).max())
        self.train()

    def train(self):
        targets = [y * 0.5 for y in self.y]
        save_file({"x0": self.inputs[0], "x1": self.inputs[1], "y0": targets[0], "y1": targets[1]}, self.path("train.safetensors"))
        ours = self.call(self.args.files, "train", self.path("model.keras"), self.path("train.safetensors"), str(STEPS), self.path("trained.keras"))
        ours = [float(v) for v in ours.split()]
        losses = self.losses_of_keras(targets, eager=False)
        if self.failures or np.allclose(ours, losses, rtol=2e-4, atol=1e-5, equal_nan=True):
            return
        # XLA compiles some of these models wrong: their losses are others than in eager mode.
        eager = self.losses_of_keras(targets, eager=True)
        if np.allclose(ours, eager, rtol=2e-4, atol=1e-5):
            print("  agrees where Keras is not compiled; compiled, %s" % losses)
        else:
            self.failures.append("losses: expected %s, got %s" % (eager, ours))

    def losses_of_keras(self, targets, eager):
        alone = keras.saving.load_model(self.path("model.keras"))
        alone.run_eagerly = eager
        return [float(np.ravel(alone.train_on_batch(self.inputs, targets))[0]) for _ in range(STEPS)]

    def title(self):
        return self.name


if __name__ == "__main__":
    sys.exit(cases.main(__doc__, Case, MODELS_PER_SEED))
