#!/usr/bin/env python3
"""Golden vectors of the layers around attention and of op nodes, by Keras 3.15.1 on JAX (CPU).

    pip install "keras==3.15.1" jax safetensors numpy
    python generate_around.py            # writes beside itself and into ../keras_operations

Layers: cases.json in the format of ../keras/README.md, and `expect.output_mask`, the mask that Keras
attaches to the output ([0]: none). The scalar differentiated is sum(output * cotangent.output).

Operations: cases.json of ../keras_operations: `module`, `class_name`, `config` and the call's `args`
({"tensor": name} or a literal; lists of tensors for operations on lists) as Keras serializes them,
`operand.<i>` the tensors of the call in order, `expect.output` (of further ones `expect.output.<n>`)
and `grad.operand.<i>`; in the one file
tensors.safetensors all names start with the case's and a slash.

Tolerance: atol = k eps s, with eps of the compute type, k = 16 (float32) or 4 (16-bit), s the largest
absolute value of the tensor; of gradients, the largest of all gradients of the case. Results of
bools and integers are exact.
"""
import json
import os
import warnings
import zlib
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
warnings.filterwarnings("ignore")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers, ops  # noqa: E402
from keras.src import backend  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

jax.config.update("jax_default_matmul_precision", "highest")
HERE = Path(__file__).resolve().parent
EPS = {"float32": 2.0**-23, "bfloat16": 2.0**-8, "float16": 2.0**-10}


def rng_of(name):
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def wide(x):
    return np.asarray(x).astype(np.float64)


def is_float(x):
    return jnp.issubdtype(x.dtype, jnp.floating)


def tolerances(expect, tensors, compute):
    k = 16 if compute == "float32" else 4
    top = {n: float(np.max(np.abs(wide(tensors[n])))) if tensors[n].size else 0.0 for n in expect}
    largest = max([top[n] for n in expect if n.startswith("grad.")] or [0.0])
    result = {}
    for n in expect:
        scale = largest if n.startswith("grad.") else top[n]
        if n == "expect.loss":
            scale = float(np.abs(wide(tensors["expect.output"]) * wide(tensors["cotangent.output"])).sum())
        result[n] = {"max_abs_value": top[n], "atol": k * EPS[compute] * max(scale, 1e-3)}
    return result


# ---------------------------------------------------------------------- layers
def layer_case(name, layer, inputs, masks=(), mask_argument=None):
    """inputs: arrays (one: a single tensor); masks: one per input or None."""
    rng = rng_of(name)
    is_list = isinstance(inputs, list)
    arrays = inputs if is_list else [inputs]
    masks = list(masks) + [None] * (len(arrays) - len(masks))
    names = [f"inputs.x{i + 1}" if is_list else "inputs.x" for i in range(len(arrays))]
    given = {} if mask_argument is None else {"mask": jnp.asarray(mask_argument)}

    def call(xs):
        xs = [jnp.asarray(x) for x in xs]
        for x, m in zip(xs, masks):
            if m is not None:
                backend.set_keras_mask(x, jnp.asarray(m))
        return layer(
            xs if is_list else xs[0], **given)

    first = call(arrays)
    for v in layer.weights:
        v.assign(rng.standard_normal(v.shape).astype(np.float32))
    weights = [jnp.asarray(v.value) for v in layer.weights]
    cotangent = rng.standard_normal(first.shape).astype(np.float32)
    floats = [i for i, x in enumerate(arrays) if is_float(x)]

    def loss(weights, xs):
        mapping = list(zip(layer.weights, weights))
        with keras.StatelessScope(state_mapping=mapping):
            filled = list(arrays)
            for i, x in zip(floats, xs):
                filled[i] = x
            y = call(filled)
        return jnp.sum(y.astype("float32") * cotangent), y

    mask = backend.get_keras_mask(call(arrays))
    (value, y), (d_weights, d_inputs) = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
        weights, [jnp.asarray(arrays[i]) for i in floats])
    paths = [v.path.split("/", 1)[1] for v in layer.weights]
    tensors = dict(zip(names, arrays))
    tensors |= dict(zip(paths, weights))
    tensors["cotangent.output"] = cotangent.astype(y.dtype)
    tensors["expect.output"] = y
    tensors["expect.loss"] = np.asarray(value, np.float32).reshape(())
    tensors["expect.output_mask"] = np.zeros(0, bool) if mask is None else np.asarray(mask)
    tensors |= {f"grad.{p}": g for p, g in zip(paths, d_weights)}
    tensors |= {f"grad.{names[i]}": g for i, g in zip(floats, d_inputs)}
    expect = [n for n in tensors if n.startswith(("expect.", "grad."))]
    document = {"inputs": names if is_list else names[0]}
    implicit = {}
    for i, m in enumerate(masks):
        if m is not None:
            tensors[f"masks.x{i + 1}"] = np.asarray(m)
            implicit[str(i) if is_list else "inputs"] = f"masks.x{i + 1}"
    if implicit:
        document["implicit_masks"] = implicit
    if mask_argument is not None:
        tensors["masks.given"] = np.asarray(mask_argument)
        document["mask"] = "masks.given"
    compute = layer.compute_dtype
    save(HERE / "layers" / f"{name}.safetensors", tensors)
    return {
        "name": name, "kind": "layer", "layer": type(layer).__name__, "file": f"layers/{name}.safetensors",
        "config": layer.get_config(), "dtype_policy": layer.dtype_policy.name, "compute_dtype": compute,
        "weights": paths, "call": document, "loss": {"add_layer_losses": False}, "tags": [], "expect": expect,
        "tolerance": tolerances([n for n in expect if n != "expect.output_mask"], tensors, compute),
    }


