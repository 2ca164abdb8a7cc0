"""Attention for Keras's layers under its JAX backend."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from . import _core
from .jax import attention


def is_here(x):
    """Whether the kernels can read it: compiled for CPUs."""
    return jax.default_backend() == "cpu"


def attend(q, k, v, arrays, settings):
    return attention(q, k, v, **arrays, **settings)


def attend_with_scores(q, k, v, arrays, settings):
    return _with_scores(tuple(sorted(settings.items())), q, k, v, arrays)


def _options(arrays, settings):
    """The options as the functions on NumPy's arrays take them."""
    options = {name: np.asarray(x) for name, x in arrays.items()}
    if "draw" in options:
        options["draw"] = tuple(int(word) for word in options["draw"].reshape(-1))
    return {**options, **dict(settings)}


def _forward(settings, q, k, v, arrays):
    q, k, v = (np.asarray(x) for x in (q, k, v))
    options = _options(arrays, settings)
    out, statistics = _core.attention(q, k, v, return_statistics=True, **options)
    return out, _core.attention_scores(q, k, statistics, **options), statistics


def _backward(settings, q, k, v, arrays, out, statistics, d_out, d_scores):
    gradients = _core.attention_backward(
        *(np.asarray(x) for x in (q, k, v, d_out)),
        out=np.asarray(out),
        statistics=np.asarray(statistics),
        d_scores=np.asarray(d_scores),
        needs=["q", "k", "v"],
        **_options(arrays, settings),
    )
    return gradients[:3]


def _call(function, shapes, *operands):
    return jax.pure_callback(function, shapes, *operands, vmap_method="sequential")


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _with_scores(settings, q, k, v, arrays):
    return _scores_forward(settings, q, k, v, arrays)[0]


def _scores_forward(settings, q, k, v, arrays):
    batch, rows, heads, _ = q.shape
    wide = jnp.float64 if q.dtype == jnp.float64 else jnp.float32
    shapes = (
        jax.ShapeDtypeStruct((batch, rows, heads, v.shape[3]), q.dtype),
        jax.ShapeDtypeStruct((batch, heads, rows, k.shape[1]), wide),
        jax.ShapeDtypeStruct((2, batch, heads, rows), wide),
    )
    function = functools.partial(_forward, settings)
    out, scores, statistics = _call(function, shapes, q, k, v, arrays)
    return (out, scores), (q, k, v, arrays, out, statistics)


def _scores_backward(settings, kept, gradients):
    q, k, v, arrays, out, statistics = kept
    d_out, d_scores = gradients
    shapes = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (q, k, v))
    function = functools.partial(_backward, settings)
    operands = (q, k, v, arrays, out, statistics)
    d_out, d_scores = d_out.astype(q.dtype), d_scores.astype(statistics.dtype)
    return (*_call(function, shapes, *operands, d_out, d_scores), None)


_with_scores.defvjp(_scores_forward, _scores_backward)
