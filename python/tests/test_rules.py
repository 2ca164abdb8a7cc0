"""Initializers, regularizers, constraints, losses, metrics, schedules by themselves."""

import pickle

import numpy as np
import pytest

from grouphead import constraints, initializers, losses, metrics, optimizers, regularizers

RNG = np.random.default_rng(8)


def test_initializers():
    w = initializers.HeNormal(seed=1)((300, 200))
    assert w.dtype == np.float32 and w.std() == pytest.approx(np.sqrt(2 / 300), rel=0.02)
    np.testing.assert_array_equal(w, initializers.get(initializers.HeNormal(seed=1))((300, 200)))
    drawn = initializers.RandomUniform(0, 2)
    assert not np.array_equal(drawn((3, 4)), drawn((3, 4)))
    np.testing.assert_array_equal(initializers.Constant(3)((2,), "float64"), [3.0, 3.0])
    assert initializers.get("glorot_uniform") == initializers.GlorotUniform()


def test_regularizers_and_constraints():
    x = RNG.standard_normal((4, 3)).astype(np.float32)
    want = 0.1 * np.abs(x).sum() + 0.2 * (x**2).sum()
    assert regularizers.L1L2(0.1, 0.2)(x) == pytest.approx(want, rel=1e-5)
    np.testing.assert_array_equal(constraints.NonNeg()(x), np.maximum(x, 0))
    norms = np.linalg.norm(constraints.MaxNorm(0.5)(x), axis=0)
    assert (norms < 0.5001).all()


def test_losses():
    y, p = RNG.random((6, 3)).astype(np.float32), RNG.random((6, 3)).astype(np.float32)
    values = ((y - p) ** 2).mean(-1)
    assert losses.MeanSquaredError()(y, p) == pytest.approx(values.mean(), rel=1e-5)
    assert losses.get("mse")(y, p, sample_weight=[1, 0, 0, 0, 0, 0]) == pytest.approx(
        values[0] / 6, rel=1e-5
    )
    np.testing.assert_allclose(losses.MeanSquaredError(reduction=None)(y, p), values, rtol=1e-5)
    logits, labels = RNG.standard_normal((6, 3)).astype("f"), RNG.integers(0, 3, 6)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    cross = losses.SparseCategoricalCrossentropy(from_logits=True)
    assert cross(labels, logits) == pytest.approx(-log_p[np.arange(6), labels].mean(), rel=1e-5)
    with pytest.raises(ValueError):
        cross(labels + 7, logits)


def test_metrics():
    y, p = RNG.integers(0, 2, 40).astype("f"), RNG.random(40).astype("f")
    metric = metrics.BinaryAccuracy(threshold=0.4)
    metric.update_state(y[:20], p[:20])
    metric.update_state(y[20:], p[20:])
    assert metric.result() == pytest.approx(((p > 0.4) == y).mean())
    metric.reset_state()
    assert metric.result() == 0
    mean = metrics.Mean()
    mean.update_state([1.0, 2.0])
    mean.update_state([6.0])
    assert mean.result() == pytest.approx(3.0)
    assert metrics.get("mae")(y, p) == pytest.approx(np.abs(y - p).mean(), rel=1e-5)
    assert metrics.get("kl_divergence").name == "kl_divergence"


def test_schedules():
    rate = optimizers.schedules.CosineDecay(0.5, 100)
    assert rate(0) == 0.5 and rate(50) == pytest.approx(0.25) and rate(100) == pytest.approx(0)
    optimizer = optimizers.SGD(rate)
    assert optimizer.learning_rate == 0.5
    with pytest.raises(ValueError, match="schedule"):
        optimizer.learning_rate = 0.1
    optimizer = optimizers.get("adam")
    optimizer.learning_rate = 0.25
    assert isinstance(optimizer, optimizers.Adam) and optimizer.learning_rate == 0.25


@pytest.mark.parametrize(
    "rule",
    [
        initializers.VarianceScaling(2.0, seed=4),
        regularizers.L2(0.3),
        constraints.MinMaxNorm(axis=[0, 1]),
        losses.Huber(2.0),
        optimizers.schedules.PolynomialDecay(0.1, 5),
    ],
)
def test_configurations_and_pickles(rule):
    assert type(rule).from_config(rule.get_config()) == rule == pickle.loads(pickle.dumps(rule))
    assert repr(rule).startswith(type(rule).__name__ + "(")


def test_configurations_of_what_has_state():
    metric = metrics.TopKCategoricalAccuracy(k=3)
    assert pickle.loads(pickle.dumps(metric)).get_config() == metric.get_config()
    optimizer = optimizers.AdamW(0.5, weight_decay=None)
    assert optimizer.get_config()["weight_decay"] is None
    again = optimizers.deserialize(optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()


@pytest.mark.parametrize(
    "call",
    [
        lambda: initializers.get("none_such"),
        lambda: initializers.GlorotUniform()((-2, 3)),
        lambda: initializers.GlorotUniform()((2,), "complex64"),
        lambda: regularizers.L2(-1.0),
        lambda: losses.get("none_such"),
        lambda: losses.deserialize({"class_name": "Loss"}),
        lambda: losses.MeanSquaredError()(np.zeros((2, 3)), np.zeros((3, 2))),
        lambda: metrics.F1Score(),
        lambda: optimizers.SGD(momentum=2.0),
    ],
)
def test_bad_input_is_an_exception(call):
    with pytest.raises((ValueError, TypeError)):
        call()
