"""Text from models that read tokens."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from . import _seeds
from ._core import models as _core


def _tokens(tokens):
    return [operator.index(token) for token in tokens]


def _layer_of(model):
    """The library's layer of what generates."""
    for name in ("_pretrained", "_layer"):
        if hasattr(model, name):
            held = getattr(model, name)
            return getattr(held, "layer", held)
    raise TypeError(f"generate: expected a model that reads tokens, got {model!r}")


def _processor(function):
    def process(tokens, logits):
        changed = function(tokens, logits)
        return np.ascontiguousarray(logits if changed is None else changed, dtype=np.float64)

    return process


def generate(
    model,
    prompt,
    *,
    max_new_tokens: int = 200,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    frequency_penalty: float = 0.0,
    presence_penalty: float = 0.0,
    seed: int | None = None,
    stop_tokens: Iterable[int] = (),
    logits_processors: Iterable[Callable] = (),
    draft=None,
    draft_tokens: int = 4,
    cache_dtype: str | None = None,
    on_token: Callable[[int], Any] | None = None,
) -> list[int]:
    """Continues a prompt, a sequence of tokens; returns the list of tokens after it.

    `model` is a PretrainedModel, or a Model of causal layers that ends in logits or probabilities.
    `temperature=0` takes the most likely token each time. A processor is called with the tokens so
    far and the logits [V] in float64, which it changes or returns anew. `draft` is a smaller model
    of the same vocabulary for speculative decoding. `cache_dtype`: "bfloat16" or "uint8" for a
    smaller cache. `on_token` gets each token as soon as it is drawn; where it returns False the
    text ends.

    Ctrl-C raises KeyboardInterrupt, whose `tokens` are those drawn so far. Raises ConfigError,
    ShapeError.
    """
    options = {
        "max_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k or 0,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "frequency_penalty": frequency_penalty,
        "presence_penalty": presence_penalty,
        "seed": _seeds.next_seed() if seed is None else operator.index(seed),
        "stop_tokens": _tokens(stop_tokens),
        "logits_processors": [_processor(function) for function in logits_processors],
        "draft_tokens": draft_tokens,
        "cache_dtype": cache_dtype,
    }
    drawn = []
    try:
        drafter = None if draft is None else _layer_of(draft)
        _core.generate(_layer_of(model), _tokens(prompt), options, drafter, on_token, drawn)
    except KeyboardInterrupt as interrupt:
        interrupt.tokens = drawn
        raise
    return drawn


def beam_search(
    model,
    prompt,
    *,
    max_new_tokens: int = 200,
    num_beams: int = 4,
    length_penalty: float = 1.0,
    early_stopping: bool = False,
    stop_tokens: Iterable[int] = (),
    logits_processors: Iterable[Callable] = (),
) -> list[tuple[list[int], float]]:
    """The most likely continuations: a list of (tokens, score), best first."""
    return _core.beam_search(
        _layer_of(model),
        _tokens(prompt),
        max_new_tokens,
        num_beams,
        length_penalty,
        bool(early_stopping),
        _tokens(stop_tokens),
        [_processor(function) for function in logits_processors],
    )
