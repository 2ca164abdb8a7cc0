#!/usr/bin/env python3
"""Golden vectors of BatchNormalization, GroupNormalization and UnitNormalization, by Keras 3.15.1 on JAX (CPU),
and of fits with moving statistics.

    pip install "keras==3.15.1" jax safetensors numpy
    python generate_normalization.py            # writes beside itself

cases.json and layers/*.safetensors in the format of ../keras_layers/generate_around.py, and for calls in training
`expect.update.<weight>`: what the weight that no optimizer trains is after the call.

fits.json: models of one dense layer and one BatchNormalization, trained by SGD. `config` is the
normalization's, `fit` has the loss after each epoch; in fits.safetensors, each name after the case's and a slash:
`x`, `y`, `mask` (empty: none), weights before and after the fit.
"""
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "keras_layers"))

import generate_around as around  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers  # noqa: E402
from keras.src import backend  # noqa: E402

around.HERE = HERE
RNG = around.rng_of("normalization")


def numbers(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def masks(*shape):
    return RNG.random(shape) < 0.6


def training_case(name, layer, x, mask):
    """A call in training, or in inference where `layer` is frozen; moving deviations are positive."""
    rng = around.rng_of(name)

    def call():
        inputs = jnp.asarray(x)
        if mask is not None:
            backend.set_keras_mask(inputs, jnp.asarray(mask))
        return inputs

    layer(call(), training=True)
    for v in layer.weights:
        value = rng.standard_normal(v.shape).astype(np.float32)
        v.assign(np.abs(value) + 0.5 if "variance" in v.path or "stddev" in v.path else value)
    weights = [jnp.asarray(v.value) for v in layer.weights]
    trained = [v for v in layer.weights if any(v is t for t in layer.trainable_weights)]
    paths = [v.path.split("/", 1)[1] for v in layer.weights]
    cotangent = rng.standard_normal(x.shape).astype(np.float32)

    def loss(trainable, inputs):
        mapping = list(zip(layer.weights, weights)) + list(zip(trained, trainable))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            if mask is not None:
                backend.set_keras_mask(inputs, jnp.asarray(mask))
            y = layer(inputs, training=True)
            after = [scope.get_current_value(v) for v in layer.weights]
        return jnp.sum(y.astype("float32") * cotangent), (y, after)

    (value, (y, after)), (d_weights, d_x) = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
        [jnp.asarray(v.value) for v in trained], jnp.asarray(x))
    tensors = {"inputs.x": x, **dict(zip(paths, weights)), "cotangent.output": cotangent.astype(y.dtype),
               "expect.output": y, "expect.loss": np.asarray(value, np.float32).reshape(())}
    document = {"inputs": "inputs.x", "training": True}
    if mask is not None:
        tensors["masks.x1"] = mask
        document["implicit_masks"] = {"inputs": "masks.x1"}
    for path, v, was, new in zip(paths, layer.weights, weights, after):
        if not any(v is t for t in trained):
            tensors[f"expect.update.{path}"] = was if new is None else new
    for v, gradient in zip(trained, d_weights):
        tensors[f"grad.{v.path.split('/', 1)[1]}"] = gradient
    tensors["grad.inputs.x"] = d_x
    expect = [n for n in tensors if n.startswith(("expect.", "grad."))]
    around.save(HERE / "layers" / f"{name}.safetensors", tensors)
    return {"name": name, "kind": "layer", "layer": type(layer).__name__, "file": f"layers/{name}.safetensors",
            "config": layer.get_config(), "dtype_policy": layer.dtype_policy.name,
            "compute_dtype": layer.compute_dtype, "weights": paths, "call": document,
            "loss": {"add_layer_losses": False}, "tags": [], "expect": expect,
            "tolerance": around.tolerances(expect, tensors, layer.compute_dtype)}


def batch_cases():
    rules = {"beta_initializer": "ones", "gamma_initializer": "random_normal", "moving_mean_initializer": "ones",
             "moving_variance_initializer": "random_uniform", "beta_regularizer": "l1", "gamma_regularizer": "l2",
             "beta_constraint": "non_neg", "gamma_constraint": "max_norm"}
    limits = {"rmax": 1.5, "rmin": 0.5, "dmax": 0.25}
    for label, arguments in {
        "plain": {}, "momentum": {"momentum": 0.5, "epsilon": 0.1}, "no_beta": {"center": False},
        "no_gamma": {"scale": False}, "neither": {"center": False, "scale": False}, "rules": rules,
        "frozen": {"trainable": False}, "renorm": {"renorm": True, "momentum": 0.75},
        "renorm_limits": {"renorm": True, "renorm_clipping": limits, "renorm_momentum": 0.5},
        "renorm_no_gamma": {"renorm": True, "scale": False},
        "mixed_bfloat16": {"dtype": "mixed_bfloat16"}, "mixed_float16": {"dtype": "mixed_float16"},
        "bfloat16": {"dtype": "bfloat16"},
    }.items():
        yield f"batch_{label}", layers.BatchNormalization(**arguments), numbers(3, 4, 5), None
        if label in ("plain", "renorm", "frozen", "mixed_bfloat16"):
            yield f"batch_mask_{label}", layers.BatchNormalization(**arguments), numbers(3, 4, 5), masks(3, 4)
    yield "batch_matrix", layers.BatchNormalization(), numbers(6, 3), None
    yield "batch_image", layers.BatchNormalization(), numbers(2, 3, 4, 3), None
    yield "batch_axis1", layers.BatchNormalization(axis=1), numbers(3, 4, 5), None
    yield "batch_axis1_mask", layers.BatchNormalization(axis=1), numbers(3, 4, 5), masks(3, 4)
    yield "batch_axis_negative", layers.BatchNormalization(axis=-2), numbers(2, 3, 4, 3), None
    yield "batch_large_mean", layers.BatchNormalization(), numbers(4, 5, 3) + 3, None
    yield "batch_all_hidden", layers.BatchNormalization(), numbers(2, 3, 4), np.zeros((2, 3), bool)


