"""grouphead.keras beside Keras's own layers, under the backend of KERAS_BACKEND: test_keras.py runs
these cases with each."""

import json
import zipfile

import keras
import numpy as np
import pytest

import grouphead.keras
from grouphead import ConfigError

BACKEND = keras.backend.backend()
OURS = {
    "gqa": grouphead.keras.GroupQueryAttention,
    "mha": grouphead.keras.MultiHeadAttention,
}
THEIRS = {"gqa": keras.layers.GroupQueryAttention, "mha": keras.layers.MultiHeadAttention}
SIZES = {"gqa": (4, 4, 2), "mha": (4, 3)}
RNG = np.random.default_rng(11)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def numpy(x):
    return keras.ops.convert_to_numpy(keras.ops.cast(x, "float64"))


def pair(kind, *, sizes=None, **options):
    """Our layer and Keras's with the same weights."""
    sizes = sizes or SIZES[kind]
    ours, theirs = OURS[kind](*sizes, **options), THEIRS[kind](*sizes, **options)
    x = normal(2, 5, 8)
    ours(x, x), theirs(x, x)
    theirs.set_weights(ours.get_weights())
    return ours, theirs


def runs_here(monkeypatch):
    """Counts the calls of our attention: what Keras computes itself is not counted."""
    calls = []
    for name in ("attend", "attend_with_scores"):
        function = getattr(grouphead.keras._backend, name)
        monkeypatch.setattr(
            grouphead.keras._backend,
            name,
            lambda *args, function=function: calls.append(1) or function(*args),
        )
    return calls


def random_mask(*shape):
    mask = RNG.random(shape) < 0.6
    mask[..., 0] = True
    return mask


CALLS = {
    "plain": {},
    "causal": {"use_causal_mask": True},
    "mask": {"attention_mask": random_mask(2, 6, 5)},
    "mask of all": {"attention_mask": random_mask(6, 5)},
    "mask of heads": {"attention_mask": random_mask(2, 4, 6, 5)},
    "mask of one head": {"attention_mask": random_mask(2, 1, 6, 5)},
    "mask and causal": {"attention_mask": random_mask(2, 6, 5), "use_causal_mask": True},
    "integers": {"attention_mask": random_mask(2, 6, 5).astype(np.int32)},
    "nothing seen": {"attention_mask": np.zeros((2, 6, 5), bool)},
    "value mask": {"value_mask": random_mask(2, 5)},
    "key mask": {"key_mask": random_mask(2, 5), "value_mask": random_mask(2, 5)},
}


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", OURS)
def test_outputs_and_scores(kind, call, scores, monkeypatch):
    calls = runs_here(monkeypatch)
    ours, theirs = pair(kind)
    calls.clear()
    query, value, key = normal(2, 6, 8), normal(2, 5, 8), normal(2, 5, 8)
    arguments = {"key": key, "return_attention_scores": scores, **CALLS[call]}
    got, want = ours(query, value, **arguments), theirs(query, value, **arguments)
    assert len(calls) == 1
    for one, other in zip(got, want) if scores else ((got, want),):
        np.testing.assert_allclose(numpy(one), numpy(other), atol=2e-6)


