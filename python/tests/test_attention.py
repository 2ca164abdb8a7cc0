"""attention() on NumPy's arrays, against loops in float64."""

import numpy as np
import pytest

import grouphead


def reference(q, k, v, *, scale=None, causal=False):
    """softmax(scale q k^T) v in float64, [B, T, H, D]."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    group = q.shape[2] // k.shape[2]
    k, v = (np.repeat(x, group, axis=2) for x in (k, v))
    logits = np.einsum("bthd,bshd->bhts", q, k) * (scale or q.shape[3] ** -0.5)
    if causal:
        hidden = np.triu(np.ones(logits.shape[-2:], bool), 1)
        logits[..., hidden] = -np.inf
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.einsum("bhts,bshd->bthd", weights / weights.sum(-1, keepdims=True), v)


def operands(dtype, *, batch=2, queries=7, keys=7, heads=4, kv_heads=2, dim=16):
    rng = np.random.default_rng(3)
    shapes = [(batch, queries, heads, dim)] + 2 * [(batch, keys, kv_heads, dim)]
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype, bound", [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_matches_the_reference(dtype, bound, causal):
    q, k, v = operands(dtype)
    out = grouphead.attention(q, k, v, causal=causal)
    assert isinstance(out, np.ndarray) and out.dtype == dtype
    np.testing.assert_allclose(out, reference(q, k, v, causal=causal), atol=bound, rtol=0)
