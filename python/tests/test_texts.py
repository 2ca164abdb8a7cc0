"""Layers and models of texts: tests/golden/keras_lookups, and the arrays they are given."""

import copy
import json

import numpy as np
import pytest
from support import GOLDEN

import grouphead
from grouphead import layers

CASES = json.loads((GOLDEN / "keras_lookups" / "cases.json").read_text())["cases"]
ADAPTED = json.loads((GOLDEN / "keras_lookups" / "adapt.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["class_name"])
def test_lookups_give_what_keras_gives(case):
    layer = layers.deserialize({"class_name": case["class_name"], "config": case["config"]})
    x, expected = np.array(case["inputs"]), np.array(case["expect"])
    y = layer(x.astype(np.float32) if x.dtype.kind == "f" else x)
    if expected.dtype.kind == "U":
        y = grouphead.texts_of(y)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("case", ADAPTED, ids=lambda case: case["class_name"])
def test_adapt_learns_what_keras_learns(case):
    layer = layers.deserialize({"class_name": case["class_name"], "config": case["config"]})
    data = np.array(case["data"])
    layer.adapt(data)
    assert layer.get_vocabulary() == case["vocabulary"]
    assert layer.vocabulary_size() == len(case["vocabulary"])
    for one in (layer, copy.deepcopy(layer)):
        np.testing.assert_allclose(one(data), case["expect"], rtol=1e-6)


def test_vocabularies():
    layer = layers.TextVectorization()
    layer.adapt(["a b a", "c"])
    assert layer.get_vocabulary() == ["", "[UNK]", "a", "c", "b"]
    assert layer.get_vocabulary(include_special_tokens=False) == ["a", "c", "b"]
    masked = layers.IntegerLookup(mask_token=0, num_oov_indices=2)
    masked.set_vocabulary(np.array([7, 9]))
    assert masked.get_vocabulary() == [0, -1, -1, 7, 9]
    assert masked.get_vocabulary(False) == [7, 9]
    weighed = layers.StringLookup(output_mode="tf_idf")
    weighed.set_vocabulary(["x", "y"], idf_weights=[0.5, 2])
    np.testing.assert_allclose(weighed(np.array(["y", "y", "q"])), [1.25, 0, 4])


def test_normalization_adapts():
    x = np.random.default_rng(0).normal(3, 2, (50, 4)).astype(np.float32)
    layer = layers.Normalization()
    layer.adapt(x)
    y = layer(x)
    np.testing.assert_allclose(y.mean(0), np.zeros(4), atol=1e-5)
    np.testing.assert_allclose(y.std(0), np.ones(4), atol=1e-5)


def text_model():
    texts = grouphead.Input((), dtype="string")
    places = layers.StringLookup(vocabulary=["red", "Öl", "blue"])(texts)
    return grouphead.Model(texts, layers.Dense(1)(layers.Embedding(4, 3)(places)))


@pytest.mark.parametrize(
    "texts",
    [
        np.array(["red", "none", "Öl", ""]),
        np.array(["red", "none", "Öl", ""], object),
        np.array([text.encode() for text in ("red", "none", "Öl", "")]),
        ["red", "none", "Öl", ""],
    ],
    ids=["str", "object", "bytes", "list"],
)
def test_models_of_texts(texts, tmp_path):
    model = text_model()
    kernels = model.get_weights()
    want = kernels[0][[1, 0, 2, 0]] @ kernels[1] + kernels[2]
    np.testing.assert_allclose(model.predict(texts, verbose=0), want, rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "model.keras")
    again = grouphead.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        again.predict(texts, verbose=0), model.predict(texts, verbose=0)
    )
    model.compile("sgd", "mse")
    model.fit(texts, np.ones((4, 1), np.float32), epochs=2, verbose=0)
    assert np.abs(model.get_weights()[1] - kernels[1]).max() > 0


def test_vectorized_texts():
    layer = layers.TextVectorization(vocabulary=["red", "blue"], output_sequence_length=3)
    np.testing.assert_array_equal(layer(np.array(["Blue, red!", "a"])), [[3, 2, 0], [1, 0, 0]])


def test_texts_come_back():
    texts = np.array([["", "Öl"], ["red", "a"]])
    places = layers.StringLookup(vocabulary=["Öl", "red"])(texts)
    back = layers.StringLookup(vocabulary=["Öl", "red"], invert=True)(places)
    np.testing.assert_array_equal(
        grouphead.texts_of(back), [["[UNK]", "Öl"], ["red", "[UNK]"]]
    )
    assert grouphead.texts_of(np.zeros((2, 0), np.uint8)).tolist() == ["", ""]


@pytest.mark.parametrize(
    "use, error, message",
    [
        (lambda layer: layer(np.array(["a\0b"])), ValueError, "character 0"),
        (lambda layer: layer(np.array(["a", 3], object)), TypeError, "got 3"),
        (lambda layer: layer(np.array(["2026-01-01"], "datetime64[D]")), TypeError, "datetime64"),
        (lambda layer: layer(np.array(["\ud800"])), ValueError, None),
        (lambda layer: grouphead.texts_of(np.ones(2)), TypeError, "uint8"),
        (lambda layer: grouphead.texts_of(np.full((1, 2), 255, np.uint8)), ValueError, None),
        (lambda layer: layers.Dense(2)(np.array(["red"])), ValueError, None),
        (lambda layer: layer.adapt(["a"]), ValueError, "no vocabulary"),
        (lambda layer: layers.StringLookup().adapt([]), ValueError, None),
        (lambda layer: layers.IntegerLookup().adapt(None), TypeError, "got None"),
        (lambda layer: layers.Normalization().adapt(None), TypeError, "got None"),
        (lambda layer: layers.StringLookup().adapt(iter(["a"])), TypeError, "texts"),
        (lambda layer: layers.StringLookup().set_vocabulary([3]), TypeError, None),
        (lambda layer: layers.StringLookup().set_vocabulary(["a", "a"]), ValueError, "twice"),
    ],
)
def test_what_is_no_text(use, error, message):
    with pytest.raises(error, match=message):
        use(layers.StringLookup(vocabulary=["red"]))
