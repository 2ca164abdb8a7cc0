#!/usr/bin/env python3
"""A compiled model of classes of its own: layers, a loss, a metric, a schedule.

    pip install "keras==3.15.1" jax safetensors numpy
    python generate.py        # writes beside itself
    python ../pack_keras.py own.keras

own.keras        the model before training, with an optimizer that has done one step
classes.json     the layers' classes as functional models: what --classes takes
own.safetensors  inputs, targets and predictions; losses, metric and predictions of the steps after
"""
import json
import os

os.environ["KERAS_BACKEND"] = "jax"
import keras
import numpy as np
from keras import layers, ops
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
own = keras.saving.register_keras_serializable(package="example")


@own
class Block(layers.Layer):
    """Pre-norm feed-forward, with a list of layers among its attributes."""

    def __init__(self, units, rate=1.0, **options):
        super().__init__(**options)
        self.units, self.rate = units, rate
        self.widen = layers.Dense(units, activation="gelu", name="widen")
        self.stack = [layers.LayerNormalization(name="norm"), layers.Dense(3, name="narrow"),
                      layers.Rescaling(rate, name="rescaled")]

    def build(self, shape):
        self.widen.build(shape)
        self.stack[0].build(shape)
        self.stack[1].build(tuple(shape[:-1]) + (self.units,))

    def call(self, x):
        return x + self.stack[2](self.stack[1](self.widen(self.stack[0](x))))

    def get_config(self):
        return {**super().get_config(), "units": self.units, "rate": self.rate}


@own
class Mix(layers.Layer):
    """A call of two arguments."""

    def __init__(self, **options):
        super().__init__(**options)
        self.gate = layers.Dense(3, activation="sigmoid", name="gate")

    def build(self, x_shape, memory_shape):
        self.gate.build(memory_shape)

    def call(self, x, memory):
        return x * self.gate(memory) + memory


@own
class PowerLoss(keras.losses.Loss):
    def __init__(self, power=2.0, **options):
        super().__init__(**options)
        self.power = power

    def call(self, target, prediction):
        return ops.mean(ops.abs(target - prediction) ** self.power, axis=-1)

    def get_config(self):
        return {**super().get_config(), "power": self.power}


@own
def absolute(target, prediction):
    return ops.mean(ops.abs(target - prediction), axis=-1)


@own
class Largest(keras.metrics.Metric):
    """The largest error so far."""

    def __init__(self, name="largest", **options):
        super().__init__(name=name, **options)
        self.value = self.add_weight(shape=(), name="value", initializer="zeros")

    def update_state(self, target, prediction, sample_weight=None):
        self.value.assign(ops.maximum(self.value.value, ops.max(ops.abs(target - prediction))))

    def result(self):
        return self.value.value


@own
class Halving(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, start):
        self.start = start

    def __call__(self, step):
        return self.start * 0.5 ** ops.cast(step, "float32")

    def get_config(self):
        return {"start": self.start}


def classes():
    x = keras.Input((None, 3), name="x")
    h = layers.Dense(7, activation="gelu", name="widen")(layers.LayerNormalization(name="norm")(x))
    h = layers.Rescaling(0.123, name="rescaled")(layers.Dense(3, name="narrow")(h))
    block = keras.Model(x, layers.Add(name="sum")([x, h]))
    text = block.to_json().replace('"units": 7', '"units": "$units"').replace("0.123", '"$rate"')
    text = text.replace("[null, null, 7]", "[null, null, null]")
    a, b = keras.Input((None, 3), name="a"), keras.Input((None, 3), name="b")
    gated = layers.Multiply(name="gated")([a, layers.Dense(3, activation="sigmoid", name="gate")(b)])
    mix = keras.Model([a, b], layers.Add(name="mixed")([gated, b]))
    return {"example>Block": {"model": json.loads(text),
                              "attributes": {"widen": "widen", "norm": "stack/layer_normalization",
                                             "narrow": "stack/dense", "rescaled": "stack/rescaling"}},
            "example>Mix": {"inputs": ["x", "memory"], "model": json.loads(mix.to_json())}}


def main():
    keras.utils.set_random_seed(5)
    rng = np.random.default_rng(6)
    x = keras.Input((4, 3), name="x")
    first = Block(5, name="first")(x)
    second = Block(2, rate=0.5, name="second")(first)
    y = layers.Dense(2, name="out")(Mix(name="mix")(second, memory=first))
    model = keras.Model(x, y)
    for v in model.trainable_variables:
        v.assign(rng.normal(size=v.shape) * 0.4)
    data, target = rng.normal(size=(6, 4, 3)).astype(np.float32), rng.normal(size=(6, 4, 2)).astype(np.float32)
    model.compile(keras.optimizers.Adam(Halving(0.1)), PowerLoss(1.5), metrics=[Largest(), absolute])
    model.train_on_batch(data, target)
    model.save(os.path.join(HERE, "own.keras"))
    tensors = {"inputs.x": data, "target": target, "expect.output": model.predict(data, verbose=0)}
    logs = [model.fit(data, target, batch_size=3, shuffle=False, verbose=0).history for _ in range(3)]
    for name in ("loss", "largest", "absolute"):
        tensors["logs." + name] = np.array([log[name][0] for log in logs])
    tensors["trained.output"] = model.predict(data, verbose=0)
    save_file(tensors, os.path.join(HERE, "own.safetensors"))
    with open(os.path.join(HERE, "classes.json"), "w") as f:
        json.dump(classes(), f, indent=1)


main()
