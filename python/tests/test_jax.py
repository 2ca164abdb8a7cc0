"""grouphead.jax, against NumPy's float64 and the functions on NumPy's arrays."""

import golden
import numpy as np
import pytest

jax = pytest.importorskip("jax")
jnp = jax.numpy

import grouphead  # noqa: E402
import grouphead.jax as gj  # noqa: E402

LEAVES = ("bias", "sinks")


def near(actual, expected, bound):
    top = np.abs(expected).max(initial=1e-6)
    np.testing.assert_allclose(actual, expected, atol=bound * top, rtol=0)


@pytest.mark.parametrize("layout", ["BTHD", "BHTD"])
@pytest.mark.parametrize("name", golden.NAMES)
def test_golden(name, layout):
    (q, k, v), options, expected = golden.load(name)
    d_out = expected["d_out"]
    if layout == "BHTD":
        q, k, v, d_out = (x.swapaxes(1, 2) for x in (q, k, v, d_out))
    leaves = {key: jnp.asarray(options.pop(key)) for key in LEAVES if key in options}

    @jax.jit
    def run(q, k, v, leaves):
        out, pull = jax.vjp(
            lambda q, k, v, leaves: gj.attention(q, k, v, layout=layout, **leaves, **options),
            q, k, v, leaves,
        )  # fmt: skip
        return out, pull(jnp.asarray(d_out))

    out, (d_q, d_k, d_v, d_leaves) = run(q, k, v, leaves)
    turned = (lambda x: x.swapaxes(1, 2)) if layout == "BHTD" else (lambda x: x)
    near(turned(out), expected["out"], 1e-5)
    for gradient, key in ((d_q, "d_q"), (d_k, "d_k"), (d_v, "d_v")):
        near(turned(gradient), expected[key], 1e-4)
    for key, gradient in d_leaves.items():
        near(gradient, expected["d_" + key], 1e-4)


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_vmap_of_everything():
    q, k, v = random(3, 2, 5, 4, 8), random(2, 6, 3, 2, 8, seed=1), random(2, 6, 2, 8, seed=2)
    sinks, bias = random(3, 4, seed=3), random(5, 6, seed=4)

    def one(q, k, v, sinks):
        return gj.attention(q, k, v, sinks=sinks, bias=bias, causal=True)

    mapped = jax.jit(jax.vmap(one, in_axes=(0, 2, None, 0)))
    gradient = jax.jit(jax.vmap(jax.grad(lambda *x: one(*x).sum(), (0, 1, 2, 3)), (0, 2, None, 0)))
    out, gradients = mapped(q, k, v, sinks), gradient(q, k, v, sinks)
    for i in range(3):
        operands = (q[i], k[:, :, i], v, sinks[i])
        np.testing.assert_array_equal(out[i], one(*operands))
        right = jax.grad(lambda *x: one(*x).sum(), (0, 1, 2, 3))(*operands)
        for ours, wanted in zip(gradients, right):
            np.testing.assert_array_equal(ours[i], wanted)
    twice = jax.vmap(jax.vmap(lambda q: gj.attention(q, q, q)))(q[None])
    np.testing.assert_array_equal(twice[0, 1], gj.attention(q[1], q[1], q[1]))


def test_gradients_of_a_projection_in_one_program():
    x, w = random(2, 9, 16), random(16, 48, seed=5) * 0.3

    def gradient(attention):
        def loss(w):
            q, k, v = (part.reshape(2, 9, 4, 4) for part in jnp.split(x @ w, 3, -1))
            return (attention(q, k, v) ** 2).sum()

        return jax.jit(jax.grad(loss))(w)

    expected = gradient(lambda *x: jax.nn.dot_product_attention(*x, is_causal=True))
    near(gradient(lambda *x: gj.attention(*x, causal=True)), np.asarray(expected), 1e-5)


