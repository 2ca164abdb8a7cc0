#!/usr/bin/env python3
"""Golden vectors of recurrent layers, of wrappers and of preprocessing, by Keras 3.15.1 on JAX (CPU).

    python generate_recurrent.py [recurrent] [wrappers]    # writes ../keras_recurrent, ../keras_wrappers

The format is that of generate_around.py. Layers with several outputs have `expect.output`,
`expect.output_1`, ..., each with its cotangent. Initial states are operands of the layer, `states.s1`,
`states.s2`, ... in order, under the call's keys `initial_state`, `initial_state_1`, ...
A case that trains draws its dropout masks from the layer's seed.
"""
import json
import sys

from generate_around import (HERE, backend, jax, jnp, keras, layers, np, rng_of, save, tolerances,
                             wide)

L = layers


def without_numbers_of_objects(value):
    if isinstance(value, dict):
        return {k: without_numbers_of_objects(v) for k, v in value.items() if k != "shared_object_id"}
    return [without_numbers_of_objects(v) for v in value] if isinstance(value, (list, tuple)) else value


def case(folder, name, layer, x, mask=None, states=(), training=False, operands=None, seed=None,
         given_mask=None):
    """`operands`: further ones by their names, such as count_weights. `seed`: what the configuration lacks."""
    operands = operands or {}
    rng = rng_of(name)
    x = np.asarray(x)
    is_float = np.issubdtype(x.dtype, np.floating)

    def call(x, states):
        x = jnp.asarray(x)
        if mask is not None:
            backend.set_keras_mask(x, jnp.asarray(mask))
        given = {"initial_state": list(states)} if states and not operands else {}
        given |= dict(zip(operands, states))
        if given_mask is not None:
            given["mask"] = jnp.asarray(given_mask)
        if getattr(layer, "_call_has_training_arg", False):
            given["training"] = training
        out = layer(x, **given)
        return list(out) if isinstance(out, (list, tuple)) else [out]

    states = list(states) + list(operands.values())
    if not layer.built:
        layer.build(x.shape)
    for v in layer.weights:
        v.assign(0.7 * np.abs(rng.standard_normal(v.shape)) if v.name == "variance" else
                 0.7 * rng.standard_normal(v.shape).astype(np.float32))
    if hasattr(layer, "finalize_state"):
        layer.finalize_state()
    trained = layer.trainable_weights
    seeds = [v for v in layer.variables if v.path.endswith("seed_generator_state")]
    starts = [jnp.asarray(v.value) for v in seeds]

    def run(weights, x, states):
        mapping = list(zip(trained, weights)) + list(zip(seeds, starts))
        with keras.StatelessScope(state_mapping=mapping):
            return keras.tree.flatten(call(x, states))

    weights = [jnp.asarray(v.value) for v in trained]
    outputs = run(weights, x, states)
    masks = [backend.get_keras_mask(y) for y in outputs]
    cotangents = [rng.standard_normal(y.shape).astype(np.float32) for y in outputs]

    def loss(weights, x, states):
        made = run(weights, x, states)
        return sum(jnp.sum(y.astype("float32") * c) for y, c in zip(made, cotangents)), made

    argnums = (0, 1, 2) if is_float else (0, 2)
    (value, outputs), gradients = jax.value_and_grad(loss, argnums=argnums, has_aux=True)(
        weights, jnp.asarray(x), [jnp.asarray(s) for s in states])
    def path_of(v):  # those of a model inside have its name first, not the wrapper's
        return v.path if v.path.startswith("inner/") else v.path.split("/", 1)[1]

    paths = [path_of(v) for v in layer.weights]
    trained_paths = [path_of(v) for v in trained]
    names = ["output"] + [f"output_{i}" for i in range(1, len(outputs))]
    tensors = {"inputs.x": x}
    tensors |= {f"states.s{i + 1}": np.asarray(s) for i, s in enumerate(states)}
    for path, v in zip(paths, layer.weights):  # a counter is a float here
        tensors[path] = np.asarray(v.value) if v.name != "count" else np.float32(v.value)
    for n, y, c in zip(names, outputs, cotangents):
        tensors[f"cotangent.{n}"] = c.astype(y.dtype)
        tensors[f"expect.{n}"] = y
    tensors["expect.loss"] = np.asarray(value, np.float32).reshape(())
    tensors["expect.output_mask"] = np.zeros(0, bool) if masks[0] is None else np.asarray(masks[0])
    tensors |= {f"grad.{p}": g for p, g in zip(trained_paths, gradients[0])}
    if is_float:
        tensors["grad.inputs.x"] = gradients[1]
    tensors |= {f"grad.states.s{i + 1}": g for i, g in enumerate(gradients[-1])}
    operand = "sequences" if hasattr(layer, "return_sequences") else "inputs"
    document = {operand: "inputs.x", "training": training}
    state_names = list(operands) or ["initial_state" + (f"_{i}" if i else "") for i in range(len(states))]
    for i, key in enumerate(state_names):
        document[key] = f"states.s{i + 1}"
    if mask is not None:
        tensors["masks.x1"] = np.asarray(mask)
        document["implicit_masks"] = {operand: "masks.x1"}
    if given_mask is not None:
        tensors["masks.given"] = np.asarray(given_mask)
        document["mask"] = "masks.given"
    expect = [n for n in tensors if n.startswith(("expect.", "grad."))]
    compute = layer.compute_dtype
    limits = tolerances([n for n in expect if n not in ("expect.output_mask", "expect.loss")], tensors, compute)
    total = sum(float(np.abs(wide(y) * wide(c)).sum()) for y, c in zip(outputs, cotangents))
    k = 16 if compute == "float32" else 4
    eps = {"float32": 2.0**-23, "bfloat16": 2.0**-8, "float16": 2.0**-10}[compute]
    limits["expect.loss"] = {"max_abs_value": total, "atol": k * eps * max(total, 1e-3)}
    save(HERE.parent / folder / "layers" / f"{name}.safetensors", tensors)
    return {
        "name": name, "kind": "layer", "layer": type(layer).__name__, "file": f"layers/{name}.safetensors",
        "config": without_numbers_of_objects(layer.get_config() | ({"seed": seed} if seed else {})), "dtype_policy": layer.dtype_policy.name, "compute_dtype": compute,
        "weights": paths, "call": document, "outputs": names, "loss": {"add_layer_losses": False}, "tags": [],
        "expect": expect, "tolerance": limits,
    }


