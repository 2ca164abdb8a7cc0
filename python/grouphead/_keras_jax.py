"""Attention for Keras's layers under its JAX backend."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from . import _core



def is_here(x):
    """Whether the kernels can read it: compiled for CPUs."""
    return jax.default_backend() == "cpu"


def _wide(q):
    return jnp.float64 if q.dtype == jnp.float64 else jnp.float32


def _read(arrays, settings):
    """NumPy's arrays of JAX's, as the kernels take them."""
    options = {name: np.asarray(x) for name, x in arrays.items()}
    if "draw" in options:
        options["draw"] = tuple(int(word) for word in options["draw"].reshape(-1))
    return {**options, **dict(settings)}


def _forward(settings, with_scores, q, k, v, arrays):
    q, k, v = (np.asarray(x) for x in (q, k, v))
    options = _read(arrays, settings)
    out, statistics = _core.attention(q, k, v, return_statistics=True, **options)
    if not with_scores:
        return out, statistics
    return out, statistics, _core.attention_scores(q, k, statistics, **options)


def _backward(settings, q, k, v, arrays, out, statistics, d_out, d_scores):
    operands = (np.asarray(x) for x in (q, k, v, d_out))
    gradients = _core.attention_backward(
        *operands,
        out=np.asarray(out),
        statistics=np.asarray(statistics),
        d_scores=None if d_scores is None else np.asarray(d_scores),
        needs=["q", "k", "v"],
        **_read(arrays, settings),
    )
    return gradients[:3]


def _call(function, shapes, *operands):
    return jax.pure_callback(function, shapes, *operands, vmap_method="sequential")


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attention(settings, with_scores, q, k, v, arrays):
    return _attention_forward(settings, with_scores, q, k, v, arrays)[0]


def _attention_forward(settings, with_scores, q, k, v, arrays):
    batch, rows, heads, _ = q.shape
    shapes = [
        jax.ShapeDtypeStruct((batch, rows, heads, v.shape[3]), q.dtype),
        jax.ShapeDtypeStruct((2, batch, heads, rows), _wide(q)),
    ]
    if with_scores:
        shapes.append(jax.ShapeDtypeStruct((batch, heads, rows, k.shape[1]), _wide(q)))
    function = functools.partial(_forward, settings, with_scores)
    out, statistics, *scores = _call(function, tuple(shapes), q, k, v, arrays)
    return (out, *scores), (q, k, v, arrays, out, statistics)


def _attention_backward(settings, with_scores, kept, gradients):
    q, k, v, arrays, out, statistics = kept
    d_out, *d_scores = gradients
    shapes = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (q, k, v))
    function = functools.partial(_backward, settings)
    d_scores = d_scores[0].astype(statistics.dtype) if d_scores else None
    operands = (q, k, v, arrays, out, statistics, d_out.astype(q.dtype), d_scores)
    return (*_call(function, shapes, *operands), None)


_attention.defvjp(_attention_forward, _attention_backward)


def attend(q, k, v, arrays, settings):
    return _attention(tuple(sorted(settings.items())), False, q, k, v, arrays)[0]


def attend_with_scores(q, k, v, arrays, settings):
    return _attention(tuple(sorted(settings.items())), True, q, k, v, arrays)