def save(path, tensors):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: np.ascontiguousarray(np.asarray(v)) if np.asarray(v).ndim else np.asarray(v)
               for k, v in tensors.items()}, path)


def layer_cases():
    rng = rng_of("inputs")

    def x(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    def m(*shape):
        return rng.random(shape) < 0.6

    ids = rng.integers(0, 7, (2, 5)).astype(np.int32)
    ids[0, 1] = 0
    padded = x(2, 5, 3)
    padded[0, 3:] = 0
    padded[1, 0] = 0
    constant = padded.copy()
    constant[padded == 0] = -1.5
    yield "embedding", layers.Embedding(7, 3), ids, [], None
    yield "embedding_mask_zero", layers.Embedding(7, 3, mask_zero=True), ids, [], None
    yield "embedding_float_ids", layers.Embedding(7, 3, mask_zero=True), (ids + 0.25).astype(np.float32), [], None
    yield "embedding_rules", layers.Embedding(
        7, 3, embeddings_initializer="glorot_normal", embeddings_regularizer="l2",
        embeddings_constraint="non_neg"), ids, [], None
    yield "embedding_mixed_bfloat16", layers.Embedding(7, 3, mask_zero=True, dtype="mixed_bfloat16"), ids, [], None
    yield "masking", layers.Masking(), padded, [], None
    yield "masking_value", layers.Masking(mask_value=-1.5), constant, [], None
    yield "masking_mixed_bfloat16", layers.Masking(dtype="mixed_bfloat16"), padded, [], None
    for label, arguments in {
        "last": {}, "axis1": {"axis": 1}, "list": {"axis": [1, 2]}, "mixed_signs": {"axis": [1, -1]},
        "no_beta": {"center": False}, "no_gamma": {"scale": False}, "neither": {"center": False, "scale": False},
        "rms_scaling": {"rms_scaling": True}, "epsilon": {"epsilon": 0.1},
        "rules": {"gamma_initializer": "random_normal", "beta_regularizer": "l1", "gamma_constraint": "non_neg"},
        "mixed_bfloat16": {"dtype": "mixed_bfloat16"}, "bfloat16": {"dtype": "bfloat16"},
        "mixed_float16": {"dtype": "mixed_float16"},
    }.items():
        yield f"layer_norm_{label}", layers.LayerNormalization(**arguments), x(2, 3, 4), [m(2, 3)], None
    for label, arguments in {"last": {}, "list": {"axis": [1, 2], "epsilon": 0.01},
                             "mixed_bfloat16": {"dtype": "mixed_bfloat16"}}.items():
        yield f"rms_norm_{label}", layers.RMSNormalization(**arguments), x(2, 3, 4), [m(2, 3)], None
    a, b, c = x(2, 3, 4), x(2, 3, 4), x(2, 3, 4)
    for kind in (layers.Add, layers.Multiply):
        label = kind.__name__.lower()
        yield f"{label}_two", kind(), [a, b], [m(2, 3), m(2, 3)], None
        yield f"{label}_three", kind(), [a, b, c], [m(2, 3)] * 3, None
        yield f"{label}_one_mask", kind(), [a, b], [m(2, 3), None], None
        yield f"{label}_broadcast", kind(), [a, x(2, 1, 4), x(2, 3, 1)], [], None
        yield f"{label}_ranks", kind(), [x(2, 4), x(2, 5, 3, 4), a], [], None
        yield f"{label}_mixed_bfloat16", kind(dtype="mixed_bfloat16"), [a, b, c], [], None
    yield "concatenate_last", layers.Concatenate(), [a, x(2, 3, 2)], [m(2, 3), m(2, 3)], None
    yield "concatenate_time", layers.Concatenate(axis=1), [a, x(2, 2, 4)], [m(2, 3), m(2, 2)], None
    yield "concatenate_one_mask", layers.Concatenate(axis=-2), [a, x(2, 2, 4)], [m(2, 3), None], None
    yield "concatenate_batch", layers.Concatenate(axis=0), [a, x(1, 3, 4)], [m(2, 3), m(1, 3)], None
    yield "concatenate_no_mask", layers.Concatenate(), [a, b], [], None
    yield "concatenate_mixed_bfloat16", layers.Concatenate(dtype="mixed_bfloat16"), [a, b], [], None
    yield "reshape", layers.Reshape((2, -1)), a, [m(2, 3)], None
    yield "reshape_same", layers.Reshape((3, 4)), a, [m(2, 3)], None
    yield "reshape_mixed_bfloat16", layers.Reshape((12,), dtype="mixed_bfloat16"), a, [], None
    yield "permute", layers.Permute((2, 1)), a, [m(2, 3)], None
    yield "permute_three", layers.Permute((3, 1, 2)), x(2, 3, 4, 5), [], None
    yield "permute_mixed_float16", layers.Permute((2, 1), dtype="mixed_float16"), a, [], None
    yield "flatten", layers.Flatten(), a, [m(2, 3)], None
    yield "flatten_first", layers.Flatten(data_format="channels_first"), x(2, 3, 4, 5), [], None
    yield "flatten_one", layers.Flatten(), x(3), [], None
    yield "flatten_bfloat16", layers.Flatten(dtype="bfloat16"), a, [], None
    some = np.asarray([[True, False, True], [False, False, True]])
    for fmt in ("channels_last", "channels_first"):
        first = fmt == "channels_first"
        inputs = np.swapaxes(a, 1, 2).copy() if first else a
        label = "first" if first else "last"
        for keep in (False, True):
            arguments = {"data_format": fmt, "keepdims": keep}
            tail = f"{label}{'_keepdims' if keep else ''}"
            yield f"average_pool_{tail}", layers.GlobalAveragePooling1D(**arguments), inputs, [], None
            yield f"average_pool_mask_{tail}", layers.GlobalAveragePooling1D(**arguments), inputs, [], some
            yield f"max_pool_{tail}", layers.GlobalMaxPooling1D(**arguments), inputs, [], None
    yield "average_pool_implicit", layers.GlobalAveragePooling1D(), a, [some], None
    yield "average_pool_mixed_bfloat16", layers.GlobalAveragePooling1D(dtype="mixed_bfloat16"), a, [some], None
    ties = a.copy()
    ties[:, 1] = ties[:, 0]
    yield "max_pool_ties", layers.GlobalMaxPooling1D(), ties, [some], None
    yield "max_pool_mixed_bfloat16", layers.GlobalMaxPooling1D(dtype="mixed_bfloat16"), a, [], None


# ------------------------------------------------------------------ operations
def listed(results):
    return list(results) if isinstance(results, (list, tuple)) else [results]


def operation_case(name, function, operands):
    """function: of symbolic tensors, one op node; operands: arrays."""
    operands = [np.asarray(x) for x in operands]
    symbols = [keras.KerasTensor(x.shape, dtype=str(x.dtype)) for x in operands]
    node = listed(function(*symbols))[0]._keras_history.operation
    arguments = node._inbound_nodes[-1].arguments

    def encoded(value):
        for i, symbol in enumerate(symbols):
            if value is symbol:
                return {"tensor": f"operand.{i}"}
        if isinstance(value, (list, tuple)):
            return [encoded(v) for v in value]
        return keras.saving.serialize_keras_object(value)

    floats = [i for i, x in enumerate(operands) if is_float(x)]
    outputs = {"output" + (f".{i}" if i else ""): y
               for i, y in enumerate(listed(function(*[jnp.asarray(x) for x in operands])))}
    tensors = {f"operand.{i}": x for i, x in enumerate(operands)}
    tensors.update({f"expect.{k}": y for k, y in outputs.items()})
    expect = [f"expect.{k}" for k in outputs]
    rng = rng_of(name)
    cotangents = {k: rng.standard_normal(y.shape).astype(np.float32) for k, y in outputs.items() if is_float(y)}
    if cotangents:
        tensors.update({f"cotangent.{k}": c for k, c in cotangents.items()})

        def loss(xs):
            filled = [jnp.asarray(x) for x in operands]
            for i, x in zip(floats, xs):
                filled[i] = x
            made = dict(zip(outputs, listed(function(*filled))))
            return sum(jnp.sum(made[k].astype("float32") * c) for k, c in cotangents.items())

        for i, g in zip(floats, jax.grad(loss)([jnp.asarray(operands[i]) for i in floats])):
            tensors[f"grad.operand.{i}"] = g.astype("float32")
            expect.append(f"grad.operand.{i}")
    types = [str(v.dtype) for v in (*outputs.values(), *operands) if str(v.dtype) in EPS]
    compute = max(types or ["float32"], key=EPS.get)  # gradients are rounded to their operand's type
    document = {"name": name, "module": type(node).__module__, "class_name": type(node).__name__,
            "config": node.get_config(),
            "args": [encoded(v) for v in arguments.args],
            "kwargs": {k: encoded(v) for k, v in arguments.kwargs.items()}, "expect": expect,
            "tolerance": tolerances(expect, tensors, compute)}
    return document, {f"{name}/{k}": v for k, v in tensors.items()}


def operation_cases():
    rng = rng_of("operations")

    def x(*shape, dtype="float32"):
        return jnp.asarray(rng.standard_normal(shape).astype(np.float32)).astype(dtype)

    def positive(*shape):
        return jnp.abs(x(*shape)) + 0.1

    ids = jnp.asarray(rng.integers(0, 4, (2, 5)), "int32")
    flags, others = ids > 1, ids % 2 == 0
    a, b, row = x(2, 3, 4), x(2, 3, 4), x(3, 1)
    half = x(2, 3, dtype="bfloat16")
    two = {"add": ops.add, "subtract": ops.subtract, "multiply": ops.multiply, "maximum": ops.maximum,
           "minimum": ops.minimum, "divide": ops.divide, "true_divide": ops.true_divide, "mod": ops.mod,
           "floor_divide": ops.floor_divide}
    for name, f in two.items():
        yield name, f, [a, b]
        yield f"{name}_broadcast", f, [a, row]
        yield f"{name}_literal", (lambda f: lambda t: f(t, 2))(f), [a]
        yield f"{name}_literal_first", (lambda f: lambda t: f(0.5, t))(f), [a]
        yield f"{name}_ids", (lambda f: lambda t: f(t, 3))(f), [ids]
        yield f"{name}_ids_float", (lambda f: lambda t: f(t, 1.5))(f), [ids]
        yield f"{name}_bfloat16", (lambda f: lambda t: f(t, 0.3))(f), [half]
        yield f"{name}_ids_and_floats", f, [ids, x(2, 5)]
    yield "power", ops.power, [positive(2, 3), x(2, 3)]
    yield "power_two", lambda t: t**2, [a]
    yield "power_half", lambda t: ops.power(t, 0.5), [positive(2, 3)]
    yield "power_ids", lambda t: ops.power(t, 3), [ids]
    yield "add_bools", ops.add, [flags, others]
    yield "multiply_bools", ops.multiply, [flags, others]
    yield "add_bool_int", lambda t: t + 1, [flags]
    yield "add_keyword", lambda t: ops.add(t, x2=1), [a]
    for name in ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal"):
        f = getattr(ops, name)
        yield name, f, [ids, ids[:, ::-1]]
        yield f"{name}_literal", (lambda f: lambda t: f(t, 1))(f), [ids]
        yield f"{name}_float_literal", (lambda f: lambda t: f(t, 0.25))(f), [a]
        yield f"{name}_ids_float", (lambda f: lambda t: f(t, 1.5))(f), [ids]
    for name in ("logical_and", "logical_or", "logical_xor"):
        yield name, getattr(ops, name), [flags, others]
        yield f"{name}_ids", getattr(ops, name), [ids, flags]
    yield "logical_not", ops.logical_not, [flags]
    yield "logical_not_ids", ops.logical_not, [ids]
    for name in ("absolute", "negative", "square"):
        yield name, getattr(ops, name), [a]
        yield f"{name}_ids", getattr(ops, name), [ids]
    for name in ("exp", "tanh", "sin", "cos"):
        yield name, getattr(ops, name), [a]
        yield f"{name}_bfloat16", getattr(ops, name), [half]
        yield f"{name}_ids", getattr(ops, name), [ids]
    for name in ("sqrt", "log", "reciprocal", "rsqrt"):
        yield name, getattr(ops, name), [positive(2, 3)]
    for name in ("sigmoid", "silu", "relu", "gelu", "softmax"):
        yield name, getattr(ops, name), [a]
    yield "gelu_exact", lambda t: ops.gelu(t, approximate=False), [a]
    yield "where", ops.where, [flags, x(2, 5), x(2, 5)]
    yield "where_literal", lambda c, t: ops.where(c, t, 0.0), [flags[:, :, None], x(2, 5, 3)]
    yield "where_ids", lambda c, t: ops.where(c, t, -1), [flags, ids]
    yield "clip", lambda t: ops.clip(t, -0.5, 1), [a]
    yield "clip_ids", lambda t: ops.clip(t, 1, 2), [ids]
    yield "cast_bool_float", lambda t: ops.cast(t, "float32"), [flags]
    yield "cast_float_int", lambda t: ops.cast(t, "int32"), [3 * a]
    yield "cast_float_half", lambda t: ops.cast(t, "bfloat16"), [a]
    yield "cast_half_float", lambda t: ops.cast(t, "float32"), [half]
    yield "cast_float_bool", lambda t: ops.cast(t, "bool"), [a]
    yield "stop_gradient", ops.stop_gradient, [a]
    yield "expand_dims", lambda t: ops.expand_dims(t, 1), [a]
    yield "expand_dims_last", lambda t: ops.expand_dims(t, -1), [ids]
    yield "expand_dims_two", lambda t: ops.expand_dims(t, (1, -1)), [a]
    yield "squeeze", lambda t: ops.squeeze(t, 1), [x(2, 1, 4)]
    yield "squeeze_all", lambda t: ops.squeeze(t), [x(2, 1, 4, 1)]
    yield "reshape", lambda t: ops.reshape(t, (-1, 6)), [a]
    yield "transpose", lambda t: ops.transpose(t, (0, 2, 1)), [a]
    yield "transpose_all", ops.transpose, [a]
    yield "swapaxes", lambda t: ops.swapaxes(t, 1, -1), [a]
    yield "broadcast_to", lambda t: ops.broadcast_to(t, (2, 3, 4)), [x(3, 1)]
    yield "get_item_last", lambda t: t[:, -1], [a]
    yield "get_item_slice", lambda t: t[:, 1:3, ::2], [a]
    yield "get_item_new_axis", lambda t: t[..., None], [ids]
    yield "get_item_middle", lambda t: t[:, None, ..., 1], [a]
    yield "get_item_back", lambda t: t[:, ::-1], [a]
    for name in ("mean", "sum", "max", "min"):
        f = getattr(ops, name)
        yield f"{name}_all", f, [a]
        yield f"{name}_time", (lambda f: lambda t: f(t, axis=1))(f), [a]
        yield f"{name}_last", (lambda f: lambda t: f(t, axis=-1, keepdims=True))(f), [a]
        yield f"{name}_two", (lambda f: lambda t: f(t, axis=(0, 2)))(f), [a]
        yield f"{name}_ids", (lambda f: lambda t: f(t, axis=1))(f), [ids]
        yield f"{name}_bfloat16", (lambda f: lambda t: f(t, axis=1))(f), [half]
    yield "max_ties", lambda t: ops.max(t, axis=1), [jnp.round(a)]
    yield "sum_bools", lambda t: ops.sum(t, axis=1), [flags]
    yield "mean_bools", lambda t: ops.mean(t, axis=1), [flags]
    yield "any", lambda t: ops.any(t, axis=1), [flags]
    yield "all_ids", lambda t: ops.all(t, axis=0, keepdims=True), [ids]
    yield "concatenate", lambda s, t: ops.concatenate([s, t], axis=1), [a, x(2, 2, 4)]
    yield "concatenate_types", lambda s, t: ops.concatenate([s, t], axis=-1), [ids, x(2, 2)]
    yield "stack", lambda s, t: ops.stack([s, t], axis=1), [a, b]


def write(path, key, cases):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"keras": keras.__version__, "backend": "jax", key: cases}, indent=1) + "\n")


def main():
    made = []
    for name, layer, inputs, masks, given in layer_cases():
        made.append(layer_case(name, layer, inputs, masks, given))
    write(HERE / "cases.json", "cases", made)
    operations = [operation_case(*case) for case in operation_cases()]
    folder = HERE.parent / "keras_operations"
    write(folder / "cases.json", "cases", [document for document, _ in operations])
    save(folder / "tensors.safetensors", {k: v for _, tensors in operations for k, v in tensors.items()})
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    y = ops.concatenate([a, b], axis=1)
    z = ops.where(ops.stack([a, b], axis=1) > 0.5, 1.0, 2 * ops.expand_dims(y[:, 1:3], 1))
    model = keras.Model([a, b], [y, z], name="m")
    (folder / "model.json").write_text(json.dumps(json.loads(model.to_json()), indent=1) + "\n")
    print(len(made), "layer cases,", len(operations), "operation cases")


if __name__ == "__main__":
    main()
