"""What does not fit is an exception that says so, and nothing crashes."""

import os
import signal
import threading
import time

import numpy as np
import pytest

import grouphead


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


Q, K = ones(1, 3, 4, 8), ones(1, 5, 2, 8)


@pytest.mark.parametrize(
    "operands, options, error, text",
    [
        ((ones(3), K, K), {}, ValueError, r"q: expected \[B, T, H, D\], got \[3\]"),
        ((Q, ones(1, 5, 3, 8), ones(1, 5, 3, 8)), {}, ValueError, r"q: expected heads"),
        ((Q, K, ones(1, 4, 2, 8)), {}, ValueError, r"v: expected"),
        ((Q, K, K.astype(np.float64)), {}, ValueError, r"v: expected f32, got f64"),
        ((Q.astype(np.float16), K, K), {}, TypeError, r"q: expected float32, .*, got f16"),
        ((Q.astype(">f4"), K, K), {}, TypeError, r"q: expected an array of .*, got >f4"),
        ((Q.astype(object), K, K), {}, TypeError, r"q: expected an array of .*, got object"),
        ((Q.astype(complex), K, K), {}, TypeError, r"q: expected an array of .*, got complex128"),
        (("text", K, K), {}, TypeError, r"q: expected an array of .*, got str"),
        ((Q, K, 3), {}, TypeError, r"v: expected an array of .*, got int"),
        ((Q, K, K), {"mask": ones(3, 5)}, ValueError, r"mask: expected"),
        ((Q, K, K), {"mask": ones(2, 5, dtype=bool)}, ValueError, r"mask: expected"),
        ((Q, K, K), {"bias": ones(3, 5, dtype=np.float64)}, ValueError, r"bias: expected"),
        ((Q, K, K), {"sinks": ones(3)}, ValueError, r"sinks: expected"),
        ((Q, K, K), {"softcap": -1}, ValueError, r"softcap: expected a positive number, got -1"),
        ((Q, K, K), {"softcap": "x"}, TypeError, r"softcap: expected a number, got 'x'"),
        ((Q, K, K), {"window_left": 1.5}, TypeError, r"window_left: expected an integer"),
        ((Q, K, K), {"causal": 1}, TypeError, r"causal: expected True or False, got 1"),
        ((Q, K, K), {"lengths": [9]}, ValueError, r"lengths: expected"),
        ((Q, K, K), {"segments": [0, 2, 1]}, ValueError, r"segments: expected"),
        ((Q, K, K), {"masked_rows": "none"}, ValueError, r"masked_rows: expected zeros or uniform"),
        ((Q, K, K), {"dropout_rate": 2}, ValueError, r"dropout_rate"),
        ((Q, K, K), {"draw": (1, 2, 3)}, TypeError, r"draw: expected a seed"),
        ((Q, K, K), {"layout": "THBD"}, ValueError, r"layout: expected BTHD or BHTD, got THBD"),
        ((Q, K, K), {"is_causal": True}, TypeError, r"expected options of attention, got 'is_causal'"),
        ((ones(*[1] * 9), K, K), {}, ValueError, r"rank"),
    ],
)
def test_operands_and_options(operands, options, error, text):
    with pytest.raises(error, match=text):
        grouphead.attention(*operands, **options)


def test_outputs():
    def refused(out, text):
        with pytest.raises(grouphead.ShapeError, match=text):
            grouphead.attention(q, K, K, out=out)

    q = Q.copy()
    read_only = ones(1, 3, 4, 8)
    read_only.flags.writeable = False
    refused(read_only, "out: expected an array that may be written, got a read-only one")
    refused(q, "out: expected memory of its own, got memory that is read too")
    refused(np.lib.stride_tricks.as_strided(ones(8), Q.shape, (0, 0, 0, 4)), "out: .* stride 0")
    refused(ones(1, 3, 4, 7), "out: expected")
    refused(ones(1, 3, 4, 8, dtype=np.float64), "out: expected")
    with pytest.raises(TypeError, match="out: expected an array"):
        grouphead.attention(q, K, K, out=[1.0])