def inference_cases():
    for label, arguments, shape in [
        ("plain", {}, (2, 3, 8)), ("four", {"groups": 4, "epsilon": 0.1}, (2, 3, 8)),
        ("one", {"groups": 1}, (2, 3, 8)), ("channels", {"groups": -1}, (2, 3, 4, 6)),
        ("matrix", {"groups": 2}, (3, 8)), ("axis1", {"groups": 2, "axis": 1}, (2, 6, 5)),
        ("axis_middle", {"groups": 3, "axis": -2}, (2, 3, 6, 2)), ("no_beta", {"groups": 2, "center": False}, (2, 3, 4)),
        ("no_gamma", {"groups": 2, "scale": False}, (2, 3, 4)),
        ("neither", {"groups": 2, "scale": False, "center": False}, (2, 3, 4)),
        ("rules", {"groups": 2, "beta_initializer": "ones", "gamma_regularizer": "l2", "beta_constraint": "non_neg"},
         (2, 3, 4)),
        ("mixed_bfloat16", {"groups": 2, "dtype": "mixed_bfloat16"}, (2, 3, 4)),
        ("bfloat16", {"groups": 2, "dtype": "bfloat16"}, (2, 3, 4)),
    ]:
        yield f"group_{label}", layers.GroupNormalization(**{"groups": 8, **arguments}), numbers(*shape), (
            [masks(2, 3)] if label == "plain" else [])
    for label, arguments in {"plain": {}, "axis1": {"axis": 1}, "list": {"axis": [1, 2]}, "one_list": {"axis": [-1]},
                             "mixed_bfloat16": {"dtype": "mixed_bfloat16"},
                             "mixed_float16": {"dtype": "mixed_float16"}}.items():
        yield f"unit_{label}", layers.UnitNormalization(**arguments), numbers(2, 3, 4), (
            [masks(2, 3)] if label == "plain" else [])


def fit_cases():
    """Three epochs of three batches each, in order."""
    for label, arguments, with_mask in [("plain", {}, False), ("mask", {"momentum": 0.8}, True),
                                        ("renorm", {"renorm": True, "momentum": 0.9, "renorm_momentum": 0.7}, False),
                                        ("frozen", {"trainable": False}, False)]:
        x = numbers(12, 4, 3)
        if with_mask:
            x[masks(12, 4)] = 0
        y = numbers(12, 4, 2)
        inputs = keras.Input((4, 3))
        hidden = layers.Masking()(inputs) if with_mask else inputs
        normalization = layers.BatchNormalization(**arguments)
        model = keras.Model(inputs, layers.Dense(2)(normalization(layers.Dense(5, activation="tanh")(hidden))))
        for v in model.weights:
            if "moving" not in v.path and "renorm" not in v.path:
                v.assign(numbers(*v.shape))
        before = [np.asarray(v.value) for v in model.weights]
        model.compile("sgd", "mse")
        history = model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
        evaluated = model.evaluate(x, y, batch_size=12, verbose=0)
        tensors = {"x": x, "y": y}
        for i, (v, start) in enumerate(zip(model.weights, before)):
            tensors[f"before.{i}"] = start
            tensors[f"after.{i}"] = np.asarray(v.value)
        yield {"name": label, "config": normalization.get_config(), "masks": with_mask,
               "losses": history.history["loss"], "evaluated": float(evaluated)}, tensors


def main():
    made = [training_case(*case) for case in batch_cases()]
    made += [around.layer_case(*case) for case in inference_cases()]
    lines = ",\n".join(json.dumps(case) for case in made)
    head = json.dumps({"keras": keras.__version__, "backend": "jax"})[:-1]
    (HERE / "cases.json").write_text(f'{head}, "cases": [\n{lines}\n]}}\n')
    fits = list(fit_cases())
    (HERE / "fits.json").write_text(json.dumps([document for document, _ in fits], indent=1) + "\n")
    around.save(HERE / "fits.safetensors",
                {f"{document['name']}/{k}": v for document, tensors in fits for k, v in tensors.items()})
    print(len(made), "cases", len(fits), "fits")


if __name__ == "__main__":
    main()
