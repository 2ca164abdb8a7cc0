#!/usr/bin/env python3
"""Compares grouphead with the installed Keras on random models that are quantized: the numbers that both make of one file,
and what both compute of each other's.

    python quantized.py --program build/release/grouphead --files build/release/tests/live_files --out build/live SEED...
"""
import io
import os
import subprocess
import sys
import zipfile

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402

jax.config.update("jax_default_matmul_precision", "highest")
import h5py  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers as L  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

import cases  # noqa: E402

MODELS_PER_SEED = 4
STEPS = 4
TRAINING_TOLERANCE = 1e-2  # a number at the edge is rounded to the next one of float8, a sixteenth or more away
LETTERS = "abcdefgh"


class Drawn:
    """A model of layers that Keras quantizes, and of some that it does not."""

    def __init__(self, r, has_attention):
        self.r = r
        self.t, self.d = int(r.integers(2, 6)), int(r.integers(1, 10))
        self.ids = keras.Input((self.t,), dtype="int32", name="ids")
        self.x = keras.Input((self.t, self.d), name="x")
        self.has_attention = has_attention

    def flag(self):
        return bool(self.r.integers(2))

    def size(self):
        return int(self.r.integers(1, 12))

    def activation(self):
        return [None, "gelu", "tanh", "relu", "softmax"][int(self.r.integers(5))]

    def einsum(self, x):
        """A kernel that sums over some of the last two axes and has up to two others, in any order."""
        letters = list(LETTERS[: len(x.shape)])
        summed = [c for c in letters[1:] if self.flag()] or [letters[-1]]
        new = list("xy"[: int(self.r.integers(3))])
        shared = [c for c in letters[1:] if c not in summed and self.r.random() < 0.2]
        kernel = summed + new + shared
        self.r.shuffle(kernel)
        rest = [c for c in letters[1:] if c not in summed] + new
        self.r.shuffle(rest)
        sizes = [self.size() if c in "xy" else x.shape[letters.index(c)] for c in rest]
        equation = "%s,%s->%s" % ("".join(letters), "".join(kernel), letters[0] + "".join(rest))
        bias = "".join(c for c in rest if self.flag()) or None
        return L.EinsumDense(equation, tuple(sizes), bias_axes=bias, activation=None if rest == [] else self.activation())(x)

    def step(self, h):
        kind = int(self.r.integers(5 if self.has_attention else 4))
        if kind == 0:
            return L.Dense(self.size(), activation=self.activation(), use_bias=self.flag())(h)
        if kind == 1:
            return L.TimeDistributed(L.Dense(self.size(), activation="tanh"))(h)
        if kind == 2:
            return L.LayerNormalization()(L.EinsumDense("abc,cd->abd", (h.shape[1], self.size()), bias_axes="d")(h))
        if kind == 3:
            y = L.Flatten()(self.einsum(h))
            return h + L.Reshape((1, h.shape[-1]))(L.Dense(h.shape[-1], activation="tanh")(y))
        if self.flag():
            return h + L.MultiHeadAttention(self.size() % 3 + 1, self.size(), use_bias=self.flag())(h, h)
        return h + L.GroupQueryAttention(self.size(), 4, 2)(h, h)

    def model(self):
        width = self.size()
        if self.flag():
            table = L.ReversibleEmbedding(13, width, tie_weights=self.flag())
            h = table(self.ids)
            outputs = [table(L.Dense(width)(h), reverse=True)]
        else:
            h = L.Embedding(13, width)(self.ids)
            outputs = []
        h = L.Concatenate()([h, self.x])
        for _ in range(int(self.r.integers(1, 4))):
            h = self.step(h)
        return keras.Model([self.ids, self.x], outputs + [h])


def arrays_of(path):
    with zipfile.ZipFile(path) as z:
        file = h5py.File(io.BytesIO(z.read("model.weights.h5")), "r")
        found = {}
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        return found


