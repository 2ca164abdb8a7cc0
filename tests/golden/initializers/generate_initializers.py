"""Writes initializers.json: numbers of Keras's initializers with integer seeds, on JAX.

    pip install "keras==3.15.1" jax numpy
    python generate_initializers.py

Each case has the initializer's configuration, a shape, a type, and either all numbers or those of
some elements, by their index in row-major order.
"""

import json
import os
import pathlib

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np

FOLDER = pathlib.Path(__file__).parent
SMALL = 24  # numbers that a case keeps
SEEDS = (0, 1, 1337, 2**31 + 5, 2**32 - 1)
SHAPES = ((), (5,), (1, 1), (7, 3), (2, 3, 4), (64, 96), (3, 40, 5, 11))
TYPES = ("float32", "bfloat16", "float16")


def initializers(seed):
    of = keras.initializers
    yield of.RandomUniform(seed=seed)
    yield of.RandomUniform(-0.3, 1.7, seed=seed)
    yield of.RandomNormal(seed=seed)
    yield of.RandomNormal(0.25, 0.8, seed=seed)
    yield of.TruncatedNormal(seed=seed)
    yield of.TruncatedNormal(-0.5, 1.1, seed=seed)
    yield of.GlorotUniform(seed=seed)
    yield of.GlorotNormal(seed=seed)
    yield of.HeUniform(seed=seed)
    yield of.HeNormal(seed=seed)
    yield of.LecunUniform(seed=seed)
    yield of.LecunNormal(seed=seed)
    yield of.VarianceScaling(0.7, "fan_out", "untruncated_normal", seed=seed)
    yield of.VarianceScaling(1.3, "fan_avg", "uniform", seed=seed)


def with_axes(seed):
    of = keras.initializers
    yield of.GlorotUniform(seed=seed, input_axes=[0], output_axes=[1, 2])
    yield of.HeNormal(seed=seed, input_axes=[-1], output_axes=[0])
    yield of.LecunUniform(seed=seed, input_axes=[0])


def orthogonal(seed):
    yield keras.initializers.Orthogonal(seed=seed)
    yield keras.initializers.Orthogonal(gain=1.5, seed=seed)


def case(initializer, shape, dtype="float32"):
    numbers = np.asarray(initializer(shape, dtype=dtype)).astype("float32").ravel()
    entry = {
        "initializer": keras.saving.serialize_keras_object(initializer),
        "shape": list(shape),
        "dtype": dtype,
    }
    if numbers.size > SMALL:
        picks = np.unique(np.linspace(0, numbers.size - 1, SMALL).astype(int))
        entry["elements"] = picks.tolist()
        numbers = numbers[picks]
    # The shortest decimals that are these f32 numbers.
    entry["values"] = [float(str(value)) for value in numbers]
    return entry


def cases():
    for index, seed in enumerate(SEEDS):
        for number, initializer in enumerate(initializers(seed)):
            shape = SHAPES[(index + number) % len(SHAPES)]
            dtype = TYPES[(index + 2 * number) % len(TYPES)]
            yield case(initializer, shape, dtype)
            yield case(initializer, SHAPES[(index + number + 3) % len(SHAPES)])
        for initializer in with_axes(seed):
            yield case(initializer, (4, 6, 2))
        for initializer in orthogonal(seed):
            for shape in ((6, 6), (9, 4), (3, 8), (2, 3, 4), (40, 33)):
                yield case(initializer, shape)


def main():
    lines = ",\n".join(json.dumps(entry) for entry in cases())
    text = f'{{"keras": "{keras.__version__}", "backend": "jax", "cases": [\n{lines}\n]}}\n'
    (FOLDER / "initializers.json").write_text(text)


main()
