"""Attention on CPUs: grouped-query, multi-query and multi-head attention, with gradients."""

from ._core import (
    ConfigError,
    IoError,
    ShapeError,
    __version__,
    attention,
    num_threads,
    set_num_threads,
)

__all__ = [
    "ConfigError",
    "IoError",
    "ShapeError",
    "attention",
    "num_threads",
    "set_num_threads",
]