def recurrent_cases():
    rng = rng_of("recurrent")

    def x(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    padded = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 0, 1]], bool)
    kinds = {"lstm": (L.LSTM, {}), "gru": (L.GRU, {}), "gru_before": (L.GRU, {"reset_after": False}),
             "simple_rnn": (L.SimpleRNN, {})}
    rules = {"kernel_initializer": "he_normal", "recurrent_initializer": "glorot_uniform",
             "bias_initializer": "ones", "kernel_regularizer": "l2", "recurrent_regularizer": "l1",
             "bias_regularizer": "l2", "kernel_constraint": "max_norm", "bias_constraint": "non_neg"}
    options = {
        "both": {"return_sequences": True, "return_state": True},
        "both_mask": {"return_sequences": True, "return_state": True}, "last_mask": {},
        "backwards_mask": {"return_sequences": True, "return_state": True, "go_backwards": True},
        "unroll_mask": {"return_sequences": True, "unroll": True},
        "zero_mask": {"return_sequences": True, "zero_output_for_mask": True},
        "softmax": {"activation": "softmax", "use_bias": False},
        "dropout": {"dropout": 0.3, "seed": 5, "return_sequences": True},
        "recurrent_dropout": {"recurrent_dropout": 0.4, "seed": 6, "return_sequences": True},
        "dropouts_mask": {"dropout": 0.3, "recurrent_dropout": 0.4, "seed": 7, "return_state": True},
        "mixed_bfloat16_mask": {"dtype": "mixed_bfloat16", "return_sequences": True},
        "mixed_float16": {"dtype": "mixed_float16", "return_state": True},
    }
    for kind, (make, extra) in kinds.items():
        for label, given in options.items():
            if kind in ("gru_before", "simple_rnn") and label in ("softmax", "mixed_float16"):
                continue
            mask = padded if label.endswith("_mask") else None
            yield case("keras_recurrent", f"{kind}_{label}", make(3, **given, **extra), x(3, 5, 2), mask, training="dropout" in label,
                       seed=given.get("seed"))
        if kind != "simple_rnn":
            yield case("keras_recurrent", f"{kind}_gate", make(3, recurrent_activation="softmax", activation="elu", **extra), x(3, 5, 2))
        states = [x(3, 3) for _ in range(2 if kind == "lstm" else 1)]
        for label, given in {"plain": {}, "unroll": {"unroll": True}}.items():
            layer = make(3, return_sequences=True, return_state=True, **given, **extra)
            yield case("keras_recurrent", f"{kind}_initial_{label}", layer, x(3, 5, 2), padded, states)
            yield case("keras_recurrent", f"{kind}_given_{label}", layer, x(3, 5, 2), None, states, given_mask=padded)
    yield case("keras_recurrent", "lstm_rules", L.LSTM(3, **rules), x(1, 1, 2))
    yield case("keras_recurrent", "lstm_no_forget", L.LSTM(3, unit_forget_bias=False), x(3, 5, 2))
    stack = [L.LSTMCell(3), L.GRUCell(4), L.SimpleRNNCell(2), L.LSTMCell(3, use_bias=False)]
    for label, given in {"last": {}, "all": {"return_sequences": True, "return_state": True, "go_backwards": True}}.items():
        for mask in (None, padded):
            name = f"rnn_{label}" + ("" if mask is None else "_mask")
            yield case("keras_recurrent", f"{name}_one", L.RNN(L.GRUCell(3, reset_after=False), **given), x(3, 5, 2), mask)
            cells = [type(c).from_config(dict(c.get_config(), name=f"cell_{i}")) for i, c in enumerate(stack)]
            yield case("keras_recurrent", f"{name}_stack", L.RNN(cells, **given), x(3, 5, 2), mask)