OPTIONS = {
    "window": {"sliding_window": 2},
    "gate": {"use_gate": True},
    "without bias": {"use_bias": False},
    "flash": {"flash_attention": False},
    "float64": {"dtype": "float64"},
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", OURS)
def test_options(kind, options, causal):
    if options == "float64" and BACKEND == "jax":
        pytest.skip("JAX makes float32 of it")
    ours, theirs = pair(kind, **OPTIONS[options])
    x = normal(2, 6, 8)
    got, want = ours(x, x, use_causal_mask=causal), theirs(x, x, use_causal_mask=causal)
    assert keras.backend.standardize_dtype(got.dtype) == theirs.compute_dtype
    np.testing.assert_allclose(numpy(got), numpy(want), atol=2e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("kind", OURS)
def test_mixed_precision(kind, policy, monkeypatch):
    """As near to the numbers of float32 as Keras is, within a rounding of the outputs."""
    calls = runs_here(monkeypatch)
    ours, theirs = pair(kind, dtype=policy)
    exact = THEIRS[kind](*SIZES[kind])
    x = normal(2, 6, 8)
    exact(x, x)
    exact.set_weights(ours.get_weights())
    got = ours(x, x, use_causal_mask=True)
    want = numpy(exact(x, x, use_causal_mask=True))
    assert keras.backend.standardize_dtype(got.dtype) == policy.removeprefix("mixed_") and calls
    theirs_error = np.abs(numpy(theirs(x, x, use_causal_mask=True)) - want).max()
    step = 2.0 ** (-8 if policy == "mixed_bfloat16" else -11) * np.abs(want).max()
    assert np.abs(numpy(got) - want).max() <= theirs_error + 2 * step


AXES = {
    "batch of rows": ((2,), {"attention_mask": random_mask(2, 4, 4)}),
    "batch of columns": ((1,), {"attention_mask": random_mask(2, 4, 3, 3)}),
    "both": ((1, 2), {"attention_mask": random_mask(2, 3, 4, 3, 4)}),
    "turned": ((2, 1), {"attention_mask": random_mask(4, 3, 4, 3)}),
    "all": (None, {"attention_mask": np.zeros((2, 3, 4, 3, 4), bool)}),
    "from behind": (-2, {}),
}


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("name", AXES)
def test_several_axes(name, scores, monkeypatch):
    """More positions than one axis has: as in Keras, and here."""
    calls = runs_here(monkeypatch)
    axes, masks = AXES[name]
    x, y = normal(2, 3, 4, 8), normal(2, 3, 4, 8)
    ours = OURS["mha"](2, 3, attention_axes=axes)
    theirs = THEIRS["mha"](2, 3, attention_axes=axes)
    ours(x, y), theirs(x, y)
    theirs.set_weights(ours.get_weights())
    for arguments in ({}, masks):
        calls.clear()

        def run(layer, x, y, arguments=arguments):
            return layer(x, y, return_attention_scores=scores, **arguments)

        got, want = run(ours, x, y), run(theirs, x, y)
        assert len(calls) == 1
        for one, other in zip(got, want) if scores else ((got, want),):
            np.testing.assert_allclose(numpy(one), numpy(other), atol=2e-6)
        got = gradients(lambda *inputs, run=run: run(ours, *inputs), x, y)
        want = gradients(lambda *inputs, run=run: run(theirs, *inputs), x, y)
        for one, other in zip(got, want):
            np.testing.assert_allclose(numpy(one), numpy(other), atol=2e-5)


def network(classes, kind, masked=False, **options):
    """A model with self-attention and cross-attention, causal or with padding."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((6, 8))
    x = keras.layers.Masking()(inputs) if masked else inputs
    x = classes[kind](*SIZES[kind], **options)(x, x, use_causal_mask=not masked)
    pooled = keras.layers.Dense(8, "tanh")(x)
    x = classes[kind](*SIZES[kind], **options)(x, pooled) + x
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def data(masked):
    x = normal(12, 6, 8)
    if masked:
        x[::2, 4:] = 0
    return x, normal(12, 6, 2)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", OURS)
def test_training(kind, masked, monkeypatch):
    x, y = data(masked)
    # Of queries that see nothing Keras with PyTorch computes other gradients than with JAX.
    weights = (x != 0).any(-1).astype(np.float32)
    calls = runs_here(monkeypatch)
    trained = []
    for classes in (OURS, THEIRS):
        model = network(classes, kind, masked)
        model.compile(keras.optimizers.SGD(0.02), "mse")
        history = model.fit(
            x, y, batch_size=4, epochs=3, shuffle=False, verbose=0, sample_weight=weights
        )
        trained.append((model.get_weights(), history.history["loss"], model.predict(x, verbose=0)))
        assert calls or classes is THEIRS
        calls.clear()
    for our, their in zip(trained[0][0], trained[1][0]):
        np.testing.assert_allclose(our, their, atol=2e-5)
    np.testing.assert_allclose(trained[0][1], trained[1][1], rtol=1e-4)
    np.testing.assert_allclose(trained[0][2], trained[1][2], atol=5e-5)


def numbered(x):
    """0, 1, 2, ... in the form of x."""
    return keras.ops.reshape(keras.ops.arange(np.prod(x.shape), dtype="float32"), x.shape)


def gradients(function, *arrays):
    """Of a sum over what the function makes, weighted by fixed numbers."""

    def total(*tensors):
        results = function(*tensors)
        results = results if isinstance(results, tuple) else (results,)
        return sum(keras.ops.sum(r * keras.ops.cos(numbered(r))) for r in results)

    if BACKEND == "jax":
        import jax

        return jax.grad(total, argnums=tuple(range(len(arrays))))(*arrays)
    import torch

    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    return torch.autograd.grad(total(*tensors), tensors)


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("call", ["plain", "causal", "mask", "mask of heads", "key mask"])
@pytest.mark.parametrize("kind", OURS)
def test_gradients(kind, call, scores):
    ours, theirs = pair(kind)
    arrays = normal(2, 6, 8), normal(2, 5, 8)
    arguments = {"return_attention_scores": scores, **CALLS[call]}
    got = gradients(lambda q, v: ours(q, v, **arguments), *arrays)
    want = gradients(lambda q, v: theirs(q, v, **arguments), *arrays)
    for one, other in zip(got, want):
        np.testing.assert_allclose(numpy(one), numpy(other), atol=2e-5)


@pytest.mark.parametrize("kind", OURS)
def test_dropout(kind, monkeypatch):
    calls = runs_here(monkeypatch)
    ours, theirs = pair(kind, dropout=0.5, seed=3)
    x = normal(2, 5, 8)
    np.testing.assert_allclose(numpy(ours(x, x)), numpy(theirs(x, x)), atol=2e-6)
    first, second = numpy(ours(x, x, training=True)), numpy(ours(x, x, training=True))
    assert np.abs(first - second).max() > 1e-3 and calls
    # Scores are those before dropout.
    _, scores = ours(x, x, training=True, return_attention_scores=True)
    np.testing.assert_allclose(numpy(scores).sum(-1), 1, atol=1e-5)
    # The mean of many draws is what there is without dropout.
    same = np.repeat(x[:1], 2000, axis=0)
    mean = numpy(ours(same, same, training=True)).mean(0)
    assert np.abs(mean - numpy(ours(x, x))[0]).max() < 0.08
    # Training with it: the same seeds, the same weights.
    runs = []
    for _ in range(2):
        model = network(OURS, kind, dropout=0.3, seed=7)
        model.compile("sgd", "mse")
        batch, target = np.ones((8, 6, 8), "f"), np.ones((8, 6, 2), "f")
        model.fit(batch, target, epochs=2, verbose=0, shuffle=False)
        runs.append(model.get_weights())
    for one, other in zip(*runs):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", OURS)
def test_gradients_of_dropout_see_the_same_draw(kind):
    """The output is linear in the values: its sum with weights is the values' with the gradient."""
    layer = OURS[kind](*SIZES[kind], dropout=0.5, use_bias=False, seed=2)
    query, value = normal(2, 6, 8), normal(2, 5, 8)
    layer(query, value, key=value)
    results = []

    def weighted(tensor):
        out = layer(query, tensor, key=value, training=True)
        results.append(out)
        return out

    (d_value,) = gradients(weighted, value)
    out = results[0]
    if BACKEND == "jax":  # a tracer: the same draw again
        layer._dropout_layer.seed_generator.state.assign([2, 0])
        (d_value,) = gradients(weighted, value)
        layer._dropout_layer.seed_generator.state.assign([2, 0])
        out = layer(query, value, key=value, training=True)
    out = numpy(out.detach() if BACKEND == "torch" else out)
    weights = np.cos(np.arange(out.size)).reshape(out.shape)
    assert (out * weights).sum() == pytest.approx((value * numpy(d_value)).sum(), rel=1e-4)


@pytest.mark.parametrize("kind", OURS)
def test_configurations_and_files_are_keras_s(kind, tmp_path):
    ours, theirs = pair(kind, name="attention")
    assert ours.get_config() == theirs.get_config()
    assert keras.saving.serialize_keras_object(ours) == keras.saving.serialize_keras_object(theirs)
    assert [w.path for w in ours.weights] == [w.path for w in theirs.weights]
    again = OURS[kind].from_config(theirs.get_config())
    assert type(again) is OURS[kind]
    model = network(OURS, kind)
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert "grouphead" not in archive.read("config.json").decode()
        json.loads(archive.read("config.json"))
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert any(type(layer) is THEIRS[kind] for layer in loaded.layers)
    x, _ = data(False)
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0), atol=5e-6
    )


