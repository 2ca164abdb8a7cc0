"""Layers on arrays and on symbolic tensors."""

import copy
import pickle
import threading

import numpy as np
import pytest

import grouphead
from grouphead import _described, constraints, initializers, layers, ops, regularizers

RNG = np.random.default_rng(5)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def attended(layer, x, num_groups, head_dim, visible):
    """Grouped-query attention by its definition, in float64."""
    w = {variable.path: variable.numpy().astype(np.float64) for variable in layer.variables}
    q, k, v = (
        np.einsum("btm,mhd->bthd", x.astype(np.float64), w[f"{name}/kernel"]) + w[f"{name}/bias"]
        for name in ("query", "key", "value")
    )
    k, v = (np.repeat(array, num_groups, axis=2) for array in (k, v))
    logits = np.einsum("bthd,bshd->bhts", q, k) / np.sqrt(head_dim)
    logits = np.where(visible, logits, -np.inf)
    scores = np.exp(logits - logits.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    y = np.einsum("bhts,bshd->bthd", scores, v)
    out = "attention_output"
    return np.einsum("bthd,hdm->btm", y, w[f"{out}/kernel"]) + w[f"{out}/bias"], scores


@pytest.mark.parametrize("causal", [False, True])
def test_grouped_query_attention(causal):
    x = normal(2, 5, 6)
    layer = layers.GroupQueryAttention(head_dim=4, num_query_heads=4, num_key_value_heads=2)
    y, scores = layer(x, value=x, use_causal_mask=causal, return_attention_scores=True)
    visible = np.tril(np.ones((5, 5), bool)) if causal else np.ones((5, 5), bool)
    want, want_scores = attended(layer, x, 2, 4, visible)
    np.testing.assert_allclose(y, want, atol=1e-5)
    np.testing.assert_allclose(scores, want_scores, atol=1e-6)


def test_masks_of_attention():
    x = normal(2, 5, 6)
    mask = RNG.random((2, 5, 5)) < 0.6
    mask[..., 0] = True
    layer = layers.GroupQueryAttention(4, 4, 2)
    y = layer(x, x, attention_mask=mask)
    want, _ = attended(layer, x, 2, 4, mask[:, None])
    np.testing.assert_allclose(y, want, atol=1e-5)


def test_weights():
    layer = layers.Dense(3, name="d")
    assert not layer.built and layer.variables == []
    layer.build((None, 2))
    assert [variable.path for variable in layer.weights] == ["kernel", "bias"]
    assert layer.count_params() == 9 and layer.compute_output_shape((4, 2)) == (4, 3)
    kernel, bias = np.arange(6.0).reshape(2, 3), np.ones(3)
    layer.set_weights([kernel, bias])
    np.testing.assert_array_equal(layer(np.array([[1.0, 2.0]])), [[7, 10, 13]])
    layer.weights[1].assign(np.zeros(3))
    np.testing.assert_array_equal(layer(np.array([[1.0, 2.0]])), [[6, 9, 12]])
    with pytest.raises(grouphead.ShapeError, match=r"d: expected shapes .*\(2, 3\)"):
        layer.set_weights([kernel.T, bias])
    np.testing.assert_array_equal(layer.get_weights()[0], kernel)
    with pytest.raises(grouphead.ShapeError, match="kernel"):
        layer.weights[0].assign(bias)
    layer.trainable = False
    assert layer.trainable_weights == [] and len(layer.non_trainable_weights) == 2


def test_configurations_make_the_layer_again():
    layer = layers.Dense(
        4,
        "gelu",
        kernel_initializer=initializers.RandomNormal(stddev=0.5, seed=3),
        kernel_regularizer=regularizers.L1L2(0.1, 0.2),
        bias_constraint=constraints.MaxNorm(1.5),
        dtype="mixed_bfloat16",
    )
    again = layers.Dense.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert layers.deserialize(layers.serialize(layer)).get_config() == layer.get_config()
    assert again.dtype_policy == "mixed_bfloat16"


def test_pickles_and_copies():
    x = normal(2, 3)
    layer = layers.Dense(4)
    y = layer(x)
    for other in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert isinstance(other, layers.Dense)
        np.testing.assert_array_equal(other(x), y)
    inside = layers.Dense(2)
    inner = grouphead.Input((3,))
    grouphead.Model(inner, inside(inner))
    with pytest.raises(TypeError, match="pickle the model"):
        pickle.dumps(inside)


def test_wrappers_and_states():
    x = normal(2, 4, 3)
    both = layers.Bidirectional(layers.LSTM(5, return_sequences=True))
    assert both(x).shape == (2, 4, 10)
    y, h, c = layers.LSTM(5, return_state=True)(x)
    np.testing.assert_array_equal(y, h)
    assert c.shape == (2, 5)
    assert layers.TimeDistributed(layers.Dense(2))(x).shape == (2, 4, 2)
    assert layers.Concatenate()([x, x]).shape == (2, 4, 6)
    np.testing.assert_array_equal(layers.Add()([x, x]), 2 * x)


SAMPLES = {
    "Activation": ("relu",),
    "CategoryEncoding": (3,),
    "Conv1D": (2, 2),
    "Conv2D": (2, 2),
    "Dense": (3,),
    "DepthwiseConv1D": (2,),
    "DepthwiseConv2D": (2,),
    "EinsumDense": ("abc,cd->abd", (None, 3)),
    "Embedding": (7, 3),
    "GroupNormalization": (2,),
    "GroupQueryAttention": (2, 2, 1),
    "GRU": (3,),
    "LSTM": (3,),
    "MultiHeadAttention": (2, 2),
    "Permute": ((2, 1),),
    "RepeatVector": (2,),
    "Rescaling": (0.5,),
    "Reshape": ((-1,),),
    "ReversibleEmbedding": (7, 3),
    "SeparableConv1D": (2, 2),
    "SeparableConv2D": (2, 2),
    "SimpleRNN": (3,),
    **{f"{kind}Pooling{rank}D": (2,) for kind in ("Average", "Max") for rank in (1, 2)},
    **{name: (0.5,) for name in ("AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise")},
    **{f"SpatialDropout{rank}D": (0.5,) for rank in (1, 2)},
}
OF_LISTS = set("Add Average Concatenate Maximum Minimum Multiply Subtract".split())
OF_TWO = set("AdditiveAttention Attention GroupQueryAttention MultiHeadAttention".split())
# Made of other layers, of texts or of statistics.
APART = set(
    "Bidirectional Dot Hashing IntegerLookup Normalization RNN StringLookup TextVectorization"
    " TimeDistributed".split()
)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", sorted(set(_described.table()["layers"]) - APART))
def test_every_layer_leaves_its_operands(name, training):
    """Arrays that may not be written are read alone, and what is written is not theirs."""
    layer = getattr(layers, name)(*SAMPLES.get(name, ()))
    if name in ("Embedding", "ReversibleEmbedding", "CategoryEncoding"):
        x = RNG.integers(0, 3, (2, 4)).astype(np.int32)
    elif name == "RepeatVector":
        x = normal(2, 4)
    else:
        x = normal(2, 4, 4, 4) if "2D" in name else normal(2, 4, 4)
    x.setflags(write=False)
    before = x.copy()
    operands = [[x, x]] if name in OF_LISTS else [x, x] if name in OF_TWO else [x]
    y = layer(*operands, training=training)
    assert np.isfinite(y).all()
    np.testing.assert_array_equal(x, before)


def test_training_changes_what_depends_on_it():
    x = np.ones((400, 8), np.float32)
    dropped = layers.Dropout(0.5, seed=1)(x, training=True)
    assert set(np.unique(dropped)) == {0.0, 2.0}
    np.testing.assert_array_equal(layers.Dropout(0.5)(x), x)
    norm = layers.BatchNormalization(momentum=0.5)
    norm(x, training=True)
    moving_mean = norm.get_weights()[2]
    np.testing.assert_allclose(moving_mean, 0.5 * np.ones(8), rtol=1e-6)


def test_symbolic_tensors():
    x = layers.Input((4, 6), batch_size=2, dtype="float32", name="x")
    assert x.shape == (2, 4, 6) and x.dtype == "float32" and x.name == "x"
    y = 1 - layers.Dense(6)(x) * 2.0 + x / 4
    z = ops.sum(y, axis=1)
    assert z.shape == (2, 6)
    model = grouphead.Model(x, z)
    a = normal(2, 4, 6)
    kernel, bias = model.get_weights()
    want = (1 - (a @ kernel + bias) * 2 + a / 4).sum(1)
    np.testing.assert_allclose(model(a), want, rtol=1e-5, atol=1e-5)
    for use in (bool, list, np.asarray):
        with pytest.raises(TypeError, match="symbolic"):
            use(x)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: layers.Dense(3)(normal(2, 3).astype(object)), TypeError, "numbers"),
        (lambda: layers.Dense(3)(np.array(["a"])), ValueError, "expected f32, got u8"),
        (lambda: layers.Dense(3)(None), ValueError, None),
        (lambda: layers.Dense(3)(), ValueError, None),
        (lambda: layers.Dense(3)(normal(2, 3), normal(2, 3)), ValueError, "Dense|operand|input"),
        (lambda: layers.Dense(3)(normal(2, 3), wrong=1), ValueError, "wrong"),
        (lambda: layers.Dense("many"), ValueError, "units"),
        (lambda: layers.Dense(3, dtype="float99"), ValueError, "float99"),
        (lambda: layers.GroupQueryAttention(4, 4, 3), ValueError, "num_"),
        (lambda: layers.GroupQueryAttention(4, 4, 2)(normal(2, 3)), ValueError, "query|value"),
        (lambda: layers.Input(), ValueError, "shape"),
        (lambda: layers.Input((2, "x")), TypeError, None),
        (lambda: layers.Dense(3).build(None), TypeError, None),
        (lambda: layers.Dense(3).build((4, -7)), ValueError, None),
        (lambda: layers.deserialize({"class_name": "Lambda", "config": {}}), ValueError, "Lambda"),
        (lambda: layers.deserialize(7), ValueError, None),
        (lambda: layers.Dense.from_config({"units": 3, "extra": [[[]]]}), ValueError, "extra"),
        (lambda: ops.no_such_thing(layers.Input((2,))), ValueError, "NoSuchThing"),
    ],
)
def test_bad_input_is_an_exception(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_threads_share_a_layer():
    layer = layers.Dense(16)
    x = normal(64, 16)
    want = layer(x)
    wrong = []

    def run():
        for _ in range(50):
            layer.set_weights(layer.get_weights())
            if not np.array_equal(layer(x), want):
                wrong.append(1)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
