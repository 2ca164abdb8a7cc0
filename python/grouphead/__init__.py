"""Attention on CPUs: grouped-query, multi-query and multi-head attention, with gradients."""

from typing import TYPE_CHECKING

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
if TYPE_CHECKING:  # what _lazy imports
    from . import (
        callbacks,
        constraints,
        initializers,
        layers,
        losses,
        metrics,
        models,
        ops,
        optimizers,
        regularizers,
        saving,
        utils,
    )
    from ._conversion import compare_heads, convert_heads
    from ._generation import beam_search, generate
    from ._info import info
    from ._model import Model, Sequential, load_model, model_from_json, save_model
    from ._pretrained import PretrainedModel, load_pretrained, save_pretrained
    from ._texts import texts_of
    from ._tokenizer import Tokenizer
    from .layers import Input, KerasTensor, Layer
    from .saving import register_class, register_classes
else:

    def __getattr__(name):
        value = globals()[name] = _lazy.get(__name__, name)
        return value


def __dir__():
    return [*globals(), *_lazy.names]