@pytest.mark.parametrize("kind", OURS)
def test_enable(kind, monkeypatch):
    calls = runs_here(monkeypatch)
    layer = THEIRS[kind](*SIZES[kind])
    x = normal(2, 6, 8)
    want = numpy(layer(x, x, use_causal_mask=True))
    assert not calls
    with grouphead.keras.enable():
        got = numpy(layer(x, x, use_causal_mask=True))
        made = THEIRS[kind](*SIZES[kind])  # and those made meanwhile
        made(x, x)
    np.testing.assert_allclose(got, want, atol=2e-6)
    assert len(calls) == 2
    made.set_weights(layer.get_weights())
    np.testing.assert_allclose(numpy(made(x, x, use_causal_mask=True)), want, atol=2e-6)
    assert len(calls) == 2
    grouphead.keras.enable()
    layer(x, x)
    grouphead.keras.disable()
    layer(x, x)
    assert len(calls) == 3


def test_flags_of_flash_attention():
    x = normal(2, 5, 8)
    for kind in OURS:
        with pytest.raises(ValueError, match="[Dd]ropout"):
            OURS[kind](*SIZES[kind], flash_attention=True, dropout=0.1)
        layer = OURS[kind](*SIZES[kind], flash_attention=True)
        assert layer(x, x).shape == (2, 5, 8)
        with pytest.raises(ValueError, match="scores"):
            layer(x, x, return_attention_scores=True)
    x = normal(2, 5, 8)
    ours, theirs = pair("gqa")
    for switch in (keras.config.disable_flash_attention, keras.config.enable_flash_attention):
        switch()
        made = OURS["gqa"](*SIZES["gqa"]), THEIRS["gqa"](*SIZES["gqa"])
        assert made[0]._flash_attention == made[1]._flash_attention
        np.testing.assert_allclose(numpy(ours(x, x)), numpy(theirs(x, x)), atol=2e-6)


def test_bad_input_is_an_exception():
    for kind in OURS:
        layer = OURS[kind](*SIZES[kind])
        x = normal(2, 5, 8)
        layer(x, x)
        for call in (
            lambda layer=layer, x=x: layer(x, x, attention_mask=np.ones((2, 4, 5), bool)),
            lambda layer=layer, x=x: layer(x, x, attention_mask=np.ones((3, 5, 5), bool)),
            lambda layer=layer, x=x: layer(x, normal(3, 5, 8)),
            lambda layer=layer, x=x: layer(x, x, key=normal(2, 4, 8)),
        ):
            with pytest.raises(Exception) as raised:
                call()
            assert isinstance(raised.value, (ValueError, RuntimeError, TypeError))
    assert issubclass(ConfigError, ValueError)