@pytest.mark.parametrize("layout", ["BTHD", "BHTD"])
def test_scores_and_their_gradients(layout):
    q, k, v = random(2, 5, 4, 8), random(2, 6, 2, 8, seed=1), random(2, 6, 2, 8, seed=2)
    weights = random(2, 4, 5, 6, seed=3)
    turn = (lambda x: x.swapaxes(1, 2)) if layout == "BHTD" else (lambda x: x)

    def run(q, k, v):
        return gj.attention(
            *map(turn, (q, k, v)), layout=layout, causal=True, causal_offset=1, return_scores=True
        )

    out, scores = jax.jit(run)(q, k, v)
    wide = [jnp.repeat(x, 2, 2) for x in (k, v)]
    seen = jnp.arange(6) <= jnp.arange(5)[:, None] + 1

    def plain(q, k):
        logits = jnp.einsum("bthd,bshd->bhts", q, jnp.repeat(k, 2, 2)) / 8**0.5
        return jax.nn.softmax(jnp.where(seen, logits, -jnp.inf))

    near(scores, np.asarray(plain(q, k)), 1e-6)
    near(turn(out), np.asarray(jnp.einsum("bhts,bshd->bthd", plain(q, k), wide[1])), 1e-5)
    got = jax.jit(jax.grad(lambda q, k: (run(q, k, v)[1] * weights).sum(), (0, 1)))(q, k)
    want = jax.grad(lambda q, k: (plain(q, k) * weights).sum(), (0, 1))(q, k)
    for ours, right in zip(got, want):
        near(ours, np.asarray(right), 1e-4)
    mapped = jax.vmap(lambda q: run(q, k, v)[1])(jnp.stack([q, q + 1]))
    np.testing.assert_array_equal(mapped[1], run(q + 1, k, v)[1])


def test_dropout_and_types():
    q = random(1, 40, 2, 8)
    key = jax.random.key_data(jax.random.key(3))
    drop = jax.jit(lambda q, key: gj.attention(q, q, q, dropout_rate=0.5, draw=key))
    np.testing.assert_array_equal(drop(q, key), drop(q, key))
    assert (drop(q, key) != drop(q, key + 1)).any()
    narrow = jnp.asarray(q, jnp.bfloat16)
    out = gj.attention(narrow, narrow, narrow)
    assert out.dtype == jnp.bfloat16
    near(np.asarray(out, np.float32), np.asarray(gj.attention(q, q, q)), 2e-2)


def test_the_functions_take_and_give_jax_arrays():
    for dtype in (jnp.float32, jnp.bfloat16):
        q = jnp.asarray(random(1, 5, 2, 8), dtype)
        out = grouphead.attention(q, q, q, causal=True)
        assert isinstance(out, jax.Array) and out.dtype == dtype
        np.testing.assert_array_equal(out, gj.attention(q, q, q, causal=True))
    with pytest.raises(TypeError, match="q: expected an array in memory"):
        jax.jit(lambda q: grouphead.attention(q, q, q))(q)
    q = random(1, 5, 2, 8)
    with pytest.raises(ValueError, match="out: expected an array that may be written"):
        grouphead.attention(q, q, q, out=jnp.ones((1, 5, 2, 8)))


def test_bad_input():
    q = random(1, 3, 4, 8)
    for operands, options, error, text in (
        ((q[0], q, q), {}, ValueError, r"q: expected \[B, T, H, D\]"),
        ((q, q[:, :, :3], q[:, :, :3]), {}, ValueError, "k: expected"),
        ((q, q, q[:, :2]), {}, ValueError, "v: expected"),
        ((q, q.astype(np.float16), q), {}, ValueError, "k: expected float32, got float16"),
        ((q.astype(int),) * 3, {}, TypeError, "q: expected float32"),
        ((q, q, q), {"layout": "x"}, ValueError, "layout: expected"),
        ((q, q, q), {"masked_rows": "x"}, ValueError, "masked_rows: expected"),
        ((q, q, q), {"is_causal": True}, TypeError, "got 'is_causal'"),
    ):
        with pytest.raises(error, match=text):
            gj.attention(*operands, **options)
    with pytest.raises(Exception, match=r"\[attention\] mask: expected"):
        gj.attention(q, q, q, mask=np.ones((2, 3), bool)).block_until_ready()
