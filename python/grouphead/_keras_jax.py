"""Attention for Keras's layers under its JAX backend."""

import jax

from .jax import attention


def is_here(x):
    """Whether the kernels can read it: compiled for CPUs."""
    return jax.default_backend() == "cpu"


def attend(q, k, v, arrays, settings):
    return attention(q, k, v, **arrays, **settings)


def attend_with_scores(q, k, v, arrays, settings):
    return attention(q, k, v, return_scores=True, **arrays, **settings)
