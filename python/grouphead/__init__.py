"""Attention on CPUs: grouped-query, multi-query and multi-head attention, with gradients."""

from . import _lazy
from ._core import (
    ConfigError,
    Error,
    IoError,
    KvCache,
    ShapeError,
    __version__,
    alibi_slopes,
    attention,
    attention_backward,
    attention_cached,
    attention_scores,
    decode,
    num_threads,
    set_num_threads,
    store_cached,
)
from ._results import AttentionGradients

__all__ = [
    "AttentionGradients",
    "ConfigError",
    "Error",
    "IoError",
    "KvCache",
    "ShapeError",
    "alibi_slopes",
    "attention",
    "attention_backward",
    "attention_cached",
    "attention_scores",
    "decode",
    "num_threads",
    "set_num_threads",
    "store_cached",
]
__all__ += _lazy.names


def __getattr__(name):
    value = globals()[name] = _lazy.get(__name__, name)
    return value


def __dir__():
    return [*globals(), *_lazy.names]
