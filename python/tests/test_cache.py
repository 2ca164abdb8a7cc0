"""KvCache and the functions that read it."""

import numpy as np
import pytest

import grouphead

SIZES = {"batch": 2, "num_key_value_heads": 2, "head_dim": 16}


def sequence(length=70, seed=1):
    rng = np.random.default_rng(seed)
    shapes = [(2, length, 4, 16), (2, length, 2, 16), (2, length, 2, 16)]
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


def decode_all(cache, q, k, v, prompt=60, **options):
    """A prompt, then token by token."""
    results = []
    begin = 0
    for end in [prompt, *range(prompt + 1, q.shape[1] + 1)]:
        rows = slice(begin, end)
        results.append(
            grouphead.decode(q[:, rows], k[:, rows], v[:, rows], cache, causal=True, **options)
        )
        cache.advance(end - begin)
        begin = end
    return np.concatenate(results, axis=1)


@pytest.mark.parametrize("form", [{"capacity": 70}, {"window": 12}, {"num_blocks": 4}])
def test_decode_is_attention_of_all_positions(form):
    q, k, v = sequence()
    options = {"window_left": 11} if "window" in form else {}
    cache = grouphead.KvCache(**SIZES, **form)
    out = decode_all(cache, q, k, v, **options)
    assert cache.length == 70 and cache.lengths == [70, 70] and cache.bytes > 0
    np.testing.assert_allclose(
        out, grouphead.attention(q, k, v, causal=True, **options), atol=2e-6, rtol=0
    )


@pytest.mark.parametrize("dtype, bound", [("bfloat16", 3e-2), ("uint8", 5e-2)])
def test_caches_in_fewer_bits(dtype, bound):
    q, k, v = sequence()
    out = decode_all(grouphead.KvCache(**SIZES, capacity=70, dtype=dtype), q, k, v)
    expected = grouphead.attention(q, k, v, causal=True)
    np.testing.assert_allclose(out, expected, atol=bound, rtol=0)
    assert (out != expected).any()


def test_save_load_truncate_and_fork(tmp_path):
    q, k, v = sequence()
    cache = grouphead.KvCache(**SIZES, capacity=70)
    grouphead.store_cached(k[:, :40], v[:, :40], cache)
    cache.advance(40)
    cache.save(tmp_path / "cache.safetensors")
    stored = grouphead.attention_cached(q[:, :3], cache)
    np.testing.assert_allclose(
        stored, grouphead.attention(q[:, :3], k[:, :40], v[:, :40]), atol=2e-6, rtol=0
    )

    paged = grouphead.KvCache(**SIZES, num_blocks=4)
    paged.load(str(tmp_path / "cache.safetensors"))
    np.testing.assert_array_equal(grouphead.attention_cached(q[:, :3], paged), stored)

    cache.truncate(20, sequence=1)
    assert cache.lengths == [40, 20]
    cache.truncate(10)
    assert cache.lengths == [10, 10]
    cache.fork(0, 1)
    out = grouphead.attention_cached(np.stack([q[0, :3], q[0, :3]]), cache)
    np.testing.assert_array_equal(out[0], out[1])
    cache.reserve(200)
    assert cache.capacity == cache.config["capacity"] >= 200
    assert cache.lengths == [10, 10]

    assert paged.num_free_blocks == 2
    paged.fork(0, 1)  # shares the block, so the other one is free
    assert paged.num_free_blocks == 3
    paged.fork(1, 0, cache=cache)
    assert paged.lengths == [10, 40]


def test_rows_of_each_sequence():
    q, k, v = sequence(8)
    cache = grouphead.KvCache(**SIZES, capacity=16)
    out = grouphead.decode(q, k, v, cache, causal=True, counts=[8, 3])
    cache.advance([8, 3])
    assert cache.lengths == [8, 3]
    assert not out[1, 3:].any()
    np.testing.assert_allclose(
        out[1:, :3],
        grouphead.attention(q[1:, :3], k[1:, :3], v[1:, :3], causal=True),
        atol=2e-6,
        rtol=0,
    )


def test_errors(tmp_path):
    with pytest.raises(grouphead.ConfigError, match="dtype: expected float32, .*, got float16"):
        grouphead.KvCache(**SIZES, capacity=8, dtype="float16")
    with pytest.raises(grouphead.ConfigError):
        grouphead.KvCache(**SIZES, window=8, num_blocks=2)
    cache = grouphead.KvCache(**SIZES, capacity=16)
    q, k, v = sequence(17)
    with pytest.raises(grouphead.ShapeError):
        grouphead.decode(q, k, v, cache, causal=True)
    assert cache.length == 0
    with pytest.raises(grouphead.ShapeError):
        cache.truncate(1)
    with pytest.raises(grouphead.ShapeError):
        cache.truncate(0, sequence=2)
    with pytest.raises(grouphead.ShapeError):
        cache.fork(0, 5)
    with pytest.raises(grouphead.ShapeError):
        grouphead.decode(q[:, :1], k[:, :1], v[:, :1], cache, layer=1)
    for call in (
        lambda: cache.advance(-5),
        lambda: cache.advance([2**62, 0]),
        lambda: cache.truncate(-1),
        lambda: grouphead.KvCache(head_dim=8, capacity=2**60),
        lambda: grouphead.KvCache(head_dim=8, capacity=2**40),  # more than there is
        lambda: grouphead.decode(q[:, :1], k[:, :1], v[:, :1], cache, counts=[-1, 0]),
        lambda: grouphead.decode(q[:, :1], k[:, :1], v[:, :1], cache, counts=[1]),
    ):
        with pytest.raises(grouphead.Error):
            call()
    with pytest.raises(TypeError, match=r"\[decode\] counts: expected int32 or int64 \[B\]"):
        grouphead.decode(q[:, :1], k[:, :1], v[:, :1], cache, counts=[1.0, 1.0])
    with pytest.raises(OSError) as caught:
        cache.load(tmp_path / "missing.safetensors")
    assert isinstance(caught.value, grouphead.IoError)
