"""Runs the models whose JSON texts stand here in Keras 3.15.1 and keeps what they give.

    KERAS_BACKEND=jax python generate_graph.py

For each NAME.json, a text of our to_json(): NAME.safetensors with `weight.<number>` in Keras's
order, `input.<name>`, `output.<number>` and, in its metadata, the weights' paths in Keras.
"""

import pathlib
import zlib

import jax
import keras
import numpy as np
from safetensors.numpy import save_file

jax.config.update("jax_default_matmul_precision", "highest")


def numbers(random, tensor):
    shape = [3 if size is None else size for size in tensor.shape]
    if tensor.dtype == "int32":
        tokens = random.integers(1, 9, shape).astype(np.int32)
        for row, length in enumerate(random.integers(1, shape[1], shape[0])):
            tokens[row, length:] = 0  # padding
        return tokens
    if tensor.dtype == "bool":
        return random.random(shape) < 0.7
    return random.standard_normal(shape).astype(np.float32)


folder = pathlib.Path(__file__).parent
for path in sorted(folder.glob("*.json")):
    random = np.random.default_rng(zlib.crc32(path.stem.encode()))
    model = keras.models.model_from_json(path.read_text())
    weights = [np.asarray(random.standard_normal(w.shape) * 0.5, np.float32) for w in model.weights]
    model.set_weights(weights)
    tensors = {f"weight.{i}": w for i, w in enumerate(weights)}
    inputs = {x.name: numbers(random, x) for x in model.inputs}
    tensors |= {f"input.{name}": x for name, x in inputs.items()}
    single = len(inputs) == 1
    outputs = model(next(iter(inputs.values())) if single else inputs, training=False)
    for i, y in enumerate(keras.tree.flatten(outputs)):
        tensors[f"output.{i}"] = np.ascontiguousarray(np.asarray(y))
    paths = " ".join(w.path for w in model.weights)
    save_file(tensors, folder / f"{path.stem}.safetensors", {"keras": keras.__version__, "weights": paths})
    print(path.stem, {k: v.shape for k, v in tensors.items()})
