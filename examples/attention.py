"""Attention on NumPy arrays: grouped heads, a mask, a bias, gradients."""

import numpy as np

import grouphead

rng = np.random.default_rng(1)
B, T, S, Hq, Hkv, D = 2, 64, 96, 8, 2, 32
q = rng.standard_normal((B, T, Hq, D), np.float32)
k, v = (rng.standard_normal((B, S, Hkv, D), np.float32) for _ in range(2))

# The last query stands at the last key, and sees what comes before.
options = {"causal": True, "causal_offset": S - T}
out = grouphead.attention(q, k, v, **options)
print("output", out.shape)

# Of the second sequence 70 keys are real, and each head prefers near keys in its own way.
real = np.ones((B, S), bool)
real[1, 70:] = False
distance = np.abs(np.arange(T)[:, None] + S - T - np.arange(S)).astype(np.float32)
bias = -distance / 2.0 ** np.arange(1, Hq + 1, dtype=np.float32)[:, None, None]
options.update(window_left=40, key_mask=real, bias=bias)
out, statistics = grouphead.attention(q, k, v, return_statistics=True, **options)

# What was computed from another number in the padding is the same to the bit.
other = v.copy()
other[1, 70:] = 1000
assert np.array_equal(out, grouphead.attention(q, k, other, **options))

# The probabilities of a query sum to 1, so the gradients of v sum to those of out; a query whose
# window has no real key gives zeros, and nothing to v.
gradients = grouphead.attention_backward(
    q, k, v, np.ones_like(out), out=out, statistics=statistics, **options
)
seen = np.any(out != 0, axis=-1).sum() * D
print("gradients", gradients.d_q.shape, gradients.d_k.shape, gradients.d_bias.shape)
assert abs(gradients.d_v.sum(dtype=np.float64) - seen) < 0.01