def test_statistics_and_gradients_of_other_calls():
    out, statistics = grouphead.attention(Q, K, K, return_statistics=True)
    with pytest.raises(ValueError, match="statistics: expected"):
        grouphead.attention_backward(Q, K, K, out, out=out, statistics=statistics[:1])
    with pytest.raises(ValueError, match="d_out: expected"):
        grouphead.attention_backward(Q, K, K, out[:, :1], out=out, statistics=statistics)
    with pytest.raises(ValueError, match="d_scores: expected"):
        grouphead.attention_backward(
            Q, K, K, out, out=out, statistics=statistics, d_scores=ones(1, 4, 3, 4)
        )
    with pytest.raises(ValueError, match="statistics: expected"):
        grouphead.attention_scores(Q, K, statistics.astype(np.float64))


def test_empty_arrays():
    assert grouphead.attention(ones(1, 0, 4, 8), K, K).shape == (1, 0, 4, 8)
    assert grouphead.attention(ones(0, 3, 4, 8), ones(0, 5, 2, 8), ones(0, 5, 2, 8)).size == 0
    no_keys = ones(1, 0, 2, 8)
    np.testing.assert_array_equal(grouphead.attention(Q, no_keys, no_keys), np.zeros_like(Q))


def test_nan_in_a_bias_reaches_the_rows_that_have_it():
    bias = np.zeros((3, 5), np.float32)
    bias[1, 2] = np.nan
    out = grouphead.attention(Q, K, K, bias=bias)
    assert np.isnan(out[:, 1]).all() and np.isfinite(out[:, [0, 2]]).all()


def test_an_array_that_changes_its_mind():
    class Liar:
        def __dlpack__(self, **_):
            return "no capsule"

    class Failing:
        def __dlpack__(self, **_):
            raise BufferError("not today")

    with pytest.raises(TypeError, match="q: expected a capsule of DLPack, got Liar"):
        grouphead.attention(Liar(), K, K)
    with pytest.raises(TypeError, match="Failing: not today"):
        grouphead.attention(Failing(), K, K)


def test_anything_with_dlpack():
    class Wrapped:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

        def __array_namespace__(self):
            return np

    out = grouphead.attention(Wrapped(Q), Wrapped(K), Wrapped(K))
    assert isinstance(out, np.ndarray)
    np.testing.assert_array_equal(out, grouphead.attention(Q, K, K))
    assert isinstance(grouphead.attention(memoryview(Q), K, K), np.ndarray)
    read_only = K.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(grouphead.attention(Q, read_only, read_only), out)
    with pytest.raises(grouphead.ShapeError, match="read-only"):
        frozen = Q.copy()
        frozen.flags.writeable = False
        grouphead.attention(Q, K, K, out=Wrapped(frozen))


def test_threads_at_once():
    rng = np.random.default_rng(2)
    calls = [rng.standard_normal((1, 60, 4, 16), np.float32) for _ in range(8)]
    expected = [grouphead.attention(x, x, x, causal=True) for x in calls]
    results = [None] * len(calls)

    def work(i):
        for _ in range(20):
            results[i] = grouphead.attention(calls[i], calls[i], calls[i], causal=True)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, right in zip(results, expected):
        np.testing.assert_array_equal(result, right)


def test_one_cache_in_two_threads():
    cache = grouphead.KvCache(head_dim=64, num_key_value_heads=8, capacity=2048)
    x = np.ones((1, 2048, 8, 64), np.float32)
    failures, others = [], []

    def work():
        try:
            grouphead.decode(x, x, x, cache, causal=True)
        except RuntimeError as error:
            failures.append(str(error))
        except grouphead.Error as error:
            others.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not others
    assert all(text.startswith("[KvCache] calls: expected one at a time") for text in failures)
    assert len(failures) < 4
    cache.advance(2048)


def test_ctrl_c_ends_a_loop_of_calls():
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    x = np.ones((1, 64, 4, 16), np.float32)
    with pytest.raises(KeyboardInterrupt):
        start = time.monotonic()
        while time.monotonic() < start + 10:
            grouphead.attention(x, x, x)


def test_the_child_of_a_fork_computes_the_same():
    x = np.random.default_rng(4).standard_normal((1, 300, 4, 32), np.float32)
    expected = grouphead.attention(x, x, x, causal=True)
    child = os.fork()
    if child == 0:
        same = (grouphead.attention(x, x, x, causal=True) == expected).all()
        os._exit(0 if same and grouphead.num_threads() == 1 else 1)
    for _ in range(100):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")
