#!/usr/bin/env python3
"""Golden vectors of KerasHub's layers and models, by keras-hub 0.32.0 on Keras 3.15.1 with JAX (CPU).

    pip install "keras==3.15.1" keras-hub==0.32.0 jax safetensors numpy
    python generate_hub.py            # writes beside itself

Layers: cases.json in the format of ../keras_layers, with Keras's keywords in `call`. Models:
models/NAME.keras as Keras saves it (its members compressed), and models/NAME.safetensors with
`inputs.KEY`, `expect.output[.N]`, and `grad.N`, the gradient of sum(output * cotangent.output[.N])
to the N-th trainable variable in the order of the model's.
"""
import importlib.util
import json
import os
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("around", HERE.parent / "keras_layers" / "generate_around.py")
around = importlib.util.module_from_spec(spec)
spec.loader.exec_module(around)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import keras  # noqa: E402
import keras_hub  # noqa: E402
import numpy as np  # noqa: E402
from keras.src import backend  # noqa: E402

H = keras_hub.layers


def layer_case(name, layer, tensors, masks=None, **settings):
    """tensors: the call's arguments that are arrays; masks: attached ones, by argument."""
    rng = around.rng_of(name)
    masks = masks or {}

    def call(arrays):
        arrays = {k: jnp.asarray(v) for k, v in arrays.items()}
        for k, m in masks.items():
            backend.set_keras_mask(arrays[k], jnp.asarray(m))
        made = layer(**arrays, **settings)
        return made if isinstance(made, tuple) else (made,)

    first = call(tensors)
    for v in layer.weights:
        v.assign(0.5 * rng.standard_normal(v.shape).astype(np.float32))
    weights = [jnp.asarray(v.value) for v in layer.weights]
    names = ["output", "attention_scores"][:len(first)]
    cotangents = [rng.standard_normal(y.shape).astype(np.float32) for y in first]
    floats = [k for k, x in tensors.items() if around.is_float(jnp.asarray(x))]

    def loss(weights, xs):
        with keras.StatelessScope(state_mapping=list(zip(layer.weights, weights))):
            ys = call(tensors | dict(zip(floats, xs)))
        return sum(jnp.sum(y.astype("float32") * c) for y, c in zip(ys, cotangents)), ys

    mask = backend.get_keras_mask(call(tensors)[0])
    (value, ys), (d_weights, d_inputs) = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
        weights, [jnp.asarray(tensors[k]) for k in floats])
    paths = [v.path.split("/", 1)[1] for v in layer.weights]
    stored = {f"inputs.{k}": x for k, x in tensors.items()} | dict(zip(paths, weights))
    for n, y, c in zip(names, ys, cotangents):
        stored[f"cotangent.{n}"] = c.astype(y.dtype)
        stored[f"expect.{n}"] = y
    stored["expect.loss"] = np.asarray(value, np.float32).reshape(())
    stored["expect.output_mask"] = np.zeros(0, bool) if mask is None else np.asarray(mask)
    stored |= {f"grad.{p}": g for p, g in zip(paths, d_weights)}
    stored |= {f"grad.inputs.{k}": g for k, g in zip(floats, d_inputs)}
    stored |= {f"masks.{k}": np.asarray(m) for k, m in masks.items()}
    expect = [n for n in stored if n.startswith(("expect.", "grad."))]
    document = {k: f"inputs.{k}" for k in tensors} | settings
    if masks:
        document["implicit_masks"] = {k: f"masks.{k}" for k in masks}
    compute = layer.compute_dtype
    around.save(HERE / "layers" / f"{name}.safetensors", stored)
    registered = keras.saving.get_registered_name(type(layer))
    config = keras.saving.serialize_keras_object(layer)["config"]
    return {
        "name": name, "kind": "layer", "layer": registered if ">" in registered else type(layer).__name__,
        "file": f"layers/{name}.safetensors", "config": config, "dtype_policy": layer.dtype_policy.name,
        "compute_dtype": compute, "weights": paths, "call": document, "loss": {"add_layer_losses": False},
        "tags": [], "expect": expect,
        "tolerance": around.tolerances(
            [n for n in expect if n != "expect.output_mask"],
            stored if len(ys) == 1 else stored | {"expect.output": np.concatenate(
                [around.wide(y).reshape(-1) for y in ys]), "cotangent.output": np.concatenate(
                [c.reshape(-1) for c in cotangents])}, compute),
    }