class Case:
    def __init__(self, args, seed, number):
        keras.backend.clear_session()
        keras.utils.set_random_seed(1000 * seed + number)
        r = np.random.default_rng([seed, number, 3])
        self.args, self.failures, self.note = args, [], ""
        self.name = "quantized-%d-%d" % (seed, number)
        self.folder = os.path.join(args.out, self.name)
        os.makedirs(self.folder, exist_ok=True)
        self.has_attention = number == MODELS_PER_SEED - 1
        drawn = Drawn(r, self.has_attention)
        self.model = drawn.model()
        for v in self.model.variables:
            if "seed" not in v.path:
                v.assign(r.normal(size=v.shape) * r.uniform(0.1, 3) + r.uniform(-0.5, 0.5))
        self.inputs = [r.integers(0, 13, (3, drawn.t)).astype("int32"), r.standard_normal((3, drawn.t, drawn.d)).astype("float32")]
        self.mode = ["int8", "int4", "float8"][int(r.integers(3))]
        self.block = [0, 2, 3, 5, 128][int(r.integers(5))]

    def path(self, name):
        return os.path.join(self.folder, name)

    def call(self, *command):
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            self.failures.append("%s: %s" % (" ".join(command[1:3]), (result.stdout + result.stderr)[-600:]))

    def config(self):
        q = keras.quantizers
        if self.mode == "int4":
            return q.Int4QuantizationConfig(block_size=self.block or None)
        return q.Int8QuantizationConfig() if self.mode == "int8" else q.Float8QuantizationConfig()

    def outputs(self, model):
        y = model(self.inputs)
        return [np.asarray(one) for one in (y if isinstance(y, (list, tuple)) else [y])]

    def has_einsum_with_scales(self):
        """Some of which Keras cannot compute itself."""
        return any(isinstance(one, L.EinsumDense) and one.quantization_mode in ("int8", "int4") for one in self.model.layers)

    def run(self):
        self.model.save(self.path("model.keras"))
        options = ["--block-size", str(self.block)] if self.mode == "int4" else []
        self.call(self.args.program, "convert", "--quantize", self.mode, *options, self.path("model.keras"), self.path("ours.keras"))
        try:
            self.model.quantize(config=self.config())
        except ValueError:
            if not any(isinstance(one, L.EinsumDense) for one in self.model.layers):
                raise
            self.failures, self.note = [], ", not quantized by Keras"
            return
        self.model.save(self.path("keras.keras"))
        try:
            expect = self.outputs(self.model)
        except ValueError:
            if not self.has_einsum_with_scales():
                raise
            self.note = ", not computed by Keras"
            return self.compare_arrays()
        data = {"inputs.ids": self.inputs[0], "inputs.x": self.inputs[1]}
        data |= {"expect.output.%d" % i if len(expect) > 1 else "expect.output": y for i, y in enumerate(expect)}
        save_file(data, self.path("data.safetensors"))
        if self.failures:
            return
        self.compare_arrays()
        if not (self.mode == "float8" and self.has_attention):  # whose configuration does not say so
            for name in ("keras.keras", "ours.keras"):
                self.call(self.args.program, "run", self.path(name), "--inputs", self.path("data.safetensors"), "--expect")
        if not self.has_attention:
            back = keras.saving.load_model(self.path("ours.keras"), compile=False)
            for y, z in zip(expect, self.outputs(back)):
                if not np.allclose(y, z, rtol=1e-5, atol=1e-5):
                    self.failures.append("ours.keras in Keras: other outputs, off by %g" % np.abs(y - z).max())
            if self.mode == "float8":
                self.train(expect)

    def train(self, outputs):
        """Scales and histories after a few steps; a scale that Keras on JAX never uses becomes 0 in it."""
        targets = [y * 0.5 for y in outputs]
        self.model.compile(keras.optimizers.SGD(1e-3), "mse")
        self.model.save(self.path("compiled.keras"))
        data = {"x%d" % i: x for i, x in enumerate(self.inputs)} | {"y%d" % i: y for i, y in enumerate(targets)}
        save_file(data, self.path("train.safetensors"))
        self.call(self.args.files, "train", self.path("compiled.keras"), self.path("train.safetensors"), str(STEPS), self.path("trained.keras"))
        for _ in range(STEPS):
            self.model.train_on_batch(self.inputs, targets)
        self.model.save(self.path("expected.keras"))
        if self.failures:
            return
        ours, theirs = arrays_of(self.path("trained.keras")), arrays_of(self.path("expected.keras"))
        for key in theirs.keys() & ours.keys():
            if "time_distributed" in key or "optimizer" in key:
                continue
            error, scale = np.abs(ours[key] - theirs[key]).max(initial=0), np.abs(theirs[key]).max(initial=1e-30)
            if not error <= TRAINING_TOLERANCE * scale:
                self.failures.append("trained: %s off by %g of %g" % (key, error, scale))

    def compare_arrays(self):
        if self.failures:
            return
        ours, theirs = arrays_of(self.path("ours.keras")), arrays_of(self.path("keras.keras"))
        # Those of float8 in TimeDistributed stay as they are.
        if self.mode == "float8":
            theirs = {k: v for k, v in theirs.items() if "time_distributed" not in k}
            ours = {k: v for k, v in ours.items() if "time_distributed" not in k}
        if ours.keys() != theirs.keys():
            self.failures.append("arrays: %s" % sorted(ours.keys() ^ theirs.keys()))
        for key in ours.keys() & theirs.keys():
            if ours[key].shape != theirs[key].shape or ours[key].dtype != theirs[key].dtype or (ours[key] != theirs[key]).any():
                self.failures.append("%s: %s %s, other numbers than %s %s" % (key, ours[key].dtype, ours[key].shape, theirs[key].dtype, theirs[key].shape))

    def title(self):
        return "%s %s%s" % (self.name, self.mode, self.note)


if __name__ == "__main__":
    sys.exit(cases.main(__doc__, Case, MODELS_PER_SEED))