def wrapper_cases():
    rng = rng_of("wrappers")

    def x(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    def make(name, *arguments, **given):
        return case("keras_wrappers", name, *arguments, **given)

    padded = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 0, 1]], bool)
    for mode in ("concat", "sum", "mul", "ave", None):
        label = mode or "both"
        yield make(f"bidirectional_{label}_mask", L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode=mode),
                   x(3, 5, 2), padded)
        yield make(f"bidirectional_{label}_last", L.Bidirectional(L.GRU(3), merge_mode=mode), x(3, 5, 2), padded)
    both = {"return_sequences": True, "return_state": True}
    states = [x(3, 3) for _ in range(4)]
    yield make("bidirectional_states", L.Bidirectional(L.LSTM(3, **both)), x(3, 5, 2), padded, states)
    yield make("bidirectional_state_both", L.Bidirectional(L.GRU(3, return_state=True), merge_mode=None),
               x(3, 5, 2), padded, states[:2])
    yield make("bidirectional_other", L.Bidirectional(
        L.LSTM(3, return_sequences=True, name="ahead"),
        backward_layer=L.GRU(2, activation="relu", return_sequences=True, go_backwards=True, name="back")),
        x(3, 5, 2), padded)
    yield make("bidirectional_turned", L.Bidirectional(
        L.SimpleRNN(3, return_sequences=True, go_backwards=True), backward_layer=L.SimpleRNN(3, return_sequences=True)),
        x(3, 5, 2), padded)
    yield make("bidirectional_cells", L.Bidirectional(L.RNN([L.LSTMCell(3), L.GRUCell(2)], return_sequences=True)),
               x(3, 5, 2), padded)
    yield make("bidirectional_dropout", L.Bidirectional(L.LSTM(3, dropout=0.3, recurrent_dropout=0.2, seed=9)),
               x(3, 5, 2), training=True)
    yield make("bidirectional_mixed_bfloat16", L.Bidirectional(
        L.GRU(3, return_sequences=True, dtype="mixed_bfloat16"), dtype="mixed_bfloat16", merge_mode="ave"), x(3, 5, 2))
    yield make("distributed_dense", L.TimeDistributed(L.Dense(3, activation="tanh")), x(3, 5, 2), padded)
    yield make("distributed_dense_images", L.TimeDistributed(L.Dense(3)), x(2, 2, 3, 2))
    yield make("distributed_lstm", L.TimeDistributed(L.LSTM(3)), x(3, 4, 5, 2), np.stack([padded] * 4, 1))
    yield make("distributed_dropout", L.TimeDistributed(L.Dropout(0.4, seed=3)), x(3, 5, 2), training=True)
    yield make("distributed_softmax", L.TimeDistributed(L.Softmax()), x(3, 4, 5), np.stack([padded] * 4, 1))
    yield make("distributed_flatten", L.TimeDistributed(L.Flatten()), x(2, 3, 2, 2))
    inner = keras.Sequential([keras.Input((2,)), L.Dense(4, activation="relu"), L.Dense(3)], name="inner")
    yield make("distributed_model", L.TimeDistributed(inner), x(3, 5, 2))
    yield make("distributed_twice", L.TimeDistributed(L.TimeDistributed(L.Dense(2))), x(2, 3, 2, 3))
    yield make("distributed_mixed_bfloat16", L.TimeDistributed(
        L.Dense(3, dtype="mixed_bfloat16"), dtype="mixed_bfloat16"), x(3, 5, 2))
    ids = rng.integers(-1, 7, (3, 4)).astype(np.int32)
    yield make("rescaling", L.Rescaling(1 / 127.5, offset=-1), x(2, 3, 4), padded[:2, :3])
    yield make("rescaling_lists", L.Rescaling([0.5, 2.0, 3.0], offset=[1.0, 0.0, -1.0]), x(2, 3))
    yield make("rescaling_ids", L.Rescaling(0.1), ids)
    yield make("rescaling_mixed_bfloat16", L.Rescaling(0.3, 0.1, dtype="mixed_bfloat16"), x(2, 3))
    for label, given in {"weights": {}, "two": {"axis": [1, -1]}, "none": {"axis": None}, "invert": {"invert": True}}.items():
        yield make(f"normalization_{label}", L.Normalization(**given), x(2, 3, 4))
    yield make("normalization_given", L.Normalization(mean=[1.0, 2, 3, 4], variance=[1.0, 2, 0, 4]), x(2, 3, 4))
    yield make("normalization_number", L.Normalization(mean=0.5, variance=2.0, invert=True), x(2, 3, 4), padded[:2, :3])
    yield make("normalization_fewer", L.Normalization(axis=(1, 2), mean=[1.0, 2, 3, 4], variance=[1.0, 2, 1, 4]), x(2, 3, 4))
    yield make("normalization_mixed_bfloat16", L.Normalization(dtype="mixed_bfloat16"), x(2, 4))
    for mode in ("one_hot", "multi_hot", "count"):
        for label, given in {"one": ids[:, :1], "row": ids[:, 0], "many": ids, "floats": ids.astype(np.float32) + 0.25 * (ids > 4)}.items():
            yield make(f"category_{mode}_{label}", L.CategoryEncoding(6, mode), given)
    yield make("category_weights", L.CategoryEncoding(6, "count"), ids, operands={"count_weights": x(3, 4)})


def main():
    for folder, cases in {"recurrent": recurrent_cases, "wrappers": wrapper_cases}.items():
        if sys.argv[1:] and folder not in sys.argv[1:]:
            continue
        made = list(cases())
        where = HERE.parent / f"keras_{folder}"
        where.mkdir(parents=True, exist_ok=True)
        document = {"keras": keras.__version__, "cases": made}
        (where / "cases.json").write_text(json.dumps(document, separators=(",", ":")))
        print(folder, len(made), sum(f.stat().st_size for f in where.rglob("*") if f.is_file()))


if __name__ == "__main__":
    main()