def layer_cases():
    rng = around.rng_of("hub")

    def x(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    def lengths(width, *counts):
        return np.arange(width)[None, :] < np.asarray(counts)[:, None]

    def allowed(*shape):
        m = rng.random(shape) < 0.6
        m[0, 0] = False  # a query that sees nothing
        return m

    ids = rng.integers(1, 9, (2, 5)).astype(np.int32)
    ids[1, 3:] = 0
    places = np.asarray([[4, 1, 0, 2, 2], [0, 1, 2, 3, 4]], np.int32)
    real = lengths(5, 5, 3)
    ints = real.astype(np.int32)
    a = x(2, 5, 8)
    e = x(2, 4, 8)
    for label, extra in {"": {}, "_start": {"start_index": 2}}.items():
        yield f"position{label}", H.PositionEmbedding(7), {"inputs": a}, {}, extra
        yield f"sine{label}", H.SinePositionEncoding(), {"inputs": a}, {}, extra
        yield f"rotary{label}", H.RotaryEmbedding(), {"inputs": a}, {}, extra
        yield f"tokens_positions{label}", H.TokenAndPositionEmbedding(9, 7, 8, mask_zero=True), {"inputs": ids}, {}, extra
    yield "position_start_beyond", H.PositionEmbedding(7), {"inputs": a}, {}, {"start_index": 5}
    yield "position_given", H.PositionEmbedding(7), {"inputs": a, "positions": places}, {}, {}
    yield "position_row", H.PositionEmbedding(7, initializer="zeros"), {"inputs": a, "positions": places[0]}, {}, {}
    yield "position_rank4", H.PositionEmbedding(7), {"inputs": x(2, 3, 5, 4)}, {}, {}
    yield "position_mixed", H.PositionEmbedding(7, dtype="mixed_bfloat16"), {"inputs": a}, {"inputs": real}, {}
    yield "sine_wavelength", H.SinePositionEncoding(max_wavelength=100), {"inputs": x(2, 5, 7), "positions": places}, {}, {}
    for label, options in {"linear": {"scaling_factor": 2.0, "max_wavelength": 500}, "dynamic": {"rope_type": "dynamic", "scaling_factor": 3.0},
                           "yarn": {"rope_type": "yarn", "scaling_factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 8.0},
                           "yarn_whole": {"rope_type": "yarn", "scaling_factor": 4.0, "truncate": False, "original_max_position_embeddings": 32},
                           "other": {"rope_type": "none", "scaling_factor": 2.0, "denominator_dim": 16}}.items():
        yield f"rotary_{label}", H.RotaryEmbedding(**options), {"inputs": x(2, 5, 3, 8)}, {}, {}
    yield "rotary_axes", H.RotaryEmbedding(sequence_axis=-1, feature_axis=1), {"inputs": x(2, 6, 3, 5)}, {}, {}
    yield "rotary_given", H.RotaryEmbedding(), {"inputs": x(2, 5, 2, 4), "positions": places}, {}, {}
    yield "tokens_positions_untied", H.TokenAndPositionEmbedding(9, 5, 6, tie_weights=False, embeddings_initializer="glorot_normal"), {"inputs": ids}, {}, {}
    yield "tokens_positions_given", H.TokenAndPositionEmbedding(9, 5, 6), {"inputs": ids, "positions": places}, {}, {}
    R = keras.layers.ReversibleEmbedding
    yield "reversible", R(9, 4, mask_zero=True), {"inputs": ids}, {}, {}
    yield "reversible_hub", H.ReversibleEmbedding(9, 4), {"inputs": x(2, 3, 4)}, {}, {"reverse": True}
    yield "reversible_untied", R(9, 4, tie_weights=False), {"inputs": x(2, 3, 4)}, {}, {"reverse": True}
    yield "reversible_capped", R(9, 4, logit_soft_cap=0.5, reverse_dtype="float32"), {"inputs": x(2, 3, 4)}, {}, {"reverse": True}
    yield "head", H.MaskedLMHead(vocabulary_size=9, activation="softmax"), {"inputs": a, "mask_positions": np.asarray([[0, 3, 3], [4, -1, 2]], np.int32)}, {}, {}
    yield "head_gelu", H.MaskedLMHead(vocabulary_size=9, intermediate_activation="gelu", layer_norm_epsilon=1e-3), {"inputs": a, "mask_positions": places[:, :2]}, {}, {}
    C = H.CachedMultiHeadAttention
    yield "cached", C(2, 4), {"query": a, "value": e}, {"query": real}, {}
    yield "cached_mask", C(2, 4, dropout=0.1), {"query": a, "value": a, "attention_mask": allowed(2, 5, 5)}, {"query": real, "value": real}, {}
    yield "cached_scores", C(2, 4, value_dim=3), {"query": a, "value": e, "attention_mask": allowed(2, 5, 4)}, {}, {"return_attention_scores": True}
    for first in (False, True):
        tail = "_first" if first else ""
        E = lambda **o: H.TransformerEncoder(6, 2, normalize_first=first, **o)
        D = lambda **o: H.TransformerDecoder(6, 2, normalize_first=first, **o)
        yield f"encoder{tail}", E(), {"inputs": a}, {}, {}
        yield f"encoder_attached{tail}", E(dropout=0.1), {"inputs": a}, {"inputs": real}, {}
        yield f"encoder_padding{tail}", E(activation="gelu"), {"inputs": a, "padding_mask": ints}, {}, {}
        yield f"encoder_both{tail}", E(), {"inputs": a, "padding_mask": real, "attention_mask": allowed(2, 5, 5)}, {"inputs": lengths(5, 4, 5)}, {}
        yield f"decoder{tail}", D(), {"decoder_sequence": a}, {}, {}
        yield f"decoder_attached{tail}", D(dropout=0.2), {"decoder_sequence": a}, {"decoder_sequence": real}, {}
        yield f"decoder_padding{tail}", D(), {"decoder_sequence": a, "decoder_padding_mask": lengths(5, 5, 3)[:, ::-1].copy()}, {}, {}
        yield f"decoder_cross{tail}", D(), {"decoder_sequence": a, "encoder_sequence": e}, {"encoder_sequence": lengths(4, 2, 4)}, {}
        yield f"decoder_all{tail}", D(layer_norm_epsilon=1e-3), {
            "decoder_sequence": a, "encoder_sequence": e, "decoder_padding_mask": ints, "decoder_attention_mask": allowed(2, 5, 5),
            "encoder_padding_mask": lengths(4, 3, 4), "encoder_attention_mask": allowed(2, 5, 4)}, {}, {"use_causal_mask": False}
    yield "encoder_scores", H.TransformerEncoder(6, 2), {"inputs": a, "padding_mask": real}, {}, {"return_attention_scores": True}
    yield "encoder_gelu_approximate", H.TransformerEncoder(
        6, 2, activation=keras_hub.src.utils.keras_utils.gelu_approximate, kernel_initializer="he_normal", bias_initializer="ones"), {"inputs": a}, {}, {}
    yield "encoder_mixed", H.TransformerEncoder(6, 2, dtype="mixed_bfloat16"), {"inputs": a}, {"inputs": real}, {}
    yield "decoder_mixed", H.TransformerDecoder(6, 2, dtype="mixed_bfloat16"), {"decoder_sequence": a}, {"decoder_sequence": real}, {}
    yield "head_mixed", H.MaskedLMHead(vocabulary_size=9, dtype="mixed_bfloat16"), {"inputs": a, "mask_positions": places[:, :2]}, {}, {}


# -------------------------------------------------------------------- models
M = keras_hub.models
BERT = dict(vocabulary_size=11, num_layers=1, num_heads=2, hidden_dim=6, intermediate_dim=5, max_sequence_length=9)
LLAMA = dict(vocabulary_size=11, num_layers=1, num_query_heads=4, hidden_dim=8, intermediate_dim=6, num_key_value_heads=2)
GEMMA = dict(vocabulary_size=11, num_layers=2, num_query_heads=4, num_key_value_heads=2, hidden_dim=8, intermediate_dim=12, head_dim=4)
GEMMA_2 = dict(GEMMA, query_head_dim_normalize=False, use_post_ffw_norm=True, use_post_attention_norm=True, final_logit_soft_cap=3.0,
               attention_logit_soft_cap=1.5, sliding_window_size=3, use_sliding_window_attention=True)
FREQUENCIES = dict(rope_frequency_adjustment_factor=4.0, rope_low_freq_factor=1.0, rope_high_freq_factor=3.0, rope_pretraining_sequence_length=16)
MODELS = {
    "bert": lambda: M.BertBackbone(**dict(BERT, dropout=0.0)),
    "bert_masked": lambda: M.BertMaskedLM(M.BertBackbone(**dict(BERT, num_segments=3)), preprocessor=None),
    "distil_bert": lambda: M.DistilBertBackbone(**dict(BERT, num_layers=2)),
    "roberta_masked": lambda: M.RobertaMaskedLM(M.RobertaBackbone(**BERT), preprocessor=None),
    "gpt2_causal": lambda: M.GPT2CausalLM(M.GPT2Backbone(**BERT), preprocessor=None),
    "llama_causal": lambda: M.LlamaCausalLM(M.LlamaBackbone(**LLAMA, rope_position_scaling_factor=3.0), preprocessor=None),
    "llama3": lambda: M.Llama3Backbone(**LLAMA, rope_max_wavelength=50000, layer_norm_epsilon=1e-3, **FREQUENCIES),
    "mistral": lambda: M.MistralBackbone(**LLAMA, sliding_window=3, head_dim=6, rope_scaling_factor=2.0),
    "mistral_causal": lambda: M.MistralCausalLM(M.MistralBackbone(**dict(LLAMA, num_key_value_heads=4), sliding_window=None), preprocessor=None),
    "gemma": lambda: M.GemmaBackbone(**GEMMA),
    "gemma2_causal": lambda: M.GemmaCausalLM(M.GemmaBackbone(**GEMMA_2), preprocessor=None),
    "in_functional": lambda: in_functional(),
}


def in_functional():
    backbone = M.BertBackbone(**dict(BERT, dropout=0.0))
    inputs = {k: keras.Input((None,), dtype="int32", name=k) for k in ("token_ids", "segment_ids", "padding_mask")}
    made = backbone(inputs)
    return keras.Model(inputs, keras.layers.Dense(3)(made["pooled_output"]))


def model_case(name, build):
    keras.backend.clear_session()
    model = build()
    rng = around.rng_of(name)
    for v in model.weights:
        v.assign(np.asarray(v) + 0.3 * rng.standard_normal(v.shape).astype(np.float32))
    length = 7
    ids = rng.integers(1, 11, (2, length)).astype(np.int32)
    padding = np.ones((2, length), np.int32)
    padding[0, 5:] = 0
    padding[1, :2] = 0  # the first queries see nothing
    every = {"token_ids": ids, "padding_mask": padding, "segment_ids": rng.integers(0, 2, (2, length)).astype(np.int32),
             "mask_positions": np.asarray([[0, 3], [6, 2]], np.int32)}
    inputs = {k: every[k] for k in model.input}
    outputs = jax.tree_util.tree_leaves(model(inputs, training=False))
    cotangents = [rng.standard_normal(y.shape).astype(np.float32) for y in outputs]
    variables = model.trainable_variables

    def loss(values):
        with keras.StatelessScope(state_mapping=list(zip(variables, values))):
            ys = jax.tree_util.tree_leaves(model(inputs, training=False))
        return sum(jnp.sum(y * c) for y, c in zip(ys, cotangents))

    stored = {f"inputs.{k}": v for k, v in inputs.items()}
    for i, (y, c) in enumerate(zip(outputs, cotangents)):
        tail = f".{i}" if len(outputs) > 1 else ""
        stored[f"expect.output{tail}"] = y
        stored[f"cotangent.output{tail}"] = c
    for i, g in enumerate(jax.grad(loss)([v.value for v in variables])):
        stored[f"grad.{i}"] = g
    path = HERE / "models" / f"{name}.keras"
    around.save(path.with_suffix(".safetensors"), stored)
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for n, content in members.items():
            archive.writestr(zipfile.ZipInfo(n, (2026, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    print(name, path.stat().st_size, [f"{around.wide(y).std():.2f}" for y in outputs])


if __name__ == "__main__":
    wanted = sys.argv[1:]
    cases = [layer_case(n, layer, t, m, **s) for n, layer, t, m, s in layer_cases()]
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (HERE / "cases.json").write_text('{"cases": [\n' + lines + "\n]}\n")
    for n, b in MODELS.items():
        if not wanted or n in wanted:
            model_case(n, b)
