"""Random operands, most of which fit nothing: each call ends with a result or with an exception that
Python's programs expect. `GROUPHEAD_FUZZ=20000` makes more calls, `GROUPHEAD_FUZZ_SEED` others."""

import os
import threading

import numpy as np
import pytest

import grouphead
from grouphead import layers

CALLS = int(os.environ.get("GROUPHEAD_FUZZ", "400"))
SEED = int(os.environ.get("GROUPHEAD_FUZZ_SEED", "1"))
EXPECTED = (ValueError, TypeError, OSError, OverflowError)
DTYPES = ["f4"] * 6 + ["f8", "f2", ">f4", "i4", "i8", "u1", "u2", "?", "c8", "O", "S3", "M8[s]"]
NAMES = (
    "mask key_mask query_mask bias alibi_slopes sinks lengths segments key_segments out d_scores"
).split()


def one_of(rng, choices):
    return choices[rng.integers(len(choices))]


def array(rng, shape=None):
    """Of any type and form, often one that does not lie densely or may not be written."""
    if shape is None:
        shape = tuple(int(one_of(rng, (0, 1, 2, 3, 4, 8))) for _ in range(rng.integers(0, 6)))
    dtype = np.dtype(one_of(rng, DTYPES))
    x = np.zeros(shape, dtype) if dtype.kind in "OSM" else rng.integers(-2, 3, shape).astype(dtype)
    form = rng.integers(9)
    if form == 0:
        x = x.T
    elif form == 1 and x.ndim:
        x = x[::-1]
    elif form == 2 and x.ndim:
        x = x[..., ::2]
    elif form == 3:
        x.flags.writeable = False
    elif form == 4 and x.ndim:
        x = np.broadcast_to(x[:1], x.shape)
    elif form == 5 and dtype.kind == "f":  # not at a multiple of its size
        raw = np.zeros(x.nbytes + 1, "u1")[1:]
        x = raw.view(dtype).reshape(x.shape) if x.size else x
    elif form == 6 and dtype.kind == "f" and x.size:
        x = x.copy()
        x.flat[rng.integers(x.size)] = one_of(rng, (np.nan, np.inf, -np.inf))
    return x


def operand(rng, shape):
    """Mostly an array of a shape that fits."""
    kind = rng.integers(40)
    if kind == 0:
        return one_of(rng, (None, 3, "text", [], [[1.0]], {}, object(), b"bytes", 1j))
    if kind == 1:
        released = memoryview(bytearray(8))
        released.release()
        return released
    if kind == 2:
        return array(rng)
    if kind == 3:
        changed = list(shape)
        changed[rng.integers(len(changed))] = int(one_of(rng, (0, 1, 2, 7)))
        return array(rng, tuple(changed))
    return rng.standard_normal(shape).astype("f4") if kind < 38 else array(rng, shape)


def number(rng):
    numbers = (0, 1, -1, 3, 2**31, 2**63 - 1, 2**64, -(2**63), 1.5, -1e300, np.nan, np.inf, True)
    return one_of(rng, (*numbers, "3", None, [1], np.int64(2), np.float32(0.5)))


def options(rng, batch, rows, keys, heads):
    shapes = {
        "mask": (batch, heads, rows, keys),
        "key_mask": (batch, keys),
        "query_mask": (batch, rows),
        "bias": (rows, keys),
        "alibi_slopes": (heads,),
        "sinks": (heads,),
        "lengths": (batch,),
        "segments": (batch + 1,),
        "key_segments": (batch + 1,),
    }
    given = {}
    for _ in range(rng.integers(3)):
        name = one_of(rng, NAMES)
        given[name] = operand(rng, shapes.get(name, (batch, rows, heads, 4)))
        if name in ("mask", "key_mask", "query_mask") and isinstance(given[name], np.ndarray):
            given[name] = given[name] == 0
    for _ in range(rng.integers(3)):
        name = one_of(rng, "scale causal causal_offset window_left window_right softcap".split())
        given[name] = number(rng)
    if rng.integers(6) == 0:
        given[one_of(rng, ("dropout_rate", "draw", "layout", "masked_rows", "nonsense"))] = number(rng)
    return given


def attempt(function, *args, **kwargs):
    """Its result; None where it is refused."""
    try:
        return function(*args, **kwargs)
    except EXPECTED:
        return None


def test_attention_and_its_gradients():
    rng = np.random.default_rng(SEED)
    worked = 0
    for _ in range(CALLS):
        batch, rows, keys, group = (int(one_of(rng, (1, 2, 3))) for _ in range(4))
        heads = 2 * group
        q, k, v = (
            operand(rng, (batch, t, h, 4)) for t, h in ((rows, heads), (keys, 2), (keys, 2))
        )
        given = options(rng, batch, rows, keys, heads)
        given.pop("d_scores", None)
        made = attempt(grouphead.attention, q, k, v, return_statistics=True, **given)
        if made is None:
            continue
        worked += 1
        out, statistics = made
        given.pop("out", None)
        statistics = statistics if rng.integers(4) else operand(rng, statistics.shape)
        attempt(grouphead.attention_scores, q, k, statistics, **given)
        d_out = operand(rng, np.shape(out))
        attempt(
            grouphead.attention_backward, q, k, v, d_out, out=out, statistics=statistics, **given
        )
    assert worked > CALLS / 20


