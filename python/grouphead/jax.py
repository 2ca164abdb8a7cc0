"""Attention for JAX on the CPU: inside jit, grad and vmap."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from . import _core

__all__ = ["attention"]

for _name, _handler in zip(("attention", "attention_backward"), _core._jax_handlers):
    jax.ffi.register_ffi_target(f"grouphead_{_name}", _handler, platform="cpu")

# Behind q, k and v, in the order that the handlers know.
_ARRAYS = _core._array_options
_DIFFERENTIABLE = (0, 1, 2, 3 + _ARRAYS.index("bias"), 3 + _ARRAYS.index("sinks"))


def attention(
    q,
    k,
    v,
    *,
    layout="BTHD",
    scale=None,
    causal=False,
    causal_offset=0,
    window_left=None,
    window_right=None,
    softcap=None,
    masked_rows="zeros",
    dropout_rate=0.0,
    return_scores=False,
    **arrays,
):
    """grouphead.attention() on JAX's arrays, with gradients for q, k, v, bias and sinks.

    Works inside jit, grad and vmap: XLA calls the kernels without Python. The options that are no
    arrays are constants of the compiled program.

    Args:
        q, k, v: [B, T, Hq, D], [B, S, Hkv, D], [B, S, Hkv, Dv], float32, float64 or bfloat16;
            with layout="BHTD" the heads before the positions.
        arrays: mask, key_mask, query_mask, bias, alibi_slopes, sinks, lengths, segments,
            key_segments; and draw, two 32-bit integers that decide what dropout drops, as
            jax.random.key_data() of a threefry key has them, or one.
        layout, scale, ...: as grouphead.attention().
        return_scores: also return the probabilities before dropout, with gradients too.

    Returns:
        [B, T, Hq, Dv], or [B, Hq, T, Dv]; with return_scores a tuple of it and of
        [B, Hq, T, S], of bfloat16 in float32.

    Raises:
        ShapeError, ConfigError (both ValueError), TypeError: q, k and v that do not fit, and
            unknown options. What else does not fit is an error of JAX with our text when the
            program runs.
    """
    unknown = sorted(set(arrays) - set(_ARRAYS))
    if unknown:
        raise TypeError(f"[attention] arguments: expected options of attention, got {unknown[0]!r}")
    if layout not in ("BTHD", "BHTD"):
        raise _core.ConfigError(f"[attention] layout: expected BTHD or BHTD, got {layout}")
    if masked_rows not in ("zeros", "uniform"):
        raise _core.ConfigError(
            f"[attention] masked_rows: expected zeros or uniform, got {masked_rows}"
        )
    q, k, v = (jnp.asarray(x) for x in (q, k, v))
    _check(q, k, v, layout)
    integers = (
        int(layout == "BHTD"),
        int(causal),
        int(causal_offset),
        *((0, 0) if window_left is None else (1, int(window_left))),
        *((0, 0) if window_right is None else (1, int(window_right))),
        int(masked_rows == "uniform"),
    )
    numbers = tuple(math.nan if x is None else float(x) for x in (scale, softcap, dropout_rate))
    named = {name: jnp.asarray(x) for name, x in arrays.items() if x is not None}
    for name in ("mask", "bias"):
        if name in named and named[name].ndim < 4:
            named[name] = named[name][(None,) * (4 - named[name].ndim)]
    if "draw" in named:
        draw = named["draw"].astype(jnp.int32).reshape(-1)
        named["draw"] = jnp.pad(draw, (0, 2 - draw.size))
    settings = (integers, _Numbers(numbers), bool(return_scores))
    results = _attend(settings, q, k, v, *(named.get(name) for name in _ARRAYS))
    return results if return_scores else results[0]


class _Numbers(tuple):
    """Equal where they are the same bits, NaN too."""

    def __eq__(self, other):
        return repr(self) == repr(other)

    def __hash__(self):
        return hash(repr(self))


def _check(q, k, v, layout):
    axes = "[B, T, H, D]" if layout == "BTHD" else "[B, H, T, D]"
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.ndim != 4:
            raise _core.ShapeError(f"[attention] {name}: expected {axes}, got {list(x.shape)}")
        if x.dtype != q.dtype:
            raise _core.ShapeError(f"[attention] {name}: expected {q.dtype}, got {x.dtype}")
    if q.dtype not in (jnp.float32, jnp.float64, jnp.bfloat16):
        raise TypeError(f"[attention] q: expected float32, float64 or bfloat16, got {q.dtype}")
    if k.shape[:3] != v.shape[:3]:
        raise _core.ShapeError(
            f"[attention] v: expected {list(k.shape[:3])} in front, got {list(v.shape)}"
        )
    heads = 2 if layout == "BTHD" else 1
    if q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3] or q.shape[heads] % k.shape[heads]:
        raise _core.ShapeError(
            f"[attention] k: expected the batch and width of q and a divisor of its heads, "
            f"q {list(q.shape)}, got {list(k.shape)}"
        )


def _call(name, results, settings, needs, before, operands):
    integers, numbers, _ = settings
    present = sum(1 << i for i, x in enumerate(operands) if x is not None)
    return jax.ffi.ffi_call(f"grouphead_{name}", results, vmap_method="broadcast_all")(
        *before,
        *(x for x in operands if x is not None),
        integers=np.array((present, needs, *integers), np.int64),
        numbers=np.array(numbers, np.float64),
    )


def _forward(settings, *operands):
    q, k, v = operands[:3]
    is_bhtd, with_scores = settings[0][0], settings[2]
    rows = (q.shape[1], q.shape[2]) if is_bhtd else (q.shape[2], q.shape[1])
    wide = jnp.float64 if q.dtype == jnp.float64 else jnp.float32
    results = [
        jax.ShapeDtypeStruct((*q.shape[:3], v.shape[3]), q.dtype),
        jax.ShapeDtypeStruct((2, q.shape[0], *rows), wide),
    ]
    if with_scores:
        keys = k.shape[2 if is_bhtd else 1]
        results.append(jax.ShapeDtypeStruct((q.shape[0], *rows, keys), wide))
    out, statistics, *scores = _call("attention", results, settings, 0, (), operands)
    return (out, *scores), (operands, out, statistics)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(settings, *operands):
    return _forward(settings, *operands)[0]


def _backward(settings, saved, gradients_of_results):
    operands, out, statistics = saved
    wanted = [i for i in _DIFFERENTIABLE if operands[i] is not None]
    needs = sum(1 << bit for bit, i in enumerate(_DIFFERENTIABLE) if i in wanted)
    results = tuple(jax.ShapeDtypeStruct(operands[i].shape, operands[i].dtype) for i in wanted)
    d_out, *d_scores = gradients_of_results
    before = (d_out, out, statistics, *d_scores)
    gradients = _call("attention_backward", results, settings, needs, before, operands)
    by_place = dict(zip(wanted, gradients))
    return tuple(by_place.get(i) for i in range(len(operands)))


_attend.defvjp(_forward, _backward)
