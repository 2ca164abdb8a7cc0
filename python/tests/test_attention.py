"""The functions on NumPy's arrays."""

import golden
import ml_dtypes
import numpy as np
import pytest

import grouphead

BOUNDS = {np.float32: 3e-6, np.float64: 2e-13}


def assert_near(actual, expected, bound):
    """Within bound times the greatest expected value; infinities alike."""
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(actual), finite)
    top = np.abs(expected[finite]).max(initial=1)
    np.testing.assert_allclose(actual[finite], expected[finite], atol=bound * top, rtol=0)


def operands(batch=2, queries=9, keys=9, heads=4, kv_heads=2, dim=16, seed=3):
    rng = np.random.default_rng(seed)
    shapes = [(batch, queries, heads, dim)] + 2 * [(batch, keys, kv_heads, dim)]
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


@pytest.mark.parametrize("layout", ["BTHD", "BHTD"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", golden.NAMES)
def test_golden(name, dtype, layout):
    (q, k, v), options, expected = golden.load(name, dtype)
    d_out = expected.pop("d_out").astype(dtype)

    def turned(x):  # between the layouts
        return x.swapaxes(1, 2) if layout == "BHTD" else x

    arguments = {"layout": layout, **options}
    q, k, v, d_out = map(turned, (q, k, v, d_out))
    out, lse, statistics = grouphead.attention(
        q, k, v, return_lse=True, return_statistics=True, **arguments
    )
    assert out.dtype == dtype and out.flags.c_contiguous
    assert_near(turned(out), expected["out"], BOUNDS[dtype])
    assert_near(lse, expected["lse"], BOUNDS[dtype])
    gradients = grouphead.attention_backward(
        q, k, v, d_out, out=out, statistics=statistics, **arguments
    )
    for key in ("d_q", "d_k", "d_v"):
        assert_near(turned(getattr(gradients, key)), expected[key], 4 * BOUNDS[dtype])
    for key in ("d_bias", "d_sinks"):
        if key in expected:
            assert_near(getattr(gradients, key), expected[key], 4 * BOUNDS[dtype])
        else:
            assert getattr(gradients, key) is None
    scores = grouphead.attention_scores(q, k, statistics, **arguments)
    group = q.shape[1 if layout == "BHTD" else 2] // k.shape[1 if layout == "BHTD" else 2]
    values = np.repeat(turned(v), group, axis=2)
    assert_near(np.einsum("bhts,bshd->bthd", scores, values), expected["out"], BOUNDS[dtype])


def test_only_the_gradients_that_are_needed():
    q, k, v = operands()
    out, statistics = grouphead.attention(q, k, v, return_statistics=True)
    known = {"out": out, "statistics": statistics}
    all_of_them = grouphead.attention_backward(q, k, v, out, **known)
    one = grouphead.attention_backward(q, k, v, out, needs=["v"], **known)
    assert one.d_q is None and one.d_k is None
    np.testing.assert_array_equal(one.d_v, all_of_them.d_v)
    with pytest.raises(grouphead.ConfigError, match="needs: expected q, k, v, bias and sinks"):
        grouphead.attention_backward(q, k, v, out, needs=["query"], **known)


def test_strided_arrays_are_read_in_place():
    rng = np.random.default_rng(5)
    packed = rng.standard_normal((2, 9, 3, 4, 16), np.float32)  # q, k and v side by side
    q, k, v = (packed[:, :, i] for i in range(3))
    expected = grouphead.attention(*(np.ascontiguousarray(x) for x in (q, k, v)))
    np.testing.assert_array_equal(grouphead.attention(q, k, v), expected)
    backwards = [x[::-1, ::-1] for x in (q, k, v)]  # negative strides
    np.testing.assert_array_equal(
        grouphead.attention(*backwards), grouphead.attention(*(x.copy() for x in backwards))
    )
    columns = [np.asfortranarray(x) for x in (q, k, v)]  # strided last axis: copied
    np.testing.assert_array_equal(grouphead.attention(*columns), expected)
    bytes_off = np.frombuffer(b"x" + k.tobytes(), np.uint8)[1:].view(np.float32).reshape(k.shape)
    np.testing.assert_array_equal(grouphead.attention(q, bytes_off, v), expected)
    one_key = np.broadcast_to(k[:, :1], k.shape)
    np.testing.assert_array_equal(
        grouphead.attention(q, one_key, v), grouphead.attention(q, one_key.copy(), v)
    )


def test_bfloat16():
    q, k, v = (x.astype(ml_dtypes.bfloat16) for x in operands(dim=32))
    out, lse = grouphead.attention(q, k, v, causal=True, return_lse=True)
    assert out.dtype == ml_dtypes.bfloat16 and lse.dtype == np.float32
    wide = grouphead.attention(*(x.astype(np.float64) for x in (q, k, v)), causal=True)
    np.testing.assert_allclose(out.astype(np.float64), wide, atol=2**-7, rtol=2**-8)


def test_masks_of_fewer_axes():
    q, k, v = operands()
    rng = np.random.default_rng(1)
    mask = rng.random((9, 9)) < 0.6
    bias = rng.standard_normal((4, 9, 9)).astype(np.float32)
    expected = grouphead.attention(q, k, v, mask=mask[None, None], bias=bias[None])
    np.testing.assert_array_equal(grouphead.attention(q, k, v, mask=mask, bias=bias), expected)
    out, statistics = grouphead.attention(q, k, v, bias=bias, return_statistics=True)
    d_bias = grouphead.attention_backward(
        q, k, v, out, out=out, statistics=statistics, bias=bias
    ).d_bias
    assert d_bias.shape == (4, 9, 9)


def test_writes_into_out():
    q, k, v = operands()
    out = np.zeros((2, 4, 9, 32), np.float32)
    view = out.swapaxes(1, 2)[..., ::2][..., :0]  # of another shape
    with pytest.raises(grouphead.ShapeError, match=r"\[attention\] out: expected"):
        grouphead.attention(q, k, v, out=view)
    view = out.swapaxes(1, 2)[..., :16]
    assert grouphead.attention(q, k, v, out=view) is view
    np.testing.assert_array_equal(view, grouphead.attention(q, k, v))
    assert not out[..., 16:].any()


def test_dropout_is_a_function_of_the_draw():
    q, k, v = operands()
    first = grouphead.attention(q, k, v, dropout_rate=0.5, draw=7)
    np.testing.assert_array_equal(
        grouphead.attention(q, k, v, dropout_rate=0.5, draw=(7, 0)), first
    )
    assert (grouphead.attention(q, k, v, dropout_rate=0.5, draw=8) != first).any()
    everything = grouphead.attention(q, k, v, dropout_rate=1.0)
    np.testing.assert_array_equal(everything, np.zeros_like(q))


def test_lists_for_the_heads():
    q, k, v = operands()
    slopes = grouphead.alibi_slopes(4)
    assert slopes == [0.25, 0.0625, 0.015625, 0.00390625]
    np.testing.assert_array_equal(
        grouphead.attention(q, k, v, alibi_slopes=slopes),
        grouphead.attention(q, k, v, alibi_slopes=np.array(slopes, np.float32)),
    )


def test_any_number_of_threads_gives_the_same_bits():
    q, k, v = operands(queries=150, keys=150, dim=64)
    results = []
    for threads in (1, 2, 5):
        grouphead.set_num_threads(threads)
        assert 1 <= grouphead.num_threads() <= threads  # oneTBB's limit may be lower
        results.append(grouphead.attention(q, k, v, causal=True).tobytes())
    grouphead.set_num_threads(0)
    assert results[0] == results[1] == results[2]
    with pytest.raises(grouphead.ConfigError, match="num_threads: expected 0 or more, got -1"):
        grouphead.set_num_threads(-1)
