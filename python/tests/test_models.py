"""Models: graphs, files, pickles."""

import copy
import pickle

import numpy as np
import pytest

import grouphead
from grouphead import layers
from support import GOLDEN, read_safetensors

RNG = np.random.default_rng(6)


def two_outputs():
    x = layers.Input((4,), name="x")
    z = layers.Input((3,), name="z")
    both = layers.concatenate([x, z])
    outputs = [layers.Dense(2, name="p")(both), layers.Dense(1, name="q")(both)]
    return grouphead.Model([x, z], outputs)


def arrays():
    return RNG.standard_normal((5, 4)).astype("f"), RNG.standard_normal((5, 3)).astype("f")


def test_functional_model():
    model = two_outputs()
    x, z = arrays()
    p, q = model([x, z])
    assert p.shape == (5, 2) and q.shape == (5, 1)
    for got, want in zip(model({"x": x, "z": z}), (p, q)):
        np.testing.assert_array_equal(got, want)
    for got, want in zip(model.predict([x, z], batch_size=2), (p, q)):
        np.testing.assert_array_equal(got, want)
    dense = model.get_layer("p")
    assert isinstance(dense, layers.Dense) and dense is model.get_layer("p") in model.layers
    assert model.input_shape == [(None, 4), (None, 3)]
    assert [tensor.shape for tensor in model.outputs] == [(None, 2), (None, 1)]
    with pytest.raises(ValueError, match="'y'"):
        model({"x": x, "y": z})


def test_dicts_of_inputs_and_outputs():
    x = layers.Input((4,), name="first")
    model = grouphead.Model({"a": x}, {"b": layers.Dense(2)(x)})
    made = model({"a": arrays()[0]})
    assert list(made) == ["b"] and made["b"].shape == (5, 2)
    assert list(model.predict({"a": arrays()[0]})) == ["b"]


def test_sequential_model():
    model = grouphead.Sequential([layers.Dense(3, "relu"), layers.Dense(1)])
    x = arrays()[0]
    assert not model.built
    y = model(x)
    assert model.built and y.shape == (5, 1)
    assert [layer.name for layer in model.layers] == ["dense", "dense_1"]
    built = grouphead.Sequential([layers.Input((4,)), layers.Dense(3)])
    assert built.built and built.input_shape == (None, 4)
    with pytest.raises(TypeError, match="add"):
        model.add(3)


def test_seeds():
    def weights(seed):
        grouphead.utils.set_random_seed(seed)
        return two_outputs().get_weights()[0], two_outputs().get_weights()[0]

    first, second = weights(1)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, weights(1)[0])
    assert not np.array_equal(first, weights(2)[0])


def test_copies_by_configuration_json_and_pickle():
    model = two_outputs()
    x, z = arrays()
    p, _ = model([x, z])
    for make in (
        lambda: grouphead.Model.from_config(model.get_config()),
        lambda: grouphead.model_from_json(model.to_json()),
    ):
        other = make()
        assert other.get_config() == model.get_config()
        other.set_weights(model.get_weights())
        np.testing.assert_array_equal(other([x, z])[0], p)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other([x, z])[0], p)


def test_files(tmp_path):
    model = two_outputs()
    x, z = arrays()
    p, _ = model([x, z])
    model.save(tmp_path / "model.keras")
    loaded = grouphead.load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    np.testing.assert_array_equal(loaded([x, z])[0], p)
    with pytest.raises(FileExistsError):
        model.save(tmp_path / "model.keras", overwrite=False)
    other = two_outputs()
    for name in ("w.weights.h5", "w.safetensors"):
        model.save_weights(tmp_path / name)
        other.load_weights(tmp_path / name)
        np.testing.assert_array_equal(other([x, z])[0], p)
    with pytest.raises(grouphead.IoError, match="missing.keras"):
        grouphead.load_model(tmp_path / "missing.keras")
    with pytest.raises(OSError):
        grouphead.load_model(__file__)


EVALUATIONS = read_safetensors(GOLDEN / "keras_compiled" / "evaluations.safetensors")


@pytest.mark.parametrize("name", ["single", "lists", "keys", "named", "all"])
def test_files_that_keras_compiled(name):
    """What Keras's evaluate() gave."""
    model = grouphead.load_model(GOLDEN / "keras_compiled" / f"{name}.keras")
    assert model.compiled and model.compile_problem == ""
    targets = [EVALUATIONS[key] for key in sorted(EVALUATIONS) if key.startswith(f"{name}.y.")]
    logs = model.evaluate(EVALUATIONS[f"{name}.x"], targets, return_dict=True)
    begin = f"{name}.log."
    want = {key[len(begin) :]: EVALUATIONS[key][0] for key in EVALUATIONS if key.startswith(begin)}
    assert logs == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("name", ["post_norm", "hub_llama", "recurrent", "time_series"])
def test_files_of_keras(name):
    tensors = read_safetensors(GOLDEN / "keras_models" / f"{name}.safetensors")
    model = grouphead.load_model(GOLDEN / "keras_models" / f"{name}.keras")
    begin = "inputs."
    inputs = {key[len(begin) :]: tensors[key] for key in tensors if key.startswith(begin)}
    got = model(inputs) if len(inputs) > 1 else model(*inputs.values())
    got = next(iter(got.values())) if isinstance(got, dict) else got
    np.testing.assert_allclose(got, tensors["expect.output"], atol=2e-5)


def test_fewer_heads():
    x = layers.Input((6, 8))
    model = grouphead.Model(x, layers.MultiHeadAttention(4, 2)(x, x))
    fewer = grouphead.convert_heads(model, 2)
    assert isinstance(fewer.layers[1], layers.GroupQueryAttention)
    inputs = RNG.standard_normal((2, 6, 8)).astype("f")
    report = grouphead.compare_heads(model, fewer, inputs)
    difference = np.linalg.norm(fewer(inputs) - model(inputs)) / np.linalg.norm(model(inputs))
    assert report["output_error"] == pytest.approx(difference, rel=1e-4)
    assert report["cache_bytes"] * 2 == report["cache_bytes_before"]
    same = grouphead.convert_heads(model, 4)
    np.testing.assert_allclose(same(inputs), model(inputs), atol=1e-6)
    with pytest.raises(grouphead.ConfigError):
        grouphead.convert_heads(model, 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: grouphead.Model(),
        lambda: grouphead.Model(3, 4),
        lambda: grouphead.Model(layers.Input((2,)), layers.Input((2,)) + 1),
        lambda: two_outputs()(np.zeros((2, 3))),
        lambda: two_outputs().get_layer("none"),
        lambda: two_outputs().get_layer(),
        lambda: two_outputs().set_weights([]),
        lambda: grouphead.model_from_json("{"),
        lambda: grouphead.model_from_json('{"class_name": "Functional", "config": {}}'),
        lambda: grouphead.load_model("x.keras", custom_objects={"a": 1}),
    ],
)
def test_bad_input_is_an_exception(call):
    with pytest.raises((ValueError, TypeError, OSError)):
        call()