def test_caches():
    rng = np.random.default_rng(SEED + 1)
    for _ in range(CALLS // 4):
        sizes = {"head_dim": 4, "num_key_value_heads": 2, "capacity": 6, "batch": 1}
        if rng.integers(3) == 0:
            sizes[one_of(rng, ["window", "num_blocks", "dtype", *sizes])] = one_of(
                rng, (0, 1, -1, 2, 3, "bfloat16", "uint8", "int4", None, 1.5)
            )
        cache = attempt(grouphead.KvCache, **sizes)
        if cache is None:
            continue
        for _ in range(6):
            rows = int(one_of(rng, (1, 2, 3)))
            q, k, v = (operand(rng, (1, rows, heads, 4)) for heads in (4, 2, 2))
            step = one_of(rng, ("decode", "store", "attend", "advance"))
            given = options(rng, 1, rows, rows, 4) if rng.integers(2) else {}
            if step == "decode":
                attempt(grouphead.decode, q, k, v, cache, **given)
            elif step == "store":
                attempt(grouphead.store_cached, k, v, cache)
            elif step == "attend":
                attempt(grouphead.attention_cached, q, cache, **given)
            else:
                attempt(cache.advance, number(rng))


def test_layers_and_models():
    rng = np.random.default_rng(SEED + 2)
    inputs = grouphead.Input((3, 4))
    x = layers.MultiHeadAttention(2, 2)(inputs, inputs)
    model = grouphead.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))
    model.compile("sgd", "mse")
    made = [layers.GroupQueryAttention(2, 2, 1), layers.Dense(3), layers.LayerNormalization()]
    made += [layers.Embedding(5, 3), layers.LSTM(2), layers.Conv1D(2, 2)]
    for _ in range(CALLS // 4):
        x, y = operand(rng, (2, 3, 4)), operand(rng, (2, 2))
        layer = one_of(rng, made)
        attempt(layer, x) if rng.integers(2) else attempt(layer, x, operand(rng, (2, 3, 4)))
        what = rng.integers(5)
        if what == 0:
            attempt(model.predict, x, verbose=0)
        elif what == 1:
            attempt(model.fit, x, y, batch_size=number(rng), epochs=1, verbose=0)
        elif what == 2:
            attempt(model.set_weights, [operand(rng, w.shape) for w in model.weights])
        elif what == 3:
            attempt(model.evaluate, x, y, sample_weight=operand(rng, (2,)), verbose=0)
        else:
            attempt(layer.compute_output_shape, one_of(rng, (None, (2, 3, 4), (2,), 3, "x", (-1,))))
    assert np.shape(model.predict(np.zeros((2, 3, 4), "f4"), verbose=0)) == (2, 2)


def test_one_layer_in_many_threads():
    """It is built once, and each thread gets what it would get alone."""
    for make in (lambda: layers.GroupQueryAttention(4, 4, 2), lambda: layers.LSTM(4)):
        layer = make()
        inputs = [np.full((2, 5, 8), i, "f4") for i in range(8)]
        results, failures = [None] * len(inputs), []
        start = threading.Barrier(len(inputs))

        def work(i, layer=layer, inputs=inputs, results=results, failures=failures, start=start):
            start.wait()
            try:
                for _ in range(10):
                    args = (inputs[i], inputs[i])[: len(layer._layer.input_names[:2])]
                    results[i] = layer(*args) if "Query" in type(layer).__name__ else layer(inputs[i])
            except grouphead.Error as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        for x, result in zip(inputs, results):
            again = layer(x, x) if "Query" in type(layer).__name__ else layer(x)
            np.testing.assert_array_equal(result, again)


def test_a_model_in_the_child_of_a_fork():
    layer = layers.Dense(3)
    x = np.ones((4, 5), "f4")
    expected = layer(x)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if (layer(x) == expected).all() else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_files_that_are_none(tmp_path):
    rng = np.random.default_rng(SEED + 3)
    file = tmp_path / "model.keras"
    grouphead.Sequential([grouphead.Input((4,)), layers.Dense(2)]).save(file)
    whole = file.read_bytes()
    for i in range(40):
        broken = bytearray(whole[: rng.integers(len(whole))] if i % 2 else whole)
        for _ in range(rng.integers(1, 20)):
            if broken:
                broken[rng.integers(len(broken))] = rng.integers(256)
        file.write_bytes(broken)
        attempt(grouphead.load_model, file)
    for text in ("", "{", "[]", '{"version": "1.0"}'):
        (tmp_path / "tokenizer.json").write_text(text)
        with pytest.raises(EXPECTED):
            grouphead.Tokenizer(tmp_path / "tokenizer.json")
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(EXPECTED):
            grouphead.load_pretrained(tmp_path)
